"""What an export came to."""

from dataclasses import dataclass


@dataclass
class Written:
    """Counts, and a line of them.

    Attributes:
        form: of the export.
        rows: image × target × method that are in it.
        images: that they are of.
        gone: images that could not be had, with the first and why.
        blank: maps that gave no box.
    """

    form: str
    rows: int = 0
    images: int = 0
    gone: int = 0
    first_gone: str = ""
    blank: int = 0

    def missing(self, image_id: str, error: Exception) -> None:
        """Count an image that could not be had."""
        if not self.gone:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.first_gone = f"{image_id}: {said}"
        self.gone += 1

    def line(self, directory: str) -> str:
        """As a person reads it."""
        said = f"{self.form}: {_some(self.rows, 'row')} of {_some(self.images, 'image')} in {directory}"
        if self.blank:
            said += f"; {_some(self.blank, 'map')} gave no box, being zero everywhere or outside the image"
        if self.gone:
            said += f"; {_some(self.gone, 'image')} could not be had and left out, the first {self.first_gone}"
        return said


def _some(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"
