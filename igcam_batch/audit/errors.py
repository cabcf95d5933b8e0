"""How a run that has begun can end before its end."""


class IncompleteError(RuntimeError):
    """Not every shard was committed; what is committed is kept, and the same command goes on from there."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; what was committed is kept: that mended, the same command goes on from there")
