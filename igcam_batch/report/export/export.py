"""One export, whole."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from igcam_batch.errors import InputError
from igcam_batch.report.colours import ColoursName
from igcam_batch.report.destination import Destination
from igcam_batch.report.export.names import EXPORT
from igcam_batch.report.export.rows import Run
from igcam_batch.report.export.written import Written
from igcam_batch.report.originals import Originals
from igcam_batch.storage import Store

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
        directory: a path or an `s3://` URI; empty, or an earlier export with `overwrite`, or one that was not finished.
            Where the export fails, nothing is left there.
        form: which.
        methods: whose rows; none: every method's.
        limit: images at most; None: all.
        size: side of an overlay or of NumPy's maps, in pixels; None: the model's input, and as stored.
        threshold: of COCO's boxes, a share of the map's maximum; None: 0.2.
        colours: of overlays; None: inferno.
        overwrite: whether an earlier export is replaced.

    Raises:
        InputError: `output` holds no run, or one of another version, or nothing that can be exported; `directory` holds
            something else; or an option is not of this form.
    """
    given = {"size": size, "threshold": threshold, "colours": colours}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if form not in _TAKES[name]:
            raise InputError(f"--{name}: is of --format {' and '.join(_TAKES[name])}, not of {form}")
    run, originals = Run(output, methods, limit), Originals(output)
    destination = Destination(directory, EXPORT, overwrite)
    run.check()
    details = {"format": form, "of": output, "methods": run.methods, "limit": limit} | options
    with destination.anew(details) as to:
        written = _write(form, run, originals, to, options)
        if not written.images:
            raise InputError(f"{output}: nothing to export: {written.why_nothing()}")
        details |= {"rows": written.rows, "images": written.images, "left out": written.gone}
    return written


def _write(form: FormName, run: Run, originals: Originals, to: Store, options: dict[str, Any]) -> Written:
    if form == "overlay":
        from igcam_batch.report.export.overlay import write_overlays

        return write_overlays(run, originals, to, **options)
    if form == "numpy":
        from igcam_batch.report.export.arrays import write_arrays

        return write_arrays(run, to, **options)
    if form == "fiftyone":
        from igcam_batch.report.export.fiftyone import write_fiftyone

        return write_fiftyone(run, originals, to)
    from igcam_batch.report.export.coco import write_coco

    return write_coco(run, originals, to, **options)
