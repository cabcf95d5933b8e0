"""What a person sees while an audit runs: a bar on a terminal, plain lines at intervals in a log."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from igcam_batch.audit.progress import Progress
from igcam_batch.words import duration_in_words, plural

_SECONDS_BETWEEN_LINES = 15.0


class View(Progress, Protocol):
    """A progress that is shown from entering it to leaving it."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen as a person can go on with it."""
        ...


class Pace:
    """Images per second since the first were done, so that starting up does not count."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._done = 0

    def after(self, images: int) -> float | None:
        """The pace now that `images` more are done; None for the first."""
        if self._began is None:
            self._began = time.monotonic()
            return None
        self._done += images
        return self._done / (time.monotonic() - self._began)


def view() -> View:
    """A bar where standard error is a terminal, lines where it is not."""
    return BarView() if sys.stderr.isatty() else LineView()


class LineView:
    """One line for each step, and one now and then while images are explained."""

    def __init__(self) -> None:
        self._total = self._done = self._failed = 0
        self._pace = Pace()
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def planned(self, images: int, shards: int, done: int) -> None:
        """Say what there is to do."""
        self._total, self._done = images, done
        self._say(_plan_line(images, shards, done))

    def started(self, workers: str) -> None:
        """Say what it runs on."""
        self._say(f"explaining on {workers}")

    def advanced(self, images: int, failed: int) -> None:
        """Say how far it is, if the last line is old enough."""
        self._done += images
        self._failed += failed
        rate = self._pace.after(images)
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            pace = (
                f", {rate:.2f} images/s, about {duration_in_words((self._total - self._done) / rate)} left"
                if rate
                else ""
            )
            self._say(f"{self._done} of {self._total} images, {self._failed} {plural(self._failed, 'failure')}{pace}")

    def warned(self, message: str) -> None:
        """Say it."""
        self._say(f"warning: {message}")

    def _say(self, line: str) -> None:
        print(f"igcam-batch: {line}", file=sys.stderr, flush=True)  # noqa: T201


class BarView:
    """A bar with images done, images per second, and time left."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("loading the model", total=None, rate="")
        self._pace = Pace()
        self._failed = 0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def planned(self, images: int, shards: int, done: int) -> None:
        """Give the bar its length."""
        self._console.print(_plan_line(images, shards, done))
        self._bar.update(self._task, description="starting", total=images, completed=done)

    def started(self, workers: str) -> None:
        """Say what it runs on."""
        self._console.print(f"explaining on {workers}")
        self._bar.update(self._task, description="starting workers")

    def advanced(self, images: int, failed: int) -> None:
        """Move the bar."""
        self._failed += failed
        rate = self._pace.after(images)
        told = [f"{rate:.2f} images/s"] if rate else []
        told += [f"{self._failed} {plural(self._failed, 'failure')}"] if self._failed else []
        self._bar.update(self._task, description="explaining", advance=images, rate=", ".join(told))

    def warned(self, message: str) -> None:
        """Say it above the bar."""
        self._console.print(f"[yellow]warning:[/] {escape(message)}")


def _plan_line(images: int, shards: int, done: int) -> str:
    before = f", {done} of them done before" if done else ""
    return f"{images} {plural(images, 'image')} in {shards} {plural(shards, 'shard')}{before}"
