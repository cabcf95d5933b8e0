"""What a person can mend ends a command in one line, with an exit code of its kind."""

import errno

import click
import pytest

from igcam_batch.audit.errors import IncompleteError, StoppedError
from igcam_batch.cli.endings import ending_in_one_line
from igcam_batch.errors import InputError


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("--steps 0: no"), 2, "program: --steps 0: no"),
        (click.UsageError("no such option."), 2, "program: no such option"),
        (IncompleteError("a worker failed"), 1, "program: a worker failed"),
        (StoppedError("the --deadline has come"), 75, "program: the --deadline has come"),
        (OSError(errno.ENOSPC, "No space left on device", "/out"), 1, "program: /out: No space left on device"),
        (KeyboardInterrupt(), 130, "program: interrupted"),
    ],
)
def test_each_kind_of_error_has_its_line_and_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, ending_in_one_line("program"):
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err.splitlines() == [said]


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), ending_in_one_line():
        _ = 1 / 0
