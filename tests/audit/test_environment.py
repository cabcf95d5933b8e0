"""Which settings travel to the workers, and what a worker does with them."""

import os
import pickle

import pytest

from igcam_batch.audit.environment import settle, travelling
from igcam_batch.audit.work import Work
from igcam_batch.images import Recipe

SETTINGS = {
    "AWS_ENDPOINT_URL": "http://10.0.0.1:9000",
    "AWS_REGION": "eu-west-1",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
}
SECRETS = {
    "AWS_ACCESS_KEY_ID": "hush",
    "AWS_SECRET_ACCESS_KEY": "hush",
    "AWS_SESSION_TOKEN": "hush",
    "AWS_SECURITY_TOKEN": "hush",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/hush",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "hush",
    "AWS_SHARED_CREDENTIALS_FILE": "/hush",
    "AWS_BEARER_TOKEN_BEDROCK": "hush",
    "HTTPS_PROXY": "http://user:hush@proxy",
    "PASSWORD": "hush",
}


@pytest.fixture(autouse=True)
def _none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in (*SETTINGS, "AWS_PROFILE", "AWS_CA_BUNDLE"):  # so that what is set is taken back
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


class TestTravelling:
    def test_where_s3_is_travels_and_no_secret_does(self):
        assert travelling(SETTINGS | SECRETS | {"PATH": "/bin"}) == SETTINGS

    @pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
    def test_an_address_with_a_password_stays(self, name):
        assert travelling({name: "https://user:hush@s3.example.org"}) == {}

    def test_a_profile_with_an_at_sign_travels(self):
        assert travelling({"AWS_PROFILE": "me@corp"}) == {"AWS_PROFILE": "me@corp"}

    def test_nothing_of_it_is_in_what_a_task_is_told(self):
        environment = travelling(os.environ | SETTINGS | SECRETS | {"AWS_ENDPOINT_URL_S3": "http://a:hush@b"})
        work = Work("{}", Recipe(size=8), "plan", "sha", "life", (), environment)
        assert b"hush" not in pickle.dumps(work)
        assert work.environment["AWS_REGION"] == "eu-west-1"


class TestSettle:
    def test_sets_what_a_worker_has_not_set_itself(self, monkeypatch):
        monkeypatch.setenv("AWS_REGION", "its-own-1")
        settle(SETTINGS)
        assert os.environ["AWS_ENDPOINT_URL"] == "http://10.0.0.1:9000"
        assert os.environ["AWS_REGION"] == "its-own-1"

    def test_sets_nothing_that_does_not_travel(self, monkeypatch):
        monkeypatch.delenv("LD_PRELOAD", raising=False)
        settle({"LD_PRELOAD": "/a.so"})
        assert "LD_PRELOAD" not in os.environ

    def test_a_profile_or_a_bundle_that_is_not_there_is_left_out(self, monkeypatch, tmp_path):
        (tmp_path / "config").write_text("[profile here]\nregion = eu-west-1\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        settle({"AWS_PROFILE": "elsewhere", "AWS_CA_BUNDLE": str(tmp_path / "none.pem")})
        assert not {"AWS_PROFILE", "AWS_CA_BUNDLE"} & os.environ.keys()
        settle({"AWS_PROFILE": "here", "AWS_CA_BUNDLE": str(tmp_path / "config")})
        assert os.environ["AWS_PROFILE"] == "here"
        assert os.environ["AWS_CA_BUNDLE"] == str(tmp_path / "config")
