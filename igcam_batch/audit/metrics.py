"""What a run tells Prometheus, through Ray's own metrics: the dashboard of `jobs/grafana.json` draws it.

Ray writes `ray_` before each name, `_total` after that of a counter, and adds where it comes from: node and process.
"""

import string
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from urllib.parse import quote

from ray.util.metrics import Counter, Gauge

SERIES = (
    "ray_igcam_images_total",
    "ray_igcam_rows_total",
    "ray_igcam_device_seconds_total",
    "ray_igcam_idle_seconds_total",
    "ray_igcam_queue_shards",
    "ray_igcam_retries_total",
    "ray_igcam_images_remaining",
    "ray_igcam_replicas",
)
_RUN = "run"
_IMAGES = ("igcam_images", "images that were explained, or could not be", (_RUN, "outcome"))


def _tags(run: str) -> dict[str, str]:
    """Of every series; Ray takes ASCII alone, so that other letters are percent-encoded."""
    return {_RUN: quote(run, safe=string.punctuation + " ")}


class ReplicaMetrics:
    """What a replica of the model tells.

    Args:
        run: OUTPUT.
    """

    def __init__(self, run: str) -> None:
        tags = _tags(run)
        self._images = Counter(*_IMAGES).set_default_tags(tags)
        self._rows = Counter("igcam_rows", "rows of the score table", (_RUN,)).set_default_tags(tags)
        self._device = Counter("igcam_device_seconds", "seconds in which a device explained", (_RUN,)).set_default_tags(
            tags
        )
        self._idle = Counter(
            "igcam_idle_seconds", "seconds in which a replica had no decoded shard", (_RUN,)
        ).set_default_tags(tags)
        self._queue = Gauge("igcam_queue_shards", "shards at hand beside the one explained", (_RUN,)).set_default_tags(
            tags
        )
        self._lock = threading.Lock()
        self._in_hand, self._empty_since = 0, time.perf_counter()

    @contextmanager
    def shard(self) -> Iterator[None]:
        """A replica has a shard while the block runs; several may run at a time, of which one has the device."""
        with self._lock:
            if not self._in_hand:
                self._count(self._idle, time.perf_counter() - self._empty_since)
            self._in_hand += 1
            self._queue.set(self._in_hand - 1)
        try:
            yield
        finally:
            with self._lock:
                self._in_hand -= 1
                self._queue.set(max(0, self._in_hand - 1))
                self._empty_since = time.perf_counter()

    def done(self, scored: int, failed: int, rows: int, seconds: float) -> None:
        """The tables of some images are put."""
        self._count(self._images, scored, {"outcome": "scored"})
        self._count(self._images, failed, {"outcome": "failed"})
        self._count(self._rows, rows)
        self._count(self._device, seconds)

    @staticmethod
    def _count(counter: Counter, amount: float, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        if amount > 0:  # Ray refuses 0
            counter.inc(amount, dict(tags))


class RunMetrics:
    """What the driver tells.

    Args:
        run: OUTPUT.
        remaining: images that are planned and not committed.
    """

    def __init__(self, run: str, remaining: int) -> None:
        tags = _tags(run)
        self._retries = Counter(
            "igcam_retries", "shards, or parts of them, that are tried again", (_RUN, "reason")
        ).set_default_tags(tags)
        self._remaining = Gauge("igcam_images_remaining", "images not committed yet", (_RUN,)).set_default_tags(tags)
        self._replicas = Gauge("igcam_replicas", "replicas of the model that took part", (_RUN,)).set_default_tags(tags)
        self._crashed = Counter(*_IMAGES).set_default_tags(tags)
        self._left = remaining
        self._remaining.set(remaining)

    def done(self, images: int, replicas: int) -> None:
        """So many images more are accounted for, by so many replicas until now."""
        self._left -= images
        self._remaining.set(self._left)
        self._replicas.set(replicas)

    def crashed(self) -> None:
        """One more image could not be explained, of which no replica is left to tell."""
        self._crashed.inc(1, {"outcome": "failed"})

    def again(self, died: int, troubled: int) -> None:
        """So many pieces are tried again because their process died, or trouble was in the way."""
        for reason, count in (("died", died), ("trouble", troubled)):
            if count:
                self._retries.inc(count, {"reason": reason})
