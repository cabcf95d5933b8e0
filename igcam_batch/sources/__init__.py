"""Dataset layouts: each is a function that yields one `ImageRow` for every image. Knows neither torch nor Ray."""

from igcam_batch.sources.layouts import find_layout, image_rows
from igcam_batch.sources.rows import SUFFIXES, Box, ImageRow

__all__ = ["SUFFIXES", "Box", "ImageRow", "find_layout", "image_rows"]
