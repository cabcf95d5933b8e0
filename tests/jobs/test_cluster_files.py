"""cluster.yaml against Ray's schema; it and the document's commands against a server that speaks AWS, on loopback."""

import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import aws_cli
import boto3
import moto.settings
import pytest
import yaml
from aws_rights import Right, Statement, allowed, listed, rights
from botocore.client import BaseClient
from jsonschema import ValidationError
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.server import ThreadedMotoServer
from packaging.requirements import Requirement
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config

from igcam_batch.storage import open_store

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster.yaml"
DOCUMENT = ROOT / "docs" / "cluster.md"
POLICIES = ROOT / "jobs" / "aws"
REGION = "us-east-1"

pytestmark = pytest.mark.xdist_group("aws")


@pytest.fixture
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def commands(having: str) -> str:
    """The block of commands of the document that has this in it."""
    [found] = [block for block in DOCUMENT.read_text().split("```\n")[1::2] if having in block]
    return found


def bash(block: str, home: Path, **variables: str) -> str:
    """What the commands print, with `aws` as tests/aws_cli.py has it; fails where one of them fails."""
    (home / ".ssh").mkdir(exist_ok=True)
    aws_cli.install(home)
    environment = os.environ | {"HOME": str(home), "PATH": f"{home}:{os.environ['PATH']}"} | variables
    done = subprocess.run(
        ["bash", "-e", "-c", block], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Account:
    """An AWS account on loopback, in which the document's commands were run."""

    endpoint: str
    home: Path  # of whoever ran them
    image: str

    def statements(self, *, role: str = "", user: str = "") -> list[Statement]:
        """All that the policies of a role or a user say."""
        iam = boto3.client("iam")
        if role:
            names = iam.list_role_policies(RoleName=role)["PolicyNames"]
            policies = [iam.get_role_policy(RoleName=role, PolicyName=name) for name in names]
        else:
            names = iam.list_user_policies(UserName=user)["PolicyNames"]
            policies = [iam.get_user_policy(UserName=user, PolicyName=name) for name in names]
        return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An empty account in which the document's commands were run, with the buckets `photos` and `tables`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
        }.items():
            patch.setenv(name, value)
        home = tmp_path_factory.mktemp("home")
        roles = commands("create-role").replace("IMAGES=bucket TABLES=bucket", "IMAGES=photos TABLES=tables")
        bash(roles, home)
        boto3.client("iam").create_user(UserName="name")
        bash(commands("put-user-policy"), home)
        yield Account(endpoint, home, boto3.client("ec2").describe_images()["Images"][0]["ImageId"])
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


def test_every_command_of_the_document_is_one_of_aws(account: Account) -> None:
    """Of services that the server does not speak, as AWS's own models have them."""
    for having in ("request-service-quota-increase", "aws ssm get-parameter"):
        bash(commands(having), account.home)
    with pytest.raises(AssertionError, match="KeyError: '--role'"):
        bash("aws iam create-role --role igcam-head", account.home)


def test_the_commands_make_the_key_and_the_profiles_that_the_file_names(
    account: Account, config: dict[str, Any]
) -> None:
    nodes = [node_type["node_config"] for node_type in config["available_node_types"].values()]
    [key] = {node["KeyName"] for node in nodes}
    assert [pair["KeyName"] for pair in boto3.client("ec2").describe_key_pairs()["KeyPairs"]] == [key]
    file = account.home / config["auth"]["ssh_private_key"].removeprefix("~/")
    assert file.read_text().startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert file.stat().st_mode & 0o777 == 0o600
    iam = boto3.client("iam")
    for name in {node["IamInstanceProfile"]["Name"] for node in nodes}:
        [role] = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        assert role["RoleName"] == name
        [trust] = role["AssumeRolePolicyDocument"]["Statement"]
        assert (trust["Principal"], trust["Action"]) == ({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole")
    assert iam.list_roles(PathPrefix="/aws-service-role/spot.amazonaws.com/")["Roles"]


def test_every_action_of_the_policies_is_one_that_iam_knows() -> None:
    """As far as AWS's own policies name it."""
    theirs = [policy["Document"]["Statement"] for policy in json.loads(aws_managed_policies_data).values()]
    statements = [each for some in theirs for each in (some if isinstance(some, list) else [some])]
    known = {action for statement in statements for action in listed(statement.get("Action", []))}
    for file in POLICIES.glob("*.json"):
        policy = json.loads(file.read_text())
        assert policy["Version"] == "2012-10-17"
        named = {action for statement in policy["Statement"] for action in listed(statement["Action"])}
        assert not any("*" in action for action in named)
        assert named <= known, file


def test_whoever_is_not_named_may_do_less(account: Account, config: dict[str, Any]) -> None:
    """The rights of the head end at the nodes of its cluster, and workers have none on EC2."""
    ours, theirs = ({"aws:ResourceTag/ray-cluster-name": name} for name in (config["cluster_name"], "another"))
    instance = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
    head, worker = (account.statements(role=role) for role in ("igcam-head", "igcam-worker"))
    for action in ("ec2:TerminateInstances", "ec2:CreateTags"):
        assert allowed(Right(action, instance, ours), head)
        assert not allowed(Right(action, instance, theirs), head)
        assert not allowed(Right(action, instance), head)
        assert not allowed(Right(action, instance, ours), worker)
    run = {"aws:RequestTag/ray-cluster-name": "another"}
    assert not allowed(Right("ec2:RunInstances", instance, run), head)
    passed = {"iam:PassedToService": "ec2.amazonaws.com"}
    role = "arn:aws:iam::123456789012:role/"
    assert allowed(Right("iam:PassRole", f"{role}igcam-worker", passed), head)
    assert not allowed(Right("iam:PassRole", f"{role}igcam-head", passed), head)
    assert not allowed(Right("iam:PassRole", f"{role}administrator", passed), account.statements(user="name"))


@pytest.mark.parametrize("role", ["igcam-head", "igcam-worker"])
def test_a_node_reads_images_and_writes_tables_and_no_more(
    account: Account, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the server asking IAM, as AWS does."""
    s3 = boto3.client("s3")
    for bucket in ("photos", "tables", "another"):
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="there/0.jpg", Body=b"0")
    arn = boto3.client("iam").get_role(RoleName=role)["Role"]["Arn"]
    keys = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName="a-node")["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    monkeypatch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)

    photos, tables, another = (open_store(f"s3://{bucket}/there") for bucket in ("photos", "tables", "another"))
    assert [entry.path for entry in photos.list()] == ["0.jpg"]
    assert photos.read("0.jpg") == b"0"
    tables.write("scores/0.parquet", b"1")
    tables.write("maps/0.parquet", bytes(65 * 2**20))  # in parts
    with tables.claim("running", "a node"):
        assert tables.read("scores/0.parquet") == b"1"
    # which deleted one; for several at once this server asks for s3:DeleteObjects, where AWS has s3:DeleteObject alone
    assert not tables.exists("running")
    for refused in (
        lambda: photos.write("1.jpg", b"1"),
        lambda: photos.delete("0.jpg"),
        lambda: another.read("0.jpg"),
        lambda: another.write("1.jpg", b"1"),
        lambda: list(another.list()),
    ):
        with pytest.raises(PermissionError):
            refused()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What AWS is asked from now on, as `service:Operation`, and the parameters."""
    calls: list[tuple[str, dict[str, Any]]] = []
    call = BaseClient._make_api_call

    def recorded(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        calls.append((f"{client.meta.service_model.service_name}:{operation}", parameters))
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    return calls


def test_ray_up_and_the_head_start_every_kind_of_node_with_the_rights_of_the_document(
    config: dict[str, Any], account: Account, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    person, head = account.statements(user="name"), account.statements(role="igcam-head")
    calls.clear()
    used: set[str] = set()

    def within(statements: list[Statement]) -> None:
        """What was called since is allowed by these."""
        needed = [right for call in calls for right in rights(*call, cluster=config["cluster_name"])]
        calls.clear()
        assert [right for right in needed if not allowed(right, statements)] == []
        used.update(right.action for right in needed)

    config["auth"]["ssh_private_key"] = str(account.home / ".ssh" / "igcam.pem")
    for node_type in config["available_node_types"].values():
        node_type["node_config"]["ImageId"] = account.image
    ready = bootstrap_aws(AWSNodeProvider.fillout_available_node_types_resources(prepare_config(config)))
    provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
    for name, node_type in ready["available_node_types"].items():  # of which the head is the first
        node_config = node_type["node_config"]
        assert node_config["SubnetIds"]
        assert node_config["SecurityGroupIds"]
        profile = "igcam-head" if name == "head" else "igcam-worker"
        assert node_config["IamInstanceProfile"] == {"Name": profile}
        provider.create_node(copy.deepcopy(node_config), {"ray-user-node-type": name}, 1)
        within(person if name == "head" else head)
    nodes = provider.non_terminated_nodes({})
    running = boto3.client("ec2").describe_instances()["Reservations"]
    instances = [instance for reservation in running for instance in reservation["Instances"]]
    assert len(instances) == len(nodes) == len(ready["available_node_types"])
    assert {instance["InstanceType"] for instance in instances} == {"m6i.xlarge", "g5.2xlarge", "c6i.4xlarge"}
    assert sum(instance.get("InstanceLifecycle") == "spot" for instance in instances) == 2

    [of_head] = provider.non_terminated_nodes({"ray-user-node-type": "head"})
    [of_spot] = provider.non_terminated_nodes({"ray-user-node-type": "gpu_spot"})
    provider.set_node_tags(of_spot, {"ray-node-status": "up-to-date"})
    provider.non_terminated_nodes({})
    provider.terminate_nodes([node for node in nodes if node != of_head])
    within(head)
    provider.set_node_tags(of_head, {"ray-node-status": "up-to-date"})
    provider.non_terminated_nodes({})
    provider.terminate_node(of_head)  # `ray down`
    within(person)
    assert used == {action for statement in person for action in listed(statement["Action"])}  # and no right is idle
