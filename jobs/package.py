"""The package that a job runs: of the clone or working directory that the job lies in, or else what is installed."""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]


def find_package() -> None:
    """Have igcam_batch be importable; where it is not, or what it needs, end with a line that says so, and code 2."""
    sys.path.insert(0, str(ROOT))
    if find_spec("igcam_batch") is None:
        _end(
            "there is no igcam_batch here: submit a clone of it by `ray job submit --working-dir`, or install the "
            "package on the head"
        )
    if missing := _missing(ROOT / "pyproject.toml"):
        _end(f"the head has no {', '.join(missing)}: install the package, with what it needs, on every node")


def _missing(project: Path) -> list[str]:
    """Which of the packages that a clone says it needs are not installed."""
    if not project.exists():
        return []
    said = tomllib.loads(project.read_text()).get("project", {})
    needed = said["dependencies"] if said.get("name") == "igcam-batch" else []  # else it is another's
    return [name for name in (re.split(r"[\[<>=!~; ]", each)[0] for each in needed) if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _end(why: str) -> NoReturn:
    print(f"igcam-batch: {why}", file=sys.stderr)
    sys.exit(2)
