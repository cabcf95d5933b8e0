"""How a layer is called: `layer4`, `relu#2` for the second run of a module, `pool:input` for what it takes."""

import re
from dataclasses import dataclass
from typing import Self

from igcam_batch.errors import InputError

_WRITTEN = re.compile(r"(?P<module>.+?)(?:#(?P<run>[1-9]\d{0,4}))?(?P<input>:input)?")


class LayerError(InputError):
    """The layer cannot be explained; the message says why and what can."""


@dataclass(frozen=True)
class LayerName:
    """A map within a forward pass.

    Attributes:
        module: dotted name of a module.
        run: which of its runs, from 1; None where it runs once.
        at_input: the map that it takes, made by functions between modules, and not the one it gives.
    """

    module: str
    run: int | None = None
    at_input: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """From how it is written."""
        match = _WRITTEN.fullmatch(text)
        if match is None:
            return cls(text)
        return cls(match["module"], int(match["run"]) if match["run"] else None, match["input"] is not None)

    def __str__(self) -> str:
        """As `--layer` takes it."""
        return f"{self.module}{f'#{self.run}' if self.run else ''}{':input' if self.at_input else ''}"
