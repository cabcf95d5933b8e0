"""What the engine is meant to reach on a machine of two CPU cores, and whether it does. Nothing is asserted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from benchmarks import contenders as named
from benchmarks.timing import Timed


@dataclass(frozen=True)
class Goal:
    """One target.

    Attributes:
        what: in words.
        sign: of the bound.
        wanted: the bound.
        measured: the figure.
    """

    what: str
    sign: Literal["<=", ">="]
    wanted: float
    measured: float

    @classmethod
    def at_most(cls, what: str, wanted: float, measured: float) -> "Goal":
        """A figure that is to stay small."""
        return cls(what, "<=", wanted, measured)

    @classmethod
    def at_least(cls, what: str, wanted: float, measured: float) -> "Goal":
        """A figure that is to be large."""
        return cls(what, ">=", wanted, measured)

    @property
    def met(self) -> bool:
        """Whether the figure keeps to the bound."""
        return self.measured <= self.wanted if self.sign == "<=" else self.measured >= self.wanted

    @property
    def row(self) -> list[str]:
        """For a table."""
        return [self.what, f"{self.sign} {self.wanted:g}", f"{self.measured:.3g}", "met" if self.met else "missed"]

    @property
    def figures(self) -> dict[str, object]:
        """For a file."""
        return asdict(self) | {"met": self.met}


def goals_of_speed(found: Mapping[str, Timed], steps: Sequence[int]) -> list[Goal]:
    """Those that `engine` measures; a contender that did not run leaves its goals out."""
    goals: list[Goal] = []

    def at_most(what: str, wanted: float, label: str, other: str) -> None:
        if label in found and other in found:
            goals.append(Goal.at_most(what, wanted, found[label].ratio(found[other])))

    def faster(what: str, wanted: float, label: str, other: str) -> None:
        if label in found and other in found:
            goals.append(Goal.at_least(what, wanted, found[other].ratio(found[label])))

    for m in steps:
        at_most(f"time over the floor's, m = {m}", 1.08, named.ours(m), named.floor(m))
    for m in steps:
        faster(f"times as fast as the authors' algorithm, m = {m}", 4.5, named.ours(m), named.authors(m))
        faster(f"the same in bf16, m = {m}", 12, named.ours(m, "bf16"), named.authors(m))
    m = steps[0]
    for peer in (named.PYTORCH_GRAD_CAM, named.CAPTUM, named.TORCHCAM):
        loop = named.loop_of(peer, m)
        faster(f"times as fast as {loop}", 3.5, named.ours(m), loop)
    single = "time over one pytorch-grad-cam Grad-CAM map's"
    at_most(f"gauss-lobatto 5, {single}", 1.0, named.LOBATTO, named.PYTORCH_GRAD_CAM)
    at_most(f"gauss-lobatto 5 in bf16, {single}", 0.5, named.LOBATTO_BF16, named.PYTORCH_GRAD_CAM)
    at_most("5 targets, time over one's", 1.10, named.ours(m, "5 targets"), named.ours(m))
    at_most("Grad-CAM and Grad-CAM++ beside it, time over its own", 1.05, named.ours(m, "3 methods"), named.ours(m))
    return goals
