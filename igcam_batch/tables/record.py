"""OUTPUT/run.json: what was run, with what, and how it went."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from igcam_batch.errors import InputError
from igcam_batch.images import Recipe
from igcam_batch.storage import Store
from igcam_batch.version import VERSION

RUN_FILE = "run.json"
ANEW = "audit anew into another OUTPUT"
"""The way out for a command that only reads a run which this version cannot read."""
_LIBRARIES = ("ray", "torch", "torchvision", "timm", "pyarrow", "numpy", "pillow")


class ModelRecord(BaseModel):
    """The model that was explained: its weights, layer, recipe and number of classes."""

    model_config = ConfigDict(extra="ignore")

    sha256: str
    layer: str
    map_shape: tuple[int, int]
    recipe: Recipe
    classes: int
    confidence: str = "softmax"


class RunRecord(BaseModel):
    """The whole of run.json.

    `config` are the settings that decide what the tables hold; an audit goes on only where they are equal. `plan` is
    the directory of the frozen manifest: so many `images`, in so many `shards` of `shard_size`. `notes` say what is odd
    about the dataset. `started` is when the first command was given, `seconds` how long the last one took. `workers`
    are the replicas that took part, in the order of the runs.
    """

    model_config = ConfigDict(extra="ignore")

    state: Literal["running", "stopped", "finished"]
    config: dict[str, Any]
    model: ModelRecord
    plan: str
    images: int
    shard_size: int
    shards: int
    layout: str = ""
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    started: str
    finished: str | None = None
    counts: dict[str, int] = {}
    seconds: float = 0.0
    workers: list[dict[str, Any]] = []
    versions: dict[str, str] = {}


def now() -> str:
    """The time, in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python and of what computes the tables."""
    own = {"python": platform.python_version(), "igcam-batch": VERSION}  # which need not be installed to run
    return own | {name: version(name) for name in _LIBRARIES}


def read_record(store: Store, way_out: str = ANEW) -> RunRecord | None:
    """The record of the run that OUTPUT holds, or None where it holds none.

    Args:
        store: OUTPUT.
        way_out: of the error, as the command has one.

    Raises:
        InputError: there is a run.json that is not ours.
    """
    if not store.exists(RUN_FILE):
        return None
    text = store.read(RUN_FILE)
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError:
        if not _is_json(text):
            raise InputError(
                f"{store.uri(RUN_FILE)}: is damaged, no whole JSON; put a copy in its place, or {way_out}"
            ) from None
        raise InputError(f"{store.uri(RUN_FILE)}: {written_by(store)}; {way_out}") from None


def run_in(store: Store) -> RunRecord:
    """The record of the run that OUTPUT holds; InputError where it holds none."""
    record = read_record(store)
    if record is None:
        raise InputError(f"{store.root}: holds no audit; `igcam-batch audit INPUT {store.root}` starts one")
    return record


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def written_by(store: Store) -> str:
    """What wrote the run in OUTPUT, as far as run.json says, and what reads it; for the error where they differ."""
    ours = version("igcam-batch")
    try:
        theirs = json.loads(store.read(RUN_FILE))["versions"]["igcam-batch"]
    except (OSError, ValueError, LookupError, TypeError):
        theirs = ours
    if theirs == ours:
        return f"not written by this igcam-batch, {ours}"
    return f"written by igcam-batch {theirs}, and this is {ours}"


def write_record(store: Store, record: RunRecord) -> None:
    """Put run.json in place of the one there is."""
    store.write(RUN_FILE, (json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode())


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """What differs between the settings of two runs, each as `--name: theirs there, ours here`."""
    return [
        f"{name if name == 'input' else '--' + name}: {_shown(theirs.get(name))} there, {_shown(value)} here"
        for name, value in ours.items()
        if theirs.get(name) != value
    ]


def _shown(value: Any) -> str:
    """As few commas as tell values apart: others stand beside it in the line."""
    if value is None:
        return "default"
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value)
