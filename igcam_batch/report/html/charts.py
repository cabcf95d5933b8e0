"""Histograms as the template draws them: bars in the coordinates of an SVG."""

from dataclasses import dataclass

from igcam_batch.report.distributions import BARS, Distribution
from igcam_batch.words import amount_in_words

WIDTH, HEIGHT = 250, 80  # of the plot, in units of the SVG


@dataclass(frozen=True)
class Histogram:
    """A chart of a metric's values.

    Attributes:
        bars: (left, top, width, height) of each that is not empty.
        median: where its line stands; None without a value.
        text: the same in words.
    """

    bars: list[tuple[float, float, float, float]]
    median: float | None
    text: str


def histogram(values: Distribution) -> Histogram:
    """The chart of a distribution."""
    counts, width = values.bars(), WIDTH / BARS
    highest = max(counts) or 1
    heights = [HEIGHT * count / highest for count in counts]
    bars = [
        (round(place * width + 0.5, 1), round(HEIGHT - height, 2), width - 1, round(height, 2))
        for place, height in enumerate(heights)
        if height
    ]
    if not values.rows:
        return Histogram([], None, "no value")
    low, middle, high = (values.quantile(share) for share in (0.25, 0.5, 0.75))
    text = f"median {100 * middle:.1f}, half of the rows from {100 * low:.1f} to {100 * high:.1f}; "
    text += amount_in_words(values.rows, "row")
    if values.beyond:
        text += f", {values.beyond:,} of them above 100 and drawn there"
    return Histogram(bars, round(WIDTH * middle, 1), text)
