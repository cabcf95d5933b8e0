"""`igcam-batch export`."""

from typing import Any

import click

from igcam_batch.cli.options import reached

_FORMS = ("overlay", "numpy", "fiftyone", "coco")  # as report.export.export has them; here, as that imports much
_COLOURS = ("inferno", "viridis", "turbo")


@click.command()
@click.argument("output", metavar="OUTPUT", callback=reached)
@click.argument("directory", metavar="DIR", callback=reached)
@click.option("--format", "form", required=True, type=click.Choice(_FORMS), help="what to write")
@click.option("--method", "methods", multiple=True, metavar="NAME", help="whose rows; may be repeated  [default: all]")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="images at most")
@click.option(
    "--size",
    type=click.IntRange(1, 8192),
    metavar="N",
    help="side of an overlay or of NumPy's maps, in pixels  [default: the model's input; as stored]",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="X",
    help="of COCO's boxes: the share of its maximum above which a map is the object  [default: 0.2]",
)
@click.option("--colours", type=click.Choice(_COLOURS), help="of overlays  [default: inferno]")
@click.option("--overwrite", is_flag=True, help="replace an earlier export; DIR must hold nothing else")
def export(output: str, directory: str, form: str, **options: Any) -> None:
    """Write what a run found to DIR, a path or s3://..., as other programs read it.

    \b
    overlay   a JPEG for each image, target and method: the map over the image, with its boxes
    numpy     .npz files of maps and scores
    fiftyone  a folder that FiftyOne opens: heatmaps, predictions, boxes, scores
    coco      boxes around the maps' highest parts, and the dataset's own, as COCO has them
    """  # noqa: D301
    from igcam_batch.report.export.export import export as write

    click.echo(write(output, directory, form, **options).line(directory))  # type: ignore[arg-type]
