"""Dataset layouts: each is a function that yields the rows of the manifest. Knows neither torch nor Ray."""

from igcam_batch.sources.boxes import SIDES
from igcam_batch.sources.folder import class_directories
from igcam_batch.sources.layouts import find_layout, open_source
from igcam_batch.sources.place import Place, boundary, find_place
from igcam_batch.sources.rows import SUFFIXES, Box, ImageRow, Part, Problem
from igcam_batch.sources.schema import BOX, CARRIED, MANIFEST, manifest_schema, manifest_table
from igcam_batch.sources.source import Notes, Source, Wanted

__all__ = [
    "BOX",
    "CARRIED",
    "MANIFEST",
    "SIDES",
    "SUFFIXES",
    "Box",
    "ImageRow",
    "Notes",
    "Part",
    "Place",
    "Problem",
    "Source",
    "Wanted",
    "boundary",
    "class_directories",
    "find_layout",
    "find_place",
    "manifest_schema",
    "manifest_table",
    "open_source",
]
