"""The commands."""

import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from igcam_batch import __version__
from igcam_batch.cli.endings import EXIT_FAILED, PROGRAM, ending_in_one_line, fail
from igcam_batch.cli.export import export
from igcam_batch.cli.options import audit_flags, given, reached
from igcam_batch.words import amount_in_words, plural, size_in_words


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name=PROGRAM)
def commands() -> None:
    """Explain every prediction a CNN makes over a whole image dataset: Integrated Grad-CAM on Ray, into Parquet."""


commands.add_command(export)


def main() -> None:
    """Run a command; every error a person can mend is one line."""
    with ending_in_one_line():
        commands.main(standalone_mode=False, prog_name=PROGRAM)


@commands.command()
@click.argument("input", metavar="INPUT")
@click.argument("output", metavar="OUTPUT")
@audit_flags
def audit(config: str | None, **flags: Any) -> None:
    """Explain the images in INPUT and write tables to OUTPUT.

    Goes on where OUTPUT holds an unfinished run of the same settings.
    """
    from igcam_batch.cli.settings import read_settings

    settings = read_settings(given(flags), config)

    from igcam_batch.audit.job import run_audit
    from igcam_batch.cli.console import view
    from igcam_batch.cli.terminal import is_watched, show
    from igcam_batch.report.failures import all_failed, some_failed
    from igcam_batch.report.scores import means_table
    from igcam_batch.report.summary import write_summary

    with view() as progress:
        summary = run_audit(settings, progress)
    means = write_summary(summary.output)
    if is_watched() and summary.status.scored:
        show(means_table(means))
    click.echo(summary.line())
    output, failed = summary.output, summary.status.failed
    if not summary.status.scored:
        why = f"{output}: nothing could be explained: {all_failed(output, failed)}"
        fail(f"{why}; that mended, --retry-failures takes them up again", EXIT_FAILED)
    if failed:
        progress.warned(some_failed(output, failed))
        if settings.fail_on_error:
            sys.exit(EXIT_FAILED)


@commands.command()
@click.argument("input", metavar="INPUT")
@click.argument("output", metavar="OUTPUT")
@click.option("--sample", default=8, show_default=True, type=click.IntRange(0, 10_000), help="images to explain")
@click.option("--price", type=click.FloatRange(0), metavar="X", help="of a worker for an hour; says what it all costs")
@audit_flags
def plan(config: str | None, sample: int, price: float | None, **flags: Any) -> None:
    """Say what an audit would do, how long it would take and what it would cost, by explaining a few of its images.

    Takes what `audit` takes, refuses what it would refuse, and writes nothing.
    """
    from igcam_batch.cli.settings import read_settings

    settings = read_settings(given(flags), config)

    from igcam_batch.audit.estimate import estimate
    from igcam_batch.cli.console import view
    from igcam_batch.cli.estimate import lines_of

    with view() as progress:
        found = estimate(settings, sample, progress)
    for line in lines_of(settings, found, price):
        click.echo(line)


@commands.command()
@click.argument("output", metavar="OUTPUT", callback=reached)
def status(output: str) -> None:
    """Say how many images of a run are planned, scored, failed, and remaining."""
    from igcam_batch.report.failures import some_failed
    from igcam_batch.tables.status import read_status

    found = read_status(output)
    click.echo(
        f"planned {found.planned}, scored {found.scored}, failed {found.failed}, remaining {found.remaining}; "
        f"{found.rows} rows"
    )
    if found.failed:
        click.echo(f"igcam-batch: {some_failed(output, found.failed)}", err=True)


@commands.command()
@click.argument("output", metavar="OUTPUT", callback=reached)
@click.option(
    "--file-size", default=128, show_default=True, type=click.IntRange(1, 4096), metavar="MIB", help="of each file"
)
def compact(output: str, file_size: int) -> None:
    """Write the tables of a finished run once more, to OUTPUT/compact, in few large files."""
    from igcam_batch.tables.compact import COMPACT_DIR
    from igcam_batch.tables.compact import compact as write_compact

    place = f"{output.rstrip('/')}/{COMPACT_DIR}"
    for name, table in write_compact(output, file_size << 20).items():
        files, rows = amount_in_words(table.files, "file"), plural(table.rows, "row")
        click.echo(f"{place}/{name}: {table.rows} {rows} in {files}, {size_in_words(table.bytes)}")


@commands.command()
@click.argument("output", metavar="OUTPUT", callback=reached)
@click.option(
    "--images", default=12, show_default=True, type=click.IntRange(0, 200), metavar="N", help="in each gallery; 0: none"
)
def report(output: str, images: int) -> None:
    """Show what a run found, finished or not: report.html, summary.parquet and summary.json, and the means here."""
    from igcam_batch.cli.terminal import show
    from igcam_batch.report.html.page import REPORT_FILE, write_report
    from igcam_batch.report.scores import means_table

    show(means_table(write_report(output, images)))
    click.echo(f"look at {output.rstrip('/')}/{REPORT_FILE}")


@commands.command()
@click.argument("output_a", metavar="OUTPUT_A", callback=reached)
@click.argument("output_b", metavar="OUTPUT_B", callback=reached)
@click.option(
    "--output",
    default="comparison",
    show_default=True,
    metavar="DIR",
    callback=reached,
    help="where page and tables go",
)
@click.option("--method-a", metavar="NAME", help="of OUTPUT_A  [default: one that both have]")
@click.option("--method-b", metavar="NAME", help="of OUTPUT_B")
@click.option(
    "--images", default=12, show_default=True, type=click.IntRange(0, 200), metavar="N", help="in each gallery; 0: none"
)
@click.option("--overwrite", is_flag=True, help="replace an earlier comparison")
def compare(output_a: str, output_b: str, output: str, **options: Any) -> None:
    """Compare two runs on the same images: two models, layers, or methods."""
    from igcam_batch.cli.terminal import show
    from igcam_batch.report.compare.compare import PAGE_FILE
    from igcam_batch.report.compare.compare import compare as write
    from igcam_batch.report.compare.differences import caution
    from igcam_batch.report.compare.terminal import agreement_table, changes_table, heading

    found = write(output_a, output_b, output, **options)
    click.echo(heading(found))
    show(changes_table(found))
    if said := caution(*found.sides, found.table):
        click.echo(said)
    click.echo()
    show(agreement_table(found))
    click.echo(f"look at {output.rstrip('/')}/{PAGE_FILE}")


@commands.command()
@click.argument("model", metavar="MODEL")
@click.option("--input-size", type=click.IntRange(8, 8192), metavar="N", help="side of the model's input")
def layers(model: str, input_size: int | None) -> None:
    """List the layers of MODEL that can be explained; the default is told first, and marked with *."""
    from igcam_batch.models import list_layers

    console = Console(highlight=False, soft_wrap=True)
    table = Table("", "layer", "kind", "N x u x v", box=None, pad_edge=False)
    for layer in list_layers(model, input_size):
        shape = " x ".join(map(str, layer.shape))
        table.add_row("*" if layer.default else "", layer.name, layer.kind, shape)
        if layer.default:
            console.print(f"default: {layer.name}, {layer.kind}, {shape}")
    console.print(table)


@commands.command()
@click.option(
    "--output", default="igcam-demo", show_default=True, metavar="DIR", help="where photographs, tables and sheets go"
)
def demo(output: str) -> None:
    """Explain six photographs with a pretrained CNN on this machine, by three methods and four metrics."""
    from igcam_batch.cli.console import view
    from igcam_batch.cli.terminal import show
    from igcam_batch.demo.run import run_demo
    from igcam_batch.report.scores import means_table, score_table

    with view() as progress:
        result = run_demo(output, progress)
    show(score_table(result.summary.output))
    show(means_table(result.means))
    click.echo(result.summary.line())
    click.echo(f"look at {result.report} and {result.sheet}")
