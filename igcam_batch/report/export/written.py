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
        said = f"{self.form}: {self.rows} rows of {self.images} images in {directory}"
        if self.blank:
            said += f"; {self.blank} maps gave no box, being zero everywhere or outside the image"
        if self.gone:
            said += f"; {self.gone} images could not be had and are left out, the first {self.first_gone}"
        return said
