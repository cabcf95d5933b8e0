"""cluster.yaml against Ray's own schema, and its AWS bootstrap against a server that speaks EC2 and IAM on loopback."""

import copy
import re
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from jsonschema import ValidationError
from moto.server import ThreadedMotoServer
from packaging.requirements import Requirement
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).parents[2] / "cluster.yaml"
REGION = "us-east-1"


@pytest.fixture
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An account with the key pair and the instance profiles that the file names, and nothing else; gives an image."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    ec2, iam = boto3.client("ec2"), boto3.client("iam")
    ec2.create_key_pair(KeyName="igcam")
    for name in ("igcam-head", "igcam-worker"):
        iam.create_instance_profile(InstanceProfileName=name)
    yield ec2.describe_images()["Images"][0]["ImageId"]
    server.stop()


def test_it_is_valid_and_a_misspelt_setting_is_not(config: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(config)))
    with pytest.raises(ValidationError, match="idle_timeout"):
        validate_config(prepare_config(config | {"idle_timeout": 5}))


def test_spot_machines_have_a_fallback_that_offers_the_same_and_comes_second(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    spot, fallback = types["gpu_spot"], types["gpu_on_demand"]
    assert spot["resources"] == fallback["resources"]
    assert spot["priority"] > fallback["priority"]  # Ray's autoscaler since its second version
    assert "gpu_spot" > "gpu_on_demand"  # the first takes the last by name
    assert spot["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in fallback["node_config"]


def test_its_version_of_ray_is_one_that_the_package_takes(config: dict[str, Any]) -> None:
    [wanted] = re.findall(r"ray\[data,default\]==([\d.]+)\.\*", " ".join(config["setup_commands"]))
    [ours] = [each for each in map(Requirement, requires("igcam-batch") or ()) if each.name == "ray"]
    assert ours.specifier.contains(f"{wanted}.0")


def test_no_node_is_given_a_key() -> None:
    assert not re.search(r"AKIA|aws_secret|AWS_ACCESS|AWS_SECRET|hf_[A-Za-z0-9]{20}", FILE.read_text())


def test_bootstrap_finds_or_makes_what_aws_needs_and_every_kind_of_node_starts(
    config: dict[str, Any], aws: str, tmp_path: Path
) -> None:
    key = tmp_path / "igcam.pem"
    key.write_text("a private key")
    config["auth"]["ssh_private_key"] = str(key)
    for node_type in config["available_node_types"].values():
        node_type["node_config"]["ImageId"] = aws
    ready = bootstrap_aws(prepare_config(config))
    provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
    for name, node_type in ready["available_node_types"].items():
        node_config = node_type["node_config"]
        assert node_config["SubnetIds"]
        assert node_config["SecurityGroupIds"]
        profile = "igcam-head" if name == "head" else "igcam-worker"
        assert node_config["IamInstanceProfile"] == {"Name": profile}
        provider.create_node(node_config, {"ray-user-node-type": name}, 1)
    running = boto3.client("ec2").describe_instances()["Reservations"]
    instances = [instance for reservation in running for instance in reservation["Instances"]]
    assert len(instances) == len(ready["available_node_types"])
    assert {instance["InstanceType"] for instance in instances} == {"m6i.xlarge", "g5.2xlarge", "c6i.4xlarge"}
    assert sum(instance.get("InstanceLifecycle") == "spot" for instance in instances) == 2
