"""How a run that has begun can end before its end."""

_GOES_ON = "what was committed is kept"


class IncompleteError(RuntimeError):
    """Not every shard was committed; what is committed is kept, and the same command goes on from there."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; {_GOES_ON}: that mended, the same command goes on from there")


class StoppedError(RuntimeError):
    """The run was asked to stop; what is committed is kept, and the same command goes on from there.

    Attributes:
        reason: why, alone.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}; {_GOES_ON}, and the same command goes on from there")
