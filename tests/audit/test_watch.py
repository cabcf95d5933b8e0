"""What is made of how a run stands at some moment; `test_faults.py` and `test_nodes.py` have real runs."""

from dataclasses import dataclass

import pytest

from igcam_batch.audit.arrival import Patience
from igcam_batch.audit.errors import IncompleteError, StoppedError
from igcam_batch.audit.stop import Stop
from igcam_batch.audit.watch import Moment, Watch, until_stopped
from igcam_batch.storage import LocalStore

BUSY, IDLE, NOBODY, OVER = Moment(2, 3, False), Moment(2, 0, False), Moment(0, 0, False), Moment(0, 0, True)


class Counting(Patience):
    """Counts how often in a row it was waited."""

    def __init__(self) -> None:
        self.waits = 0

    def renew(self) -> None:
        self.waits = 0

    def wait(self) -> None:
        self.waits += 1
        if self.waits == 3:
            raise IncompleteError("in vain")


@dataclass
class Watched:
    """A watch, and what it is given."""

    look: Watch
    stop: Stop
    no_replica: Counting
    no_images: Counting
    told: list[str]


@pytest.fixture
def watched(tmp_path) -> Watched:
    stop, told = Stop(LocalStore(str(tmp_path)), "plan"), list[str]()
    no_replica, no_images = Counting(), Counting()
    return Watched(until_stopped(no_replica, no_images, stop, told.append), stop, no_replica, no_images, told)


def test_work_and_its_end_try_nobody_s_patience(watched: Watched) -> None:
    for _ in range(5):
        assert watched.look(BUSY)
        assert watched.look(OVER)
    assert watched.no_replica.waits == watched.no_images.waits == 0


@pytest.mark.parametrize(("moment", "waits"), [(NOBODY, (2, 0)), (IDLE, (0, 2))])
def test_without_workers_and_without_images_patience_ends(
    watched: Watched, moment: Moment, waits: tuple[int, int]
) -> None:
    for _ in range(2):
        assert watched.look(moment)
    assert (watched.no_replica.waits, watched.no_images.waits) == waits
    assert watched.look(BUSY)  # begins it anew
    for _ in range(2):
        watched.look(moment)
    with pytest.raises(IncompleteError):
        watched.look(moment)


@pytest.mark.parametrize("moment", [NOBODY, IDLE])
def test_a_stop_waits_for_what_is_in_hand_gives_out_nothing_more_and_says_so_once(
    watched: Watched, moment: Moment
) -> None:
    watched.stop.asked, watched.stop.reason = True, "the --deadline has come"
    assert not watched.look(BUSY)
    assert not watched.look(BUSY)
    assert watched.told == ["the --deadline has come: what is in hand is finished"]
    with pytest.raises(StoppedError, match=r"^the --deadline has come$"):
        watched.look(moment)


def test_a_stop_that_comes_when_nothing_is_left_changes_nothing(watched: Watched) -> None:
    watched.stop.asked = True
    watched.look(OVER)
    assert not watched.told
