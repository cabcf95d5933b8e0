"""What the files of an export are called; no name of an image leads out of DIR."""

import re
from hashlib import blake2b

from igcam_batch.report.destination import Kind

_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 60  # characters of an image's name that are kept
_OF_IMAGE = r"\d{6,}/[A-Za-z0-9._-]+-[0-9a-f]{16}"  # as `file_name` makes them
_PLAIN = r"[A-Za-z0-9._-]+"  # as `plain_name` does

EXPORT = Kind(
    "an export",
    "DIR",
    "export.json",
    re.compile(
        rf"overlays/{_PLAIN}/{_OF_IMAGE}-\d+\.jpg|index\.parquet"
        rf"|maps/part-\d{{6,}}\.npz"
        rf"|boxes/{_PLAIN}\.json"
        rf"|fields/{_PLAIN}/{_OF_IMAGE}\.png|data/{_OF_IMAGE}(\.\w+)?|samples\.json|metadata\.json"
    ),
)
"""All forms alike: one may take the place of another."""


def file_name(image_id: str, suffix: str) -> str:
    """A name for a file about an image: its own name as far as it is plain, and a digest that tells it from others.

    Of ASCII letters, digits, `.`, `_` and `-`, at most 100 characters, never hidden, never a path; the same image has
    the same name always, and another image another one, also where case does not count.
    """
    stem = re.split(r"[/\\]", image_id)[-1].rpartition(".")
    plain = _ODD.sub("_", stem[0] or stem[2])[:_LONGEST].strip("._-") or "image"
    return f"{plain}-{blake2b(image_id.encode(), digest_size=8).hexdigest()}{suffix}"


def plain_name(method: str) -> str:
    """A method as part of a path; URLs take `+` for a space."""
    return _ODD.sub("_", method.replace("+", "p")).strip("._") or "method"
