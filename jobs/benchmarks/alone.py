"""What a job is measured against: the engine, and a worker, each in this process and with decoded images in memory."""

import time
from pathlib import Path

import torch

from benchmarks.subjects import DEVICE, MODELS, Subject
from igcam_batch.attribution.quadrature import RULES
from igcam_batch.config import AuditConfig
from igcam_batch.images.decode import decode
from igcam_batch.names import MethodName, PrecisionName, RuleName
from igcam_batch.storage import open_store
from igcam_batch.tables import Piece
from igcam_batch.tables.plan import read_plan
from igcam_batch.tables.record import read_record
from igcam_batch.worker.batch_size import automatic_batch_size
from igcam_batch.worker.explain import ShardExplainer
from igcam_batch.worker.read import read_shard

_MOST_PIXELS = 2**27


class EngineAlone:
    """Maps, without metrics or tables.

    Args:
        name: of `MODELS`.
        photographs: JPEGs.
        steps: of the rule `riemann`.
        precision: arithmetic of the network.
    """

    def __init__(self, name: str, photographs: list[bytes], steps: int, precision: PrecisionName) -> None:
        subject = Subject.of(name)
        recipe, black = subject.recipe, subject.black().expand(3, subject.recipe.size, subject.recipe.size)
        pixels = torch.stack([torch.from_numpy(recipe.pixels(decode(data, _MOST_PIXELS))) for data in photographs])
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (recipe.mean, recipe.std))
        self._explainer = subject.explainer(["integrated-grad-cam"], RULES["riemann"](steps), black, precision)
        self._explainer.batch_size = automatic_batch_size(
            self._explainer, (3, recipe.size, recipe.size), targets=1, device=DEVICE, share=1.0
        )
        rows = torch.arange(self._explainer.batch_size) % len(pixels)
        self._images = ((pixels.float() / 255 - mean) / std)[rows].to(DEVICE, memory_format=torch.channels_last)

    def pace(self, images: int) -> float:
        """Images per second, of so many in whole batches at least; one batch comes before the clock starts."""
        batches = -(-images // len(self._images))
        self._explain()
        began = time.perf_counter()
        for _ in range(batches):
            self._explain()
        return batches * len(self._images) / (time.perf_counter() - began)

    def _explain(self) -> None:
        prediction = self._explainer.predict(self._images)
        self._explainer.explain(prediction, prediction.logits.argmax(1, keepdim=True))
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()


class WorkerAlone:
    """Maps, metrics and tables, as a worker makes them, but no Ray, no decoding and no files.

    Args:
        name: of `MODELS`.
        source, output: of an audit that has ended, whose images are taken.
        images: how many, at most.
    """

    def __init__(self, name: str, source: Path, output: Path, images: int) -> None:
        self._name, self._source, self._output = name, source, output
        store = open_store(str(output))
        record = read_record(store)
        assert record is not None
        piece = Piece(0, 0, min(images, record.images))
        self._plan = record.plan
        self._decoded = read_shard(
            piece, read_plan(store, 0, piece.images, record.plan), record.model.recipe, _MOST_PIXELS
        )

    def pace(self, method: MethodName, rule: RuleName, steps: int, precision: PrecisionName) -> float:
        """Images per second; all of them come once before the clock starts."""
        model, weights = MODELS[self._name]
        explain = ShardExplainer(
            AuditConfig(
                input=str(self._source),
                output=str(self._output),
                model=model,
                weights=weights,
                method=(method,),
                rule=rule,
                steps=steps,
                precision=precision,
            ),
            DEVICE.type,
            self._plan,
        )
        explain.tables(self._decoded)
        began = time.perf_counter()
        tables = explain.tables(self._decoded)
        assert not len(tables.failures)
        return self._decoded.piece.images / (time.perf_counter() - began)
