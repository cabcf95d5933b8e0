"""Timing that a machine's drift does not decide: contenders in turn, round after round, compared within a round."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Contender:
    """Something that explains images.

    Attributes:
        label: what it is called.
        run: explains the first n images.
        cost: about how many forward passes an image takes it, to plan by.
        passes: forward passes that its result cannot do without; what its floor is made of.
        against: the label of the contender it is compared with, if any.
        exact: its ratios are near 1 and matter, so it runs every round however long it takes.
    """

    label: str
    run: Callable[[int], object]
    cost: float
    passes: int = 1
    against: str | None = None
    exact: bool = False


@dataclass(frozen=True)
class Timed:
    """What was measured of a contender.

    Attributes:
        contender: which.
        images: how many it explained at a time.
        seconds: for each image, round by round; one round for a contender too slow for more.
    """

    contender: Contender
    images: int
    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """Seconds for each image."""
        return statistics.median(self.seconds)

    def ratio(self, other: "Timed") -> float:
        """This time over another's: the median over the rounds that both ran in."""
        pairs = zip(self.seconds, other.seconds, strict=False)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def interleaved(
    contenders: Sequence[Contender], images: int, rounds: int, longest: float, forward: float
) -> dict[str, Timed]:
    """Time each contender once a round, in turn.

    One that would take longer than `longest` seconds gets fewer images; one that would with a single image runs in the
    first round alone, and, unlike the others, is not warmed up, unless its ratios are wanted exactly.

    Args:
        contenders: what to time.
        images: how many there are.
        rounds: that count.
        longest: seconds a measurement should take at most.
        forward: seconds that a forward pass takes for each image, to plan by.
    """
    counts = {one.label: max(1, min(images, int(longest / (one.cost * forward)))) for one in contenders}
    slow = {one.label for one in contenders if one.cost * forward > longest and not one.exact}
    seconds: dict[str, list[float]] = {one.label: [] for one in contenders}
    for one in contenders:
        if one.label not in slow:
            one.run(counts[one.label] if torch.cuda.is_available() else 1)  # GPUs begin anew with each shape
    for number in range(rounds):
        for one in contenders:
            if number == 0 or one.label not in slow:
                seconds[one.label].append(timed(lambda one=one: one.run(counts[one.label])) / counts[one.label])  # type: ignore[misc]
    return {one.label: Timed(one, counts[one.label], seconds[one.label]) for one in contenders}


def timed(run: Callable[[], object]) -> float:
    """Seconds a call takes, the accelerator's work included."""
    _synchronise()
    began = time.perf_counter()
    run()
    _synchronise()
    return time.perf_counter() - began


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
