"""Settings in a file in S3."""

import pytest

from igcam_batch.cli.settings import read_settings
from igcam_batch.errors import InputError
from igcam_batch.storage import open_store

pytestmark = pytest.mark.xdist_group("s3")
NEEDED = {"input": "images", "output": "tables", "model": "torchvision:resnet18"}


def test_they_are_those_of_a_file_on_disk_and_flags_win(bucket: str) -> None:
    open_store(f"s3://{bucket}/settings").write("a.yaml", b"steps: 20\nrule: trapezoid\n")
    settings = read_settings(NEEDED | {"steps": "7"}, f"s3://{bucket}/settings/a.yaml")
    assert (settings.steps, settings.rule) == (7, "trapezoid")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "No such file or directory"),
        (b"stepz: 20", "stepz: no such setting"),
        (b"\xff", "neither YAML nor JSON"),
        (b"- a", "must hold values by name"),
    ],
)
def test_what_is_wrong_is_told_with_the_uri(bucket: str, content: bytes | None, line: str) -> None:
    if content is not None:
        open_store(f"s3://{bucket}").write("a.yaml", content)
    with pytest.raises(InputError, match=f"^--config s3://{bucket}/a.yaml: {line}"):
        read_settings(NEEDED, f"s3://{bucket}/a.yaml")


def test_an_empty_one_holds_no_settings(bucket: str) -> None:
    open_store(f"s3://{bucket}").write("a.yaml", b"")
    with pytest.raises(InputError, match="must hold values by name"):
        read_settings(NEEDED, f"s3://{bucket}/a.yaml")


def test_a_class_map_may_lie_there_too(bucket: str) -> None:
    open_store(f"s3://{bucket}").write("map.yaml", b"cat: 281\nyak: null\n")
    place = f"s3://{bucket}/map.yaml"
    assert read_settings(NEEDED | {"class-map": place}, None).class_map == {"cat": 281, "yak": None}
    with pytest.raises(InputError, match=f"^--class-map s3://{bucket}/none.yaml: No such file or directory"):
        read_settings(NEEDED | {"class-map": f"s3://{bucket}/none.yaml"}, None)
    with pytest.raises(InputError, match=r"^--class-map gs://b/map.yaml: gs:// cannot be read"):
        read_settings(NEEDED | {"class-map": "gs://b/map.yaml"}, None)
