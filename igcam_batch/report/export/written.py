"""What an export came to."""

from dataclasses import dataclass

from igcam_batch.words import amount_in_words


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

    def why_nothing(self) -> str:
        """Of an export without an image."""
        if not self.gone:
            return "it has no row of that method"
        return f"{amount_in_words(self.gone, 'image')} could not be had, the first {self.first_gone}"

    def line(self, directory: str) -> str:
        """As a person reads it."""
        rows, images = amount_in_words(self.rows, "row"), amount_in_words(self.images, "image")
        said = f"{self.form}: {rows} of {images} in {directory}"
        if self.blank:
            blank = amount_in_words(self.blank, "map")
            said += f"; {blank} gave no box, being zero everywhere or outside the image"
        if self.gone:
            gone = amount_in_words(self.gone, "image")
            said += f"; {gone} could not be had and left out, the first {self.first_gone}"
        return said
