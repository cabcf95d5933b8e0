"""`--baseline`, `--fill` and `--insertion-start`: an image without what is explained."""

import re
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator

BASELINES = "black, white, blur, blur:SIGMA (pixels of the model's input), R,G,B (each 0 to 1)"


@dataclass(frozen=True)
class BaselineImage:
    """An image without what is explained: where paths start, and what hides a pixel.

    Attributes:
        colour: of an image that is one colour everywhere, in 0..1; None for the image itself, blurred.
        sigma: standard deviation of the blur, in pixels of the model's input.
    """

    colour: tuple[float, float, float] | None = None
    sigma: float = 10.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a `--baseline` value; ValueError says what there is."""
        if text in _COLOURS:
            return cls(_COLOURS[text])
        if match := re.fullmatch(r"blur(?::(\d{1,4}(?:\.\d{1,4})?))?", text):
            if match[1] is None or 0 < float(match[1]) <= _MOST_BLUR:
                return cls(sigma=float(match[1] or cls.sigma))
            raise ValueError(f"SIGMA must be above 0 and at most {_MOST_BLUR}")
        try:
            red, green, blue = (float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"no such baseline; there are: {BASELINES}") from None
        if not all(0 <= part <= 1 for part in (red, green, blue)):
            raise ValueError("R,G,B must each be 0 to 1")
        return cls((red, green, blue))


def _checked_baseline(text: str) -> str:
    BaselineImage.parse(text)
    return text


BaselineText = Annotated[str, AfterValidator(_checked_baseline)]
_COLOURS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
_MOST_BLUR = 1000
