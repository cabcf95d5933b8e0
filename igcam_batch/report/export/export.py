"""One export, whole."""

from collections.abc import Sequence
from typing import Literal, get_args

from igcam_batch.errors import InputError
from igcam_batch.report.colours import ColoursName
from igcam_batch.report.export.destination import mark, open_destination
from igcam_batch.report.export.rows import Run
from igcam_batch.report.export.written import Written
from igcam_batch.report.originals import Originals

FormName = Literal["overlay", "numpy", "fiftyone", "coco"]
FORMS: tuple[FormName, ...] = get_args(FormName)
_TAKES = {"size": ("overlay", "numpy"), "threshold": ("coco",), "colours": ("overlay",)}


def export(
    output: str,
    directory: str,
    form: FormName,
    *,
    methods: Sequence[str] = (),
    limit: int | None = None,
    size: int | None = None,
    threshold: float | None = None,
    colours: ColoursName | None = None,
    overwrite: bool = False,
) -> Written:
    """Write what a run found in a form that other programs read.

    Reads a shard at a time. What COCO and FiftyOne have as one JSON file is collected on disk, and held in memory once,
    as a whole, when it is put.

    Args:
        output: OUTPUT of an audit, finished or not.
        directory: a path or an `s3://` URI; empty, or an earlier export with `overwrite`.
        form: which.
        methods: whose rows; none: every method's.
        limit: images at most; None: all.
        size: side of an overlay or of NumPy's maps, in pixels; None: the model's input, and as stored.
        threshold: of COCO's boxes, a share of the map's maximum; None: 0.2.
        colours: of overlays; None: inferno.
        overwrite: whether an earlier export is replaced.

    Raises:
        InputError: `output` holds no run, `directory` holds something else, or an option is not of this form.
    """
    given = {"size": size, "threshold": threshold, "colours": colours}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if form not in _TAKES[name]:
            raise InputError(f"--{name}: is of --format {' and '.join(_TAKES[name])}, not of {form}")
    run, originals = Run(output, methods, limit), Originals(output)
    to = open_destination(directory, overwrite)
    if form == "overlay":
        from igcam_batch.report.export.overlay import write_overlays

        written = write_overlays(run, originals, to, **options)  # type: ignore[arg-type]
    elif form == "numpy":
        from igcam_batch.report.export.arrays import write_arrays

        written = write_arrays(run, to, size=size)
    elif form == "fiftyone":
        from igcam_batch.report.export.fiftyone import write_fiftyone

        written = write_fiftyone(run, originals, to)
    else:
        from igcam_batch.report.export.coco import write_coco

        written = write_coco(run, originals, to, **options)  # type: ignore[arg-type]
    details = {"state": "finished", "format": form, "of": output, "methods": run.methods, "limit": limit} | options
    mark(to, details | {"rows": written.rows, "images": written.images, "left out": written.gone})
    return written
