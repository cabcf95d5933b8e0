"""The command line, as it is typed."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from igcam_batch.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `igcam-batch` in this process: `run("audit", images, output, "--steps", "5")`."""

    def command(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["igcam-batch", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        printed = capfd.readouterr()
        return Ran(code, printed.out, printed.err)

    return command
