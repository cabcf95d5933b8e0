"""As much of the AWS CLI as docs/cluster.md calls: `aws SERVICE OPERATION --flag value ...`, by AWS's own models.

IAM and EC2 are called at AWS_ENDPOINT_URL; a call of another service is checked against its model, and prints nothing.
"""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
import jmespath
from botocore import xform_name
from botocore.model import Shape
from botocore.validate import validate_parameters

CALLED = {"ec2", "iam"}


def _value(text: str, shape: Shape) -> Any:
    if text.startswith("file://"):
        text = Path(text.removeprefix("file://")).read_text()
    return {"integer": int, "long": int, "double": float, "float": float}.get(shape.type_name, str)(text)


def main(service: str, operation: str, *flags: str) -> None:
    """Call it, and print what --query finds in the answer."""
    client = boto3.client(service)
    method = operation.replace("-", "_")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
    members = {f"--{xform_name(name, '-')}": (name, shape) for name, shape in model.input_shape.members.items()}
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    query, output = given.pop("--query", None), given.pop("--output", "json")
    arguments = {members[flag][0]: _value(text, members[flag][1]) for flag, text in given.items()}
    found = jmespath.compile(query) if query else None
    validate_parameters(arguments, model.input_shape)
    if service not in CALLED:
        return
    answer = getattr(client, method)(**arguments)
    answer.pop("ResponseMetadata")
    if found:
        answer = found.search(answer)
    sys.stdout.write(f"{answer if output == 'text' else json.dumps(answer, default=str)}\n")


def install(folder: Path) -> None:
    """Put it there as `aws`."""
    program = folder / "aws"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n")
    with program.open("a") as file:
        file.write("import aws_cli\naws_cli.main(*sys.argv[1:])\n")
    program.chmod(0o755)
