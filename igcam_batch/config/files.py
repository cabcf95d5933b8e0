"""Settings and class maps in files: YAML, of which JSON is a part, read as it is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from igcam_batch.errors import one_line

Read = Callable[[str], bytes]


class _AsWritten(yaml.SafeLoader):
    """YAML in which names stay the text they are, and `1:4` is no number in base 60.

    As YAML 1.1 has it, `no: 3` would name the class False, `007: 3` the class 7, and `workers: 1:4` be 64.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and not name.tag.endswith(":merge"):
                name.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        return node.value if ":" in node.value else super().construct_yaml_int(node)


_AsWritten.add_constructor("tag:yaml.org,2002:int", _AsWritten.construct_yaml_int)


def read_from_disk(path: str) -> bytes:
    """The bytes of a file on this machine's disk."""
    return Path(path).read_bytes()


def read_mapping(file: str, read: Read = read_from_disk) -> dict[str, Any]:
    """A YAML file (JSON is YAML) that holds values by name; ValueError says what is wrong with it.

    Args:
        file: its path, or whatever else `read` takes.
        read: gives its bytes, or raises an OSError.
    """
    try:
        content = yaml.load(read(file).decode(), Loader=_AsWritten)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"neither YAML nor JSON: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise ValueError("must hold values by name, as in 'name: value'")
    return {str(name): value for name, value in content.items()}
