"""SIGTERM and the deadline, without a cluster; `test_kills.py` and `test_faults.py` have real runs."""

import os
import signal
import time
from pathlib import Path

import pytest

from igcam_batch.audit import stop as stopping_module
from igcam_batch.audit.errors import (
    EndedError,
    IncompleteError,
    StoppedError,
    saying_how_to_go_on,
    saying_that_nothing_began,
)
from igcam_batch.audit.stop import ending_at_sigterm, stop_asked, stopping
from igcam_batch.storage import LocalStore

PLAN = "plan/0"


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


def test_two_at_once_are_one_wish(store: LocalStore) -> None:
    """GNU `timeout` sends one to its process, and one to the group that this is in."""
    with stopping(store, PLAN) as stop:
        terminate()
        terminate()
        time.sleep(0.3)
        terminate()
        assert (stop.asked, stop.reason) == (True, "stopped")


def test_a_later_one_is_impatience(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping_module, "_ONE_WISH", 0.2)
    with stopping(store, PLAN) as stop:
        terminate()
        time.sleep(0.3)
        with pytest.raises(StoppedError, match="stopped at once"):
            terminate()
        assert stop.asked


def test_one_that_comes_after_the_deadline_is_no_impatience(store: LocalStore) -> None:
    with stopping(store, PLAN, time.monotonic() - 1) as stop:
        terminate()
        assert (stop.asked, stop.reason) == (True, "the --deadline has come")


def test_the_second_of_two_does_not_break_off_what_is_tidied_up_after_the_first() -> None:
    tidied: list[bool] = []

    def interrupted() -> None:
        try:
            terminate()
        finally:
            terminate()
            tidied.append(True)

    with ending_at_sigterm(), pytest.raises(StoppedError):
        interrupted()
    assert tidied


def test_one_that_comes_after_the_end_changes_nothing(store: LocalStore) -> None:
    with ending_at_sigterm() as end:
        with stopping(store, PLAN) as stop:
            stop.end()
            terminate()
            assert not stop.asked
            end()
        terminate()
    assert not list(Path(store.root).rglob("*"))


def test_a_wish_that_comes_after_the_end_is_none(store: LocalStore) -> None:
    """As of a deadline's timer that is on its way while the run ends."""
    with stopping(store, PLAN) as stop:
        stop.end()
        stop.ask("the --deadline has come")
        assert not stop.asked
    assert not list(Path(store.root).rglob("*"))


def test_a_deadline_that_has_passed_asks_before_anything_begins_and_leaves_no_trace(store: LocalStore) -> None:
    with stopping(store, PLAN, time.monotonic() - 1) as stop:
        assert (stop.asked, stop.reason) == (True, "the --deadline has come")
    assert not stop_asked(store, PLAN)
    assert not list(Path(store.root).rglob("*"))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (IncompleteError("full"), "full; what was committed is kept: that mended, the same command{} goes on from"),
        (StoppedError("stopped"), "stopped; what was committed is kept, and the same command{} goes on from there"),
        (KeyboardInterrupt(), "interrupted; what was committed is kept, and the same command{} goes on from there"),
    ],
)
def test_what_ends_a_run_says_which_command_goes_on(error: BaseException, says: str) -> None:
    for anew, which in ((False, ""), (True, " without --overwrite")):
        with pytest.raises(type(error), match=f"^{says.format(which)}"), saying_how_to_go_on(anew=anew):
            raise error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (IncompleteError("full"), "full; that mended, the same command begins anew"),
        (StoppedError("stopped"), "stopped; the same command begins anew"),
        (KeyboardInterrupt(), "interrupted before any image was explained; the same command begins anew"),
    ],
)
def test_what_ends_a_run_before_it_began_promises_nothing_to_go_on_from(error: BaseException, says: str) -> None:
    with pytest.raises(type(error), match=f"^{says}$"), saying_that_nothing_began():
        raise error


def test_the_reason_is_at_hand_alone_and_is_all_where_nothing_was_committed() -> None:
    with pytest.raises(EndedError) as ended, saying_how_to_go_on(anew=False):
        raise IncompleteError("a full disk")
    assert ended.value.reason == "a full disk"
    assert str(IncompleteError("a full disk")) == "a full disk"
