"""The package that a job runs: of the clone or working directory that the job lies in, or else what is installed."""

import sys
from importlib.util import find_spec
from pathlib import Path


def find_package() -> None:
    """Have igcam_batch be importable; where it cannot be, end with a line that says how to have it, and code 2."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if find_spec("igcam_batch") is None:
        print(
            "igcam-batch: there is no igcam_batch here: submit a clone of it by `ray job submit --working-dir`, or "
            "install the package on the head",
            file=sys.stderr,
        )
        sys.exit(2)
