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


@pytest.mark.parametrize("command", COMMANDS)
def test_a_working_directory_without_it_is_told_in_one_line_with_the_ways_out(command: str, tmp_path: Path) -> None:
    shutil.copytree(JOBS, tmp_path / "jobs")
    alone = [sys.executable, "-I", "-S", "-c"]  # nothing that is installed can be imported
    code = f"import runpy, sys; sys.path.insert(0, 'jobs'); runpy.run_path('jobs/{command}', run_name='__main__')"
    ran = subprocess.run([*alone, code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr == (
        "igcam-batch: there is no igcam_batch here: submit a clone of it by `ray job submit --working-dir`, or install "
        "the package on the head\n"
    )
