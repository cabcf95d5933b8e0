"""What a run tells the one who waits for it."""

from typing import Protocol


class Progress(Protocol):
    """Told of every step of an audit, in the driver."""

    def planned(self, images: int, shards: int, done: int) -> None:
        """The plan stands: `images` in `shards`, of which `done` images are committed already."""
        ...

    def started(self, workers: str) -> None:
        """The cluster is there; `workers` says what the model will run on."""
        ...

    def advanced(self, images: int, failed: int) -> None:
        """A shard was committed: so many images more, so many of them failures."""
        ...

    def warned(self, message: str) -> None:
        """Something is not as one would expect, and the run goes on."""
        ...


class Silent:
    """Tells nothing."""

    def planned(self, images: int, shards: int, done: int) -> None:
        """Nothing."""

    def started(self, workers: str) -> None:
        """Nothing."""

    def advanced(self, images: int, failed: int) -> None:
        """Nothing."""

    def warned(self, message: str) -> None:
        """Nothing."""
