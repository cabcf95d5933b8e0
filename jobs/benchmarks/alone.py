"""What a job is measured against: the engine, and a worker, each in a process of its own, decoded images in memory.

In a process of its own, as an audit's worker is: another's memory on a GPU, or its threads, would be in the way.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import torch

from benchmarks.subjects import DEVICE, MODELS, Subject
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.audit.cluster import CPUS_OF_A_REPLICA
from igcam_batch.config import AuditConfig
from igcam_batch.images.decode import decode
from igcam_batch.names import MethodName, PrecisionName, RuleName
from igcam_batch.storage import open_store
from igcam_batch.tables import Piece
from igcam_batch.tables.plan import read_plan
from igcam_batch.tables.record import read_record
from igcam_batch.worker.allocator import keep_freed_memory
from igcam_batch.worker.batch_size import automatic_batch_size
from igcam_batch.worker.device import settle_arithmetic
from igcam_batch.worker.explain import ShardExplainer
from igcam_batch.worker.preprocess import Preprocess
from igcam_batch.worker.read import read_shard

_MOST_PIXELS = 2**27
_Taken = ParamSpec("_Taken")
_Given = TypeVar("_Given")
Way = tuple[MethodName, RuleName, int, PrecisionName]  # to explain: method, rule, steps, arithmetic of the network


def engine_alone(name: str, photographs: list[bytes], steps: int, precision: PrecisionName, seconds: float) -> float:
    """Images per second of Integrated Grad-CAM without metrics or tables, by the rule `riemann`.

    Args:
        name: of `MODELS`.
        photographs: JPEGs.
        steps: of the rule.
        precision: arithmetic of the network.
        seconds: how long at least, in whole batches.
    """
    return _in_a_process(_engine, name, photographs, steps, precision, seconds)


def worker_alone(
    name: str, source: Path, output: Path, images: int, ways: Sequence[Way], seconds: float
) -> list[float]:
    """Images per second of each way to explain: maps, metrics and rows, but no Ray, no decoding and no files.

    Args:
        name: of `MODELS`.
        source: INPUT of an audit that has ended, whose images are taken.
        output: OUTPUT of it.
        images: how many, at most.
        ways: to explain them.
        seconds: how long each, at least, the same images again and again.
    """
    return _in_a_process(_worker, name, source, output, images, ways, seconds)


def _in_a_process(call: Callable[_Taken, _Given], *arguments: _Taken.args, **named: _Taken.kwargs) -> _Given:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(call, *arguments, **named).result()


def _engine(name: str, photographs: list[bytes], steps: int, precision: PrecisionName, seconds: float) -> float:
    _become_a_worker()
    settle_arithmetic(DEVICE, precision)
    subject = Subject.of(name)
    recipe, black = subject.recipe, subject.black().expand(3, subject.recipe.size, subject.recipe.size)
    explainer = subject.explainer(["integrated-grad-cam"], RULES["riemann"](steps), black, precision)
    explainer.batch_size = automatic_batch_size(
        explainer, (3, recipe.size, recipe.size), targets=1, device=DEVICE, share=1.0
    )
    pixels = np.stack([recipe.pixels(decode(data, _MOST_PIXELS)) for data in photographs])
    images = Preprocess(recipe, DEVICE)(pixels[np.arange(explainer.batch_size) % len(pixels)])

    def explain() -> None:
        prediction = explainer.predict(images)
        explainer.explain(prediction, prediction.logits.argmax(1, keepdim=True))
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return len(images) * _pace(explain, seconds)


def _worker(name: str, source: Path, output: Path, images: int, ways: Sequence[Way], seconds: float) -> list[float]:
    _become_a_worker()
    model, weights = MODELS[name]
    store = open_store(str(output))
    record = read_record(store)
    assert record is not None
    piece = Piece(0, 0, min(images, record.images))
    manifest = read_plan(store, 0, piece.images, record.plan)
    decoded = read_shard(piece, manifest, record.model.recipe, _MOST_PIXELS)
    paces = []
    for method, rule, steps, precision in ways:
        config = AuditConfig(
            input=str(source),
            output=str(output),
            model=model,
            weights=weights,
            method=(method,),
            rule=rule,
            steps=steps,
            precision=precision,
        )
        explain = ShardExplainer(config, DEVICE.type, record.plan)
        assert not len(explain.tables(decoded).failures)
        paces.append(piece.images * _pace(partial(explain.tables, decoded), seconds))
    return paces


def _become_a_worker() -> None:
    """What an audit's worker does with its process, and on CPUs so many threads as a single one has."""
    if DEVICE.type == "cpu":
        keep_freed_memory()
        torch.set_num_threads(min(torch.get_num_threads(), CPUS_OF_A_REPLICA))


def _pace(call: Callable[[], object], seconds: float) -> float:
    """Calls per second, in so many seconds at least; one comes before the clock starts."""
    call()
    calls, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds or not calls:
        call()
        calls += 1
    return calls / taken
