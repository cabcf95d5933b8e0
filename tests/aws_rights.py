"""Which rights calls of EC2 need, and whether policies give them: IAM's rules, as far as jobs/aws/ needs them."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]
MACHINE_NEEDS = ("network-interface/eni-1", "volume/vol-1")


@dataclass(frozen=True)
class Right:
    """An action on a resource, in circumstances that conditions may ask for."""

    action: str
    resource: str = "*"
    circumstances: Mapping[str, str] = field(default_factory=dict)


def allowed(right: Right, statements: Iterable[Statement]) -> bool:
    """Whether one of them allows it; there are none that deny."""
    return any(_allows(statement, right) for statement in statements)


def _allows(statement: Statement, right: Right) -> bool:
    assert statement["Effect"] == "Allow"
    conditions = statement.get("Condition", {"StringEquals": {}})
    assert list(conditions) == ["StringEquals"]
    return (
        right.action in listed(statement["Action"])
        and any(fnmatch.fnmatchcase(right.resource, pattern) for pattern in listed(statement["Resource"]))
        and all(right.circumstances.get(key) == value for key, value in conditions["StringEquals"].items())
    )


def listed(one_or_more: str | list[str]) -> list[str]:
    """As policies have either."""
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more


def _arn(resource: str) -> str:
    account = "" if resource.startswith("image/") else "123456789012"
    return f"arn:aws:ec2:us-east-1:{account}:{resource}"


def _tags(parameters: Mapping[str, Any]) -> dict[str, str]:
    [specification] = parameters["TagSpecifications"]
    return {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in specification["Tags"]}


def rights(action: str, parameters: Mapping[str, Any], cluster: str) -> Iterator[Right]:
    """What a call of EC2 needs, where instances and security groups that are there are of this cluster."""
    operation, there = action.removeprefix("ec2:"), {"aws:ResourceTag/ray-cluster-name": cluster}
    if operation.startswith("Describe"):
        yield Right(action)
    elif operation == "RunInstances":
        tags = _tags(parameters)
        yield Right(action, _arn("instance/i-1"), tags)
        yield Right("ec2:CreateTags", _arn("instance/i-1"), tags | {"ec2:CreateAction": operation})
        named = (
            f"image/{parameters['ImageId']}",
            f"key-pair/{parameters['KeyName']}",
            f"subnet/{parameters['SubnetId']}",
            *(f"security-group/{group}" for group in parameters["SecurityGroupIds"]),
        )
        spot = ("spot-instances-request/sir-1",) if "InstanceMarketOptions" in parameters else ()
        for resource in (*named, *MACHINE_NEEDS, *spot):
            yield Right(action, _arn(resource))
        role = f"arn:aws:iam::123456789012:role/{parameters['IamInstanceProfile']['Name']}"
        yield Right("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
    elif operation == "CreateSecurityGroup":
        tags = _tags(parameters)
        yield Right(action, _arn("security-group/sg-1"), tags)
        yield Right(action, _arn(f"vpc/{parameters['VpcId']}"))
        yield Right("ec2:CreateTags", _arn("security-group/sg-1"), tags | {"ec2:CreateAction": operation})
    elif operation == "AuthorizeSecurityGroupIngress":
        yield Right(action, _arn(f"security-group/{parameters['GroupId']}"), there)
    elif operation == "CreateTags":
        yield from (Right(action, _arn(f"instance/{instance}"), there) for instance in parameters["Resources"])
    elif operation == "TerminateInstances":
        yield from (Right(action, _arn(f"instance/{instance}"), there) for instance in parameters["InstanceIds"])
    else:
        raise NotImplementedError(action)
