"""The pieces of a run until every image is accounted for.

They are tried, tried again, and split, until the single image is told apart that its process dies with.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from igcam_batch.audit.errors import IncompleteError, StoppedError
from igcam_batch.audit.gathering import Gathering
from igcam_batch.audit.metrics import RunMetrics
from igcam_batch.audit.progress import Progress
from igcam_batch.audit.replica import Replica, Report
from igcam_batch.audit.stop import Stop
from igcam_batch.audit.trouble import Trouble
from igcam_batch.tables import CONTROL, Piece
from igcam_batch.words import amount_in_words, plural

Execute = Callable[[Sequence[Piece], bool, Callable[[str], None]], Iterator[Report]]
PutCrash = Callable[[Piece, int, str], None]

_DEATHS = 2  # of a process with the same piece before it is split, or if it is a single image, blamed; the first may
# be anybody's fault
_PARTS = 8  # that a piece without a report is split into
_TRIES = 5  # of a piece that trouble around it kept from being explained
_PAUSE = 15.0  # seconds after a round in which trouble was all there was
_HOPELESS = 1000  # images without one that could be explained


@dataclass
class Done:
    """What a run did.

    Attributes:
        images: taken up.
        failed: of these, could not be explained.
        began: when the first piece was begun on a device, as `time.perf_counter` counts.
        replicas: who took part.
    """

    images: int = 0
    failed: int = 0
    began: float = math.inf
    replicas: set[Replica] = field(default_factory=set)


class Rounds:
    """Runs pieces until none is left.

    Args:
        execute: runs pieces, in processes that have several at a time or each alone; yields a report of each that it
            finished, and tells how the process ended of each that it did not.
        gathering: of the shards that are done in pieces.
        put_crash: puts the failure aside of a single image: how often its process died, and the last words.
        progress: told of what is done.
        stop: whether the run was asked to stop.
        control: a piece that was explained in an earlier run, if there is one.
        lost: set when another driver has taken OUTPUT over.
        metrics: told of what is done, and of what is tried again.
        row_of_deaths: how many in a row, with no report in between, before it is checked whether the images are to
            blame.
    """

    def __init__(
        self,
        execute: Execute,
        gathering: Gathering,
        put_crash: PutCrash,
        progress: Progress,
        stop: Stop,
        control: Piece | None,
        lost: threading.Event,
        metrics: RunMetrics,
        row_of_deaths: int,
    ) -> None:
        self._execute, self._gathering, self._put_crash = execute, gathering, put_crash
        self._progress, self._stop = progress, stop
        self._control, self._lost, self._row_of_deaths = control, lost, row_of_deaths
        self._metrics = metrics
        self._tries: Counter[Piece] = Counter()
        self._deaths: Counter[Piece] = Counter()
        self._deaths_alone: Counter[Piece] = Counter()
        self._deaths_in_a_row, self._only_deaths = 0, False
        self._last_words = ""
        self.done = Done()

    def run(self, pieces: Sequence[Piece]) -> None:
        """Run pieces, and those they are split into.

        Raises:
            IncompleteError: what is in the way does not pass, or is not in the images.
            StoppedError: the run was asked to stop.
        """
        alone = False
        while pieces:
            before = self.done.images
            lost, troubled = self._round(pieces, alone)
            if self._stop.asked and (lost or troubled):
                raise StoppedError(self._stop.reason)
            if lost:
                shards, them = amount_in_words(len(lost), "shard"), plural(len(lost), "it", "them")
                why = f" ({self._last_words})" if self._last_words else ""
                self._progress.warned(f"{shards} lost with the process that had {them}{why}; tried again")
            for piece in lost:
                self._deaths[piece] += 1
                self._deaths_alone[piece] += alone
            if self._only_deaths or any(map(self._is_suspect, lost)):
                self._check_control(lost, alone, explained=self.done.images > before)
            elif self.done.images == before and troubled:
                time.sleep(_PAUSE)
            pieces = [*troubled, *self._smaller(lost)]
            self._metrics.again(len(lost), len(troubled))
            alone = alone or bool(lost)

    def _round(self, pieces: Sequence[Piece], alone: bool) -> tuple[list[Piece], list[Piece]]:
        """Try each piece; those without a report, and those to be tried again as they are."""
        if self._stop.asked:
            raise StoppedError(self._stop.reason)
        missing = dict.fromkeys(pieces)
        troubled: list[Piece] = []
        self._deaths_in_a_row, self._only_deaths = 0, False
        for report in self._execute(pieces, alone, self._died):
            piece = report.outcome.piece
            del missing[piece]
            if self._lost.is_set():
                raise IncompleteError("another audit has taken OUTPUT over, as it saw no sign of life of this one")
            if report.trouble:
                self._note(piece, report.trouble)
                troubled.append(piece)
            else:
                self._add(report)
        self._stop.resume()
        return list(missing), troubled

    def _died(self, last_words: str) -> None:
        """A process ended with a piece, for the last time; where that is all they do, the round is broken off."""
        self._last_words = last_words
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row == self._row_of_deaths:
            self._only_deaths = True
            self._stop.pause()

    def _note(self, piece: Piece, trouble: Trouble) -> None:
        if trouble.stopped:
            return
        self._tries[piece] += 1
        if not trouble.passing or self._tries[piece] == _TRIES:
            raise IncompleteError(trouble.line)
        self._progress.warned(f"{trouble.line}; its images are tried again")

    def _add(self, report: Report) -> None:
        outcome, done = report.outcome, self.done
        self._deaths_in_a_row = 0
        images, failed = outcome.piece.images, outcome.failed
        self._gathering.add(outcome.piece)
        done.began = min(done.began, time.perf_counter() - outcome.seconds)
        done.images += images
        done.failed += failed
        self._progress.advanced(images, failed)
        if report.replica not in done.replicas:
            warning = report.replica.warning()
            if warning and not any(other.warning() for other in done.replicas):  # of 64 it is said once
                self._progress.warned(warning)
            done.replicas.add(report.replica)
        self._metrics.done(images, len(done.replicas))
        if failed < images:
            self._control = outcome.piece
        elif self._control is None and done.failed >= _HOPELESS:
            raise IncompleteError(
                f"none of the first {done.failed} images could be explained ({outcome.reason}); --retry-failures takes "
                "them up again"
            )

    def _check_control(self, lost: Sequence[Piece], alone: bool, explained: bool) -> None:
        """IncompleteError where processes die with an image that was explained before, or with whatever they get."""
        if self._control is None:
            tried = self._only_deaths or any(self._deaths[piece] > _DEATHS for piece in lost)  # as parts, too
            if tried and alone and len(lost) > 1 and not explained:
                raise IncompleteError(f"every process that explains images died ({self._last_words})")
            return
        control = replace(self._control, revision=CONTROL, whole=False)
        if not list(self._execute([control], True, self._died)):
            raise IncompleteError(
                f"a process died with images that were explained before, so these are not to blame ({self._last_words})"
            )

    def _smaller(self, lost: Sequence[Piece]) -> Iterator[Piece]:
        """What is tried next of pieces whose process died; a single image that was alone with it twice is done."""
        for piece in lost:
            if not self._is_suspect(piece):
                yield piece
            elif piece.images > 1:
                parts = piece.split(_PARTS)
                if piece.whole:
                    self._gathering.expect(parts)
                for part in parts:
                    self._deaths[part] = self._deaths[piece]
                yield from parts
            else:
                single = replace(piece, whole=False)
                if piece.whole:
                    self._gathering.expect([single])
                self._put_crash(single, self._deaths[piece], self._last_words)
                self._gathering.add(single)
                self.done.images += 1
                self.done.failed += 1
                self._progress.advanced(1, 1)
                self._metrics.crashed()
                self._metrics.done(1, len(self.done.replicas))

    def _is_suspect(self, piece: Piece) -> bool:
        """Whether processes died with a piece so often that it is split, or as a single image is to blame."""
        deaths = self._deaths if piece.images > 1 else self._deaths_alone
        return deaths[piece] >= _DEATHS
