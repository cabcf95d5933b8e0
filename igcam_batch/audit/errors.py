"""How a run that has begun can end before its end, and which command goes on with it."""

from collections.abc import Iterator
from contextlib import contextmanager

_KEPT, _ANEW = "what was committed is kept", "the same command begins anew"


class EndedError(RuntimeError):
    """A run ended before its end.

    Args:
        reason: why.
        way_on: what can be done, if it is known.

    Attributes:
        reason: why, alone.
    """

    def __init__(self, reason: str, way_on: str = "") -> None:
        self.reason = reason
        super().__init__(reason + way_on)


class IncompleteError(EndedError):
    """Something is in the way of it."""


class StoppedError(EndedError):
    """It was asked to stop."""


@contextmanager
def saying_that_nothing_began() -> Iterator[None]:
    """Have whatever ends a run in the block say that there is nothing to go on from."""
    try:
        yield
    except IncompleteError as error:
        raise IncompleteError(error.reason, f"; that mended, {_ANEW}") from None
    except StoppedError as error:
        raise StoppedError(error.reason, f"; {_ANEW}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted before any image was explained; {_ANEW}") from None


@contextmanager
def saying_how_to_go_on(*, anew: bool) -> Iterator[None]:
    """Have whatever ends a run in the block say that what is committed is kept, and which command goes on from there.

    Args:
        anew: whether the same command, as it has --overwrite, would not.
    """
    goes_on = f"the same command{' without --overwrite' if anew else ''} goes on from there"
    try:
        yield
    except IncompleteError as error:
        raise IncompleteError(error.reason, f"; {_KEPT}: that mended, {goes_on}") from None
    except StoppedError as error:
        raise StoppedError(error.reason, f"; {_KEPT}, and {goes_on}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {_KEPT}, and {goes_on}") from None
