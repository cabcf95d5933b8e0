"""What a person sees on a terminal of some width: a real one, as programs see it."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from written_runs import METHOD, blob, score, write_run

from igcam_batch.cli.terminal import fit

_AUDIT = """
import sys
from types import ModuleType, SimpleNamespace

from igcam_batch.tables.status import read_status
from igcam_batch.cli import main

output = sys.argv[1]
summary = SimpleNamespace(output=output, status=read_status(output), line=lambda: "40 images, 80 rows")
job = sys.modules["igcam_batch.audit.job"] = ModuleType("job")  # which would load Ray and torch
job.run_audit = lambda settings, progress: summary
sys.argv = ["igcam-batch", "audit", "images", output, "--model", "m:m"]
main()
"""

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(columns: int, *command: str) -> list[str]:
    """The lines that a command prints to a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment["TERM"] = "xterm"
    ran = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=environment)
    os.close(slave)
    printed = b""
    try:
        while part := os.read(master, 4096):
            printed += part
    except OSError:  # EIO: the other end is closed
        pass
    os.close(master)
    _, errors = ran.communicate()
    assert ran.returncode == 0, errors.decode()
    return printed.decode().splitlines()


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of forty images by two methods, of which the first is better."""
    rows = [
        score(f"{n:02d}.png", 0, method, drop=0.2 + n / 100 + 0.3 * (method != METHOD))
        for n in range(40)
        for method in (METHOD, "grad-cam")
    ]
    return write_run(tmp_path_factory.mktemp("run") / "out", rows, np.stack([blob(3, 3)] * len(rows)))


@pytest.mark.parametrize(("columns", "beaten"), [(100, " grad-cam"), (60, "")])
def test_an_audit_closes_with_the_means_on_a_terminal(output: str, columns: int, beaten: str) -> None:
    lines = [_STYLE.sub("", line) for line in on_a_terminal(columns, sys.executable, "-c", _AUDIT, output)]
    assert all(len(line) <= columns for line in lines)
    heading, *others, closing = [" ".join(line.split()) for line in lines]
    assert heading == f"metric method mean 95 % interval rows{' better than' if beaten else ''}"
    assert len(others) == 4
    assert re.fullmatch(rf"Drop % {METHOD} 39\.5 3\d\.\d to 4\d\.\d 40{beaten}", others[0])
    assert others[-1] == "grad-cam 0.0 0.0 to 0.0 40"
    assert closing == "40 images, 80 rows"


def test_in_a_log_an_audit_closes_with_its_line_alone(output: str) -> None:
    ran = subprocess.run([sys.executable, "-c", _AUDIT, output], capture_output=True, text=True, check=True)
    assert ran.stdout == "40 images, 80 rows\n"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (39, "motorcycle_left.png  moped   1234567.89"),
        (30, "motorcycl…  moped   1234567.89"),
        (26, "motor…  moped   1234567.89"),
    ],
)
def test_names_are_cut_short_and_numbers_are_not(columns: int, expected: str) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("image", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("number", justify="right", no_wrap=True)
    table.add_row("motorcycle_left.png", "moped", "1234567.89")
    console = Console(width=columns, file=io.StringIO())
    fit(table, console)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[1] == expected
