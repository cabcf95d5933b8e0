"""rayjob.yaml against Kubernetes' schemas and KubeRay's fields; what is in its image; grafana.json against our series.

KubeRay's own schema is in no package, so its fields and types are checked by one of ours, after its API reference.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import jsonschema
import kubernetes_validate
import pytest
import yaml
from docker.utils.build import PatternMatcher
from ray_job_schema import RAY_JOB

from igcam_batch.audit.metrics import SERIES
from igcam_batch.cli.main import commands
from igcam_batch.cli.options import given
from igcam_batch.config import load_config

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "jobs"
KUBERNETES = "1.31"


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((JOBS / "rayjob.yaml").read_text()))


@pytest.fixture
def job(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[1]


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The head's, and those of workers."""
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_every_field_is_one_that_kuberay_knows_and_of_its_type(job: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(RAY_JOB)
    jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda spec: spec.update(backoffLimit="many"), "'many' is not of type 'integer'"),
        (lambda spec: spec.update(backofflimit=3), "'backofflimit' was unexpected"),
        (lambda spec: spec.update(ttlSecondsAfterFinished="300"), "'300' is not of type 'integer'"),
        (lambda spec: spec.update(shutdownAfterJobFinishes="yes"), "'yes' is not of type 'boolean'"),
        (lambda spec: spec.update(entrypoint=["igcam-batch"]), "is not of type 'string'"),
        (lambda spec: spec["rayClusterSpec"].update(rayVersion=2.6), "2.6 is not of type 'string'"),
        (lambda spec: spec["rayClusterSpec"]["authOptions"].update(mode="tokn"), "'tokn' is not one of"),
        (lambda spec: spec["rayClusterSpec"]["authOptions"].update(secret="x"), "'secret' was unexpected"),
        (
            lambda spec: spec["rayClusterSpec"]["autoscalerOptions"].update(idleTimeout=3),
            "'idleTimeout' was unexpected",
        ),
        (
            lambda spec: spec["rayClusterSpec"]["autoscalerOptions"].update(idleTimeoutSeconds="5m"),
            "'5m' is not of type",
        ),
        (lambda spec: spec["rayClusterSpec"]["headGroupSpec"].pop("template"), "'template' is a required property"),
        (
            lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
            "0 is not of type",
        ),
        (lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0].update(replicas="one"), "'one' is not of type"),
        (
            lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0].update(maxReplica=8),
            "'maxReplica' was unexpected",
        ),
        (
            lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][1].pop("groupName"),
            "'groupName' is a required property",
        ),
    ],
)
def test_a_field_of_another_name_or_type_is_refused(
    job: dict[str, Any], break_it: Callable[[dict[str, Any]], object], says: str
) -> None:
    break_it(job["spec"])
    with pytest.raises(jsonschema.ValidationError, match=re.escape(says)):
        jsonschema.validate(job, RAY_JOB)


def test_every_pod_and_the_service_account_are_what_kubernetes_takes(documents: list[dict[str, Any]]) -> None:
    account, job = documents
    kubernetes_validate.validate(account, KUBERNETES, strict=True)
    for group in groups(job):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        pod["spec"] = pod["spec"] | {"volumeMount": []}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_every_pod_has_the_service_account_that_is_made(documents: list[dict[str, Any]]) -> None:
    account, job = documents
    assert account["kind"] == "ServiceAccount"
    assert {group["template"]["spec"]["serviceAccountName"] for group in groups(job)} == {account["metadata"]["name"]}


def test_its_entrypoint_is_an_audit_that_the_command_line_takes(job: dict[str, Any]) -> None:
    program, name, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (program, name) == ("igcam-batch", "audit")
    flags = commands.commands["audit"].make_context("audit", arguments).params
    flags.pop("config")
    config = load_config(given(flags))
    assert config.worker_range == (1, job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"])


def test_no_exit_code_of_an_audit_starts_another_cluster(job: dict[str, Any]) -> None:
    """KubeRay cannot tell a deadline (75) or bad input (2) from a head that was lost: there is no second try."""
    assert job["spec"]["backoffLimit"] == 0
    assert not re.search(r"[|&;<>$`]", job["spec"]["entrypoint"])  # the submitter's shell would take it for its own


def test_every_pod_has_the_image_that_the_document_builds_with_the_ray_that_the_file_names(job: dict[str, Any]) -> None:
    [image] = {container["image"] for group in groups(job) for container in group["template"]["spec"]["containers"]}
    document = (ROOT / "docs" / "cluster.md").read_text()
    assert f"docker build --file jobs/Dockerfile --tag {image} ." in document
    assert f"docker push {image}" in document
    [ray] = re.findall(r"^FROM rayproject/ray:([\d.]+)-", (JOBS / "Dockerfile").read_text(), re.MULTILINE)
    assert ray == job["spec"]["rayClusterSpec"]["rayVersion"]


def test_what_the_image_copies_belongs_to_the_user_who_builds_there() -> None:
    """Images of Ray run as `ray`, and setuptools writes beside what it builds."""
    copies = [line for line in (JOBS / "Dockerfile").read_text().splitlines() if line.startswith(("COPY", "ADD"))]
    assert copies
    assert all(line.startswith("COPY --chown=ray ") for line in copies)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git tracks, and what else lies in a clone that is worked in."""
    clone = tmp_path / "clone"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.strip("\0").split("\0"):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, clone / name)
    for other in (
        "ray-token",
        ".git/config",
        ".venv/lib/torch.so",
        ".env",
        "igcam-demo/scores/0.parquet",
        "photos/a.jpg",
        "igcam_batch/__pycache__/names.cpython-312.pyc",
        "igcam_batch/report/html/__pycache__/a.pyc",
    ):
        (clone / other).parent.mkdir(parents=True, exist_ok=True)
        (clone / other).write_text("not for others")
    return clone


def in_the_image(clone: Path) -> set[str]:
    """Files that `docker build` would send, as Docker's own client reads .dockerignore."""
    patterns = [line for line in (clone / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    return {name for name in PatternMatcher(patterns).walk(str(clone)) if (clone / name).is_file()}


def test_the_image_has_the_package_as_git_tracks_it_and_nothing_else(clone: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "igcam_batch"], cwd=ROOT, capture_output=True, text=True, check=True)
    package = {name for name in tracked.stdout.split() if (ROOT / name).exists()}
    assert in_the_image(clone) == package | {".dockerignore", "LICENSE", "README.md", "pyproject.toml"}


def test_what_the_image_has_builds_a_wheel_with_everything_in_it(clone: Path, tmp_path: Path) -> None:
    names = in_the_image(clone)
    for name in names:
        (tmp_path / "image" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clone / name, tmp_path / "image" / name)
    build = "import setuptools.build_meta as backend; print(backend.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path / "image", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "image").glob("*.whl")
    assert {name for name in names if name.startswith("igcam_batch/")} <= set(ZipFile(wheel).namelist())


def test_the_dashboard_draws_every_series_and_no_other() -> None:
    dashboard = json.loads((JOBS / "grafana.json").read_text())
    drawn = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(re.findall(r"ray_igcam_\w+", drawn)) == set(SERIES)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
