"""Whatever a cluster does to the pieces of a run, each image ends in `scores` or in `failures`, once.

The cluster is a stand-in that writes real tables; `test_kills.py` has real ones.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promise import tables

from igcam_batch import read_failures
from igcam_batch.audit import rounds
from igcam_batch.audit.crash import put_crash
from igcam_batch.audit.errors import IncompleteError, StoppedError
from igcam_batch.audit.gathering import Gathering
from igcam_batch.audit.metrics import RunMetrics
from igcam_batch.audit.progress import Progress, Silent
from igcam_batch.audit.replica import Replica, Report
from igcam_batch.audit.rounds import Rounds
from igcam_batch.audit.stop import Stop
from igcam_batch.audit.trouble import NONE, STOPPED, Trouble
from igcam_batch.config import load_config
from igcam_batch.images import Recipe
from igcam_batch.sources import ImageRow, manifest_table
from igcam_batch.storage import LocalStore, Store
from igcam_batch.tables import (
    CONTROL,
    FAILURES,
    SCORES,
    Piece,
    commit_shard,
    committed_shards,
    heatmap_array,
    heatmaps_schema,
    is_committed,
    stage_piece,
)
from igcam_batch.tables.plan import read_plan, write_plan
from igcam_batch.tables.record import ModelRecord, RunRecord
from igcam_batch.worker.outcome import Outcome

PLAN, SHAPE = "plan/0", (2, 2)
METRICS = RunMetrics("out", 0)
HERE = Replica("here", 1, "cpu", "")
CONFIG = load_config({"input": "in", "output": "out", "model": "factories:small_cnn", "heatmap-dtype": "float32"})


def planned(store: Store, images: int, shard_size: int) -> RunRecord:
    rows = [ImageRow(f"{number:03d}", f"/in/{number:03d}") for number in range(images)]
    write_plan(store, [manifest_table(rows)], PLAN)
    model = ModelRecord(sha256="0", layer="l", map_shape=SHAPE, recipe=Recipe(), classes=5)
    return RunRecord(
        state="running",
        config={},
        model=model,
        plan=PLAN,
        images=images,
        shard_size=shard_size,
        shards=-(-images // shard_size),
        started="",
    )


class Cluster:
    """Explains pieces in an order that chance gives; loses those that hold a deadly image.

    Args:
        broken: rows that fail, as an image does that cannot be decoded.
        deadly: rows that end their process, and with it the piece beside them.
        troubled: the share of pieces that something passing keeps from being explained.
    """

    def __init__(
        self, store: Store, seed: int, broken: set[int], deadly: set[int], troubled: float, alive: bool = True
    ) -> None:
        self._store, self._chance = store, random.Random(seed)
        self._broken, self._deadly, self._troubled, self._alive = broken, deadly, troubled, alive
        self.asked_to_stop: Callable[[int], bool] = lambda _done: False
        self.explained = 0

    def __call__(self, pieces: Sequence[Piece], alone: bool, died: Callable[[str], None]) -> Iterator[Report]:
        order = list(pieces)
        self._chance.shuffle(order)
        beside: Piece | None = None
        for piece in order:
            deadly = not self._alive or any(row in self._deadly for row in range(piece.start, piece.stop))
            dragged = not alone and beside is not None and self._chance.random() < 0.5
            beside = piece if deadly else None
            if deadly or dragged:
                died("it was killed")
            elif self.asked_to_stop(self.explained) or self._store.exists(f"{PLAN}/stop"):
                yield Report(Outcome(piece, 0, 0, 0.0), HERE, STOPPED)
            elif self._chance.random() < self._troubled:
                yield Report(Outcome(piece, 0, 0, 0.0), HERE, Trouble("no answer", passing=True))
            else:
                yield Report(self._explain(piece), HERE, NONE)

    def _explain(self, piece: Piece) -> Outcome:
        self.explained += 1
        rows = list(zip(range(piece.start, piece.stop), self._ids(piece), strict=True))
        good = [name for row, name in rows if row not in self._broken]
        bad = [name for row, name in rows if row in self._broken]
        scores = pa.Table.from_pylist(
            [
                {"image_id": name, "uri": name, "predicted": 1, "target": 1, "target_source": "p", "method": "grad-cam"}
                for name in good
            ],
            schema=SCORES,
        )
        values = [[[float(name)] * 2] * 2 for name in good]
        maps = heatmap_array(np.asarray(values, dtype=np.float32).reshape(-1, *SHAPE), "float32")
        heatmaps = pa.Table.from_arrays(
            [good, [1] * len(good), ["grad-cam"] * len(good), maps], schema=heatmaps_schema(SHAPE, "float32")
        )
        failures = pa.Table.from_pylist(
            [{"image_id": name, "uri": name, "stage": "decode", "error": "broken", "attempts": 1} for name in bad],
            schema=FAILURES,
        )
        if piece.whole:
            commit_shard(self._store, piece.shard, scores, heatmaps, failures, piece.images)
        elif piece.revision != CONTROL:
            stage_piece(self._store, PLAN, piece, scores, heatmaps, failures)
        return Outcome(piece, len(bad), len(good), 0.0, "broken" if bad else "")

    def _ids(self, piece: Piece) -> list[str]:
        ids: list[str] = read_plan(self._store, piece.start, piece.stop, PLAN)["image_id"].to_pylist()
        return ids


def a_run(
    store: Store, record: RunRecord, cluster: Cluster, stop: Stop | None = None, progress: Progress | None = None
) -> Rounds:
    gathering = Gathering(store, record)
    todo = gathering.unfinished()
    control = next((gathering.whole(shard) for shard in committed_shards(store)), None)
    crash = partial(put_crash, store, record, CONFIG)
    run = Rounds(
        cluster,
        gathering,
        crash,
        progress or Silent(),
        stop or Stop(store, PLAN),
        control,
        threading.Event(),
        METRICS,
        row_of_deaths=16,
    )
    run.run(todo)
    return run


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_PAUSE", 0.0)
    monkeypatch.setattr(rounds, "_TRIES", 50)


rows = st.sets(st.integers(0, 39), max_size=6)


@settings(max_examples=20, deadline=None)
@given(
    images=st.integers(1, 40),
    shard_size=st.integers(1, 16),
    broken=rows,
    deadly=rows,
    troubled=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)
def test_every_image_is_accounted_for_once(
    images: int, shard_size: int, broken: set[int], deadly: set[int], troubled: float, seed: int
) -> None:
    with TemporaryDirectory() as directory:
        store = LocalStore(directory)
        record = planned(store, images, shard_size)
        broken, deadly = ({row for row in among if row < images} for among in (broken - deadly, deadly))
        if len(broken | deadly) == images:
            return
        done = a_run(store, record, Cluster(store, seed, broken, deadly, troubled)).done
        scores, heatmaps, failed = tables(directory)
        assert failed == [f"{row:03d}" for row in sorted(broken | deadly)]
        assert scores["image_id"].to_pylist() == [f"{row:03d}" for row in range(images) if row not in broken | deadly]
        maps = heatmaps["heatmap"].combine_chunks().to_numpy_ndarray()
        assert maps[:, 0, 0].tolist() == [float(name) for name in scores["image_id"].to_pylist()]
        stages = dict(zip(failed, read_failures(directory)["stage"].to_pylist(), strict=True))
        assert {int(name) for name, stage in stages.items() if stage == "crash"} == deadly
        assert (done.images, done.failed) == (images, len(broken | deadly))
        assert not list(Path(directory).rglob("pieces/*"))


def test_a_run_that_is_killed_while_in_pieces_goes_on_with_those_it_has(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 16, 8)
    first = Cluster(store, 0, set(), {3}, 0.0)
    real = first.__call__

    def cut_short(pieces: Sequence[Piece], alone: bool, died: Callable[[str], None]) -> Iterator[Report]:
        for number, report in enumerate(real(pieces, alone, died)):
            if alone and number == 3:
                raise KeyboardInterrupt
            yield report

    with pytest.raises(KeyboardInterrupt):
        a_run(store, record, cut_short)  # type: ignore[arg-type]
    there = len(list(tmp_path.rglob("pieces/*.scores.parquet")))
    assert there >= 3
    second = Cluster(store, 1, set(), {3}, 0.0)
    a_run(store, record, second)
    assert tables(str(tmp_path))[2] == ["003"]
    assert second.explained < 8  # what was there was not done again


@pytest.mark.parametrize("last", ["remove_revision", "remove_pieces"])
def test_what_a_driver_had_no_time_to_remove_the_next_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 8, 4)
    a_run(store, record, Cluster(store, 0, {1, 2}, set(), 0.0))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def retry(broken: set[int]) -> None:
        gathering = Gathering(store, record)
        gathering.tidy()
        for report in Cluster(store, 0, broken, set(), 0.0)(gathering.failed(), False, print):
            gathering.add(report.outcome.piece)

    with monkeypatch.context() as patch:
        patch.setattr(f"igcam_batch.tables.pieces.{last}", killed)
        with pytest.raises(KeyboardInterrupt):
            retry({2})  # so that a failure is left
    retry(set())
    scores, heatmaps, failed = tables(tmp_path)
    assert failed == []
    assert len(scores) == len(heatmaps) == 8
    there = (path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("part-*.parquet"))
    assert sorted(name for name in there if not name.startswith("plan/0/part")) == [
        *("heatmaps/part-000000-2.parquet", "heatmaps/part-000001.parquet"),
        *("scores/part-000000.parquet", "scores/part-000001.parquet"),
    ]


def test_images_are_not_blamed_where_those_that_worked_no_longer_do(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 12, 4)
    cluster = Cluster(store, 0, set(), set(), 0.0)
    a_run(store, record, cluster)
    (tmp_path / "scores" / "part-000002.parquet").unlink()
    with pytest.raises(IncompleteError, match="died with images that were explained before"):
        a_run(store, record, Cluster(store, 0, set(), set(), 0.0, alive=False))
    assert not is_committed(store, 2)


def test_processes_that_all_die_end_a_run_before_every_shard_has_been_tried(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 200, 1)
    deaths: list[str] = []
    cluster = Cluster(store, 0, set(), set(), 0.0, alive=False)

    def counted(pieces: Sequence[Piece], alone: bool, died: Callable[[str], None]) -> Iterator[Report]:
        def told(words: str) -> None:
            deaths.append(words)
            died(words)

        for piece in pieces:
            if store.exists(f"{PLAN}/stop"):
                yield Report(Outcome(piece, 0, 0, 0.0), HERE, STOPPED)
            else:
                yield from cluster([piece], alone, told)

    with pytest.raises(IncompleteError, match=r"every process that explains images died \(it was killed\)"):
        a_run(store, record, counted)  # type: ignore[arg-type]
    assert len(deaths) < 50


def test_a_stop_leaves_what_is_done_and_begins_nothing_more(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 12, 2)
    stop = Stop(store, PLAN)
    cluster = Cluster(store, 0, set(), set(), 0.0)

    def asked(done: int) -> bool:
        stop.asked = stop.asked or done == 2
        return stop.asked

    cluster.asked_to_stop = asked
    with pytest.raises(StoppedError):
        a_run(store, record, cluster, stop)
    assert len(list(committed_shards(store))) == 2


def test_a_stop_that_comes_when_the_last_is_in_hand_leaves_a_finished_run(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 4, 2)
    stop = Stop(store, PLAN)
    cluster = Cluster(store, 0, set(), set(), 0.0)

    def in_hand(pieces: Sequence[Piece], alone: bool, died: Callable[[str], None]) -> Iterator[Report]:
        yield from cluster(pieces, alone, died)
        stop.asked = True

    assert a_run(store, record, in_hand, stop).done.images == 4  # type: ignore[arg-type]


def test_a_stop_that_was_asked_for_before_begins_nothing(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 4, 2)
    stop = Stop(store, PLAN)
    stop.asked, stop.reason = True, "the --deadline has come"

    def begun(*_: object) -> Iterator[Report]:
        pytest.fail("a shard was begun")

    with pytest.raises(StoppedError, match="the --deadline has come"):
        a_run(store, record, begun, stop)  # type: ignore[arg-type]


def test_workers_whose_torch_finds_no_cuda_are_told_of_once(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 8, 2)
    told: list[str] = []

    class Told(Silent):
        def warned(self, message: str) -> None:
            told.append(message)

    cluster = Cluster(store, 0, set(), set(), 0.0)

    def on_gpus(pieces: Sequence[Piece], alone: bool, died: Callable[[str], None]) -> Iterator[Report]:
        for number, report in enumerate(cluster(pieces, alone, died)):
            yield replace(report, replica=Replica(f"node-{number}", number, "cpu", str(number)))

    done = a_run(store, record, on_gpus, progress=Told()).done  # type: ignore[arg-type]
    assert len(done.replicas) == 4
    assert told == [
        "torch finds no CUDA on node-0 (CUDA_VISIBLE_DEVICES=0), and runs on CPUs; run.json names the device of every "
        "worker in the end"
    ]


def test_trouble_that_lasts_ends_the_run_with_its_line(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    record = planned(store, 4, 2)

    def full(pieces: Sequence[Piece], _alone: bool, _died: Callable[[str], None]) -> Iterator[Report]:
        for piece in pieces:
            yield Report(Outcome(piece, 0, 0, 0.0), HERE, Trouble.of(OSError(28, "No space left on device", "/out/x")))

    with pytest.raises(IncompleteError, match=r"^/out/x: No space left on device"):
        a_run(store, record, full)  # type: ignore[arg-type]
