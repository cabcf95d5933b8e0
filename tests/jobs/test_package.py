"""A job finds the package of its clone, and says how to have one where there is none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = Path(__file__).resolve().parents[2] / "jobs"
COMMANDS = ("audit.py", "benchmark.py", "pictures.py", "voc2007.py")


def test_they_are_all_there_are() -> None:
    assert {path.name for path in JOBS.glob("*.py")} == {*COMMANDS, "package.py"}


def run(command: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    """A job where nothing that is installed can be imported."""
    alone = [sys.executable, "-I", "-S", "-c"]
    code = f"import runpy, sys; sys.path.insert(0, 'jobs'); runpy.run_path('jobs/{command}', run_name='__main__')"
    return subprocess.run([*alone, code], cwd=directory, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_working_directory_without_it_is_told_in_one_line_with_the_ways_out(command: str, tmp_path: Path) -> None:
    shutil.copytree(JOBS, tmp_path / "jobs")
    ran = run(command, tmp_path)
    assert ran.returncode == 2
    assert ran.stderr == (
        "igcam-batch: there is no igcam_batch here: submit a clone of it by `ray job submit --working-dir`, or install "
        "the package on the head\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_head_without_what_the_package_needs_is_told_what_that_is(command: str, tmp_path: Path) -> None:
    shutil.copytree(JOBS, tmp_path / "jobs")
    shutil.copy(JOBS.parent / "pyproject.toml", tmp_path)
    (tmp_path / "igcam_batch").mkdir()
    (tmp_path / "igcam_batch" / "__init__.py").touch()
    ran = run(command, tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.startswith("igcam-batch: the head has no boto3, click, ")
    assert ran.stderr.endswith(", torch, torchvision: install the package, with what it needs, on every node\n")
