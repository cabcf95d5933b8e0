"""Six photographs that scikit-image and scikit-learn carry, laid out as Pascal VOC with boxes drawn by hand."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from igcam_batch.errors import InputError
from igcam_batch.sources.voc import ANNOTATIONS, IMAGES

_PHOTOGRAPHS = {
    "chelsea.png": "skimage.data",
    "coffee.png": "skimage.data",
    "camera.png": "skimage.data",
    "motorcycle_left.png": "skimage.data",
    "rocket.jpg": "skimage.data",
    "flower.jpg": "sklearn.datasets.images",
}


def write_photographs(directory: Path) -> None:
    """Put the photographs and their annotations under `directory`, as the layout `voc` has them.

    Raises:
        InputError: the packages that carry them are not installed.
    """
    missing = [package for package in ("skimage", "sklearn") if find_spec(package) is None]
    if missing:
        raise InputError("the demo needs packages of its own: pip install 'igcam-batch[demo]'")
    for place in (IMAGES, ANNOTATIONS):
        (directory / place).mkdir(parents=True, exist_ok=True)
    for name, package in _PHOTOGRAPHS.items():
        (directory / IMAGES / name).write_bytes(files(package).joinpath(name).read_bytes())
        annotation = f"{Path(name).stem}.xml"
        text = files("igcam_batch.demo").joinpath("annotations", annotation).read_bytes()
        (directory / ANNOTATIONS / annotation).write_bytes(text)
