"""Weights: read without running what is in the file, fitted to a module, and identified by their sha256."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from igcam_batch.errors import InputError, one_line, one_line_with_kind
from igcam_batch.storage import open_store

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_NAMED_AT_MOST = 4
_AT_ONCE = 16 << 20  # bytes of an object that are asked for at a time


@contextmanager
def downloading(what: str) -> Iterator[None]:
    """Run a library's own loading with pickles restricted to tensors, and say plainly when a download fails."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        yield
    except (OSError, RuntimeError) as error:  # URLError, ConnectionError, HfHubHTTPError; a hash that does not match
        raise InputError(
            f"{what}: could not be loaded ({one_line_with_kind(error)}); download the checkpoint where "
            "there is a network and name it with --weights PATH, or take --weights none for seeded random ones"
        ) from None
    except Exception as error:  # unpicklers raise nearly anything on a file that is none
        raise InputError(
            f"{what}: the checkpoint in the library's cache is damaged, or holds more than tensors "
            f"({type(error).__name__}); delete it there, and it is downloaded again"
        ) from None
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def read_state_dict(path: str) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or a torch checkpoint, by parameter name.

    Args:
        path: of the file, or its `s3://` URI; that of an object is streamed to this machine's disk for as long as it is
            read.

    A checkpoint is read with `weights_only=True`. The usual wrappings (`state_dict`, `model`) and prefixes (`module.`
    of DataParallel, `_orig_mod.` of torch.compile) are taken off.

    Raises:
        InputError: no such file or object, not a checkpoint, one that holds more than tensors, or one without tensors.
    """
    with _on_disk(path) as file:
        content = _content(file, path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = (
        {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise InputError(f"--weights {path}: holds no tensors by name; save `model.state_dict()`")
    return tensors


@contextmanager
def _on_disk(path: str) -> Iterator[str]:
    """The file itself, or a copy of the object, that nobody else can read, and that is gone at the end."""
    try:
        if "://" not in path:
            Path(path).open("rb").close()
            yield path
            return
        directory, _, name = path.rpartition("/")
        store = open_store(directory)
        store.probe(name)
        with tempfile.TemporaryDirectory(prefix="igcam-weights-") as aside:
            copy = f"{aside}/{name}"
            with store.open(name) as source, Path(copy).open("wb") as target:
                shutil.copyfileobj(source, target, _AT_ONCE)
            yield copy
    except OSError as error:
        raise InputError(f"--weights {path}: {error.strerror or one_line(error)}") from None
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith("--weights") else f"--weights {said}") from None


def _content(file: str, path: str) -> Any:
    try:
        if path.endswith(".safetensors"):
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # unpicklers raise nearly anything on a file that is none
        raise InputError(
            f"--weights {path}: no checkpoint, a damaged one, or one that holds more than tensors, which is not loaded "
            "because a pickle can run code; save `model.state_dict()`, or a .safetensors file"
        ) from None


def without_prefix(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with the prefixes of wrappers taken off every name, as far as that makes more names fit."""
    best = stripped = dict(tensors)
    while prefix := _shared_prefix(stripped):
        stripped = {name.removeprefix(prefix): tensor for name, tensor in stripped.items()}
        if len(stripped.keys() & wanted.keys()) > len(best.keys() & wanted.keys()):
            best = stripped
    return best


def _shared_prefix(names: Collection[str]) -> str | None:
    return next((prefix for prefix in _PREFIXES if names and all(name.startswith(prefix) for name in names)), None)


def classes_of(tensors: Mapping[str, Tensor], module: nn.Module) -> int | None:
    """The number of classes of a fine-tuned checkpoint: where only the head differs, and only in its outputs.

    The head holds the last of the module's tensors; it may be several layers, as Inception's has an auxiliary one.
    """
    wanted = module.state_dict()
    odd = [name for name in tensors.keys() & wanted.keys() if tensors[name].shape != wanted[name].shape]
    outputs = {(tensors[name].shape[0], wanted[name].shape[0]) for name in odd if tensors[name].ndim}
    others_agree = all(tensors[name].shape[1:] == wanted[name].shape[1:] for name in odd)
    head_differs = next(reversed(wanted), None) in odd
    return outputs.pop()[0] if head_differs and others_agree and len(outputs) == 1 else None


def fit(module: nn.Module, tensors: Mapping[str, Tensor], path: str, model: str) -> None:
    """Copy `tensors` into `module`.

    Raises:
        InputError: names are missing or unexpected, or shapes differ; names them.
    """
    wanted = module.state_dict()
    problems = {
        "missing": [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")],
        "unexpected": [name for name in tensors if name not in wanted],
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)} for {tuple(wanted[name].shape)}"
            for name in wanted
            if name in tensors and tensors[name].shape != wanted[name].shape
        ],
    }
    said = [f"{len(names)} {problem} ({_some(names)})" for problem, names in problems.items() if names]
    if said:
        raise InputError(
            f"--weights {path}: do not fit {model}: {'; '.join(said)}. Name the model they were saved from, or load "
            "them in a factory of your own (--model package.module:factory)"
        )
    module.load_state_dict(dict(tensors), strict=False)


def sha256(module: nn.Module) -> str:
    """sha256 over every parameter and buffer of a module: name, dtype, shape and bytes, in the module's own order."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED_AT_MOST]) + (", …" if len(names) > _NAMED_AT_MOST else "")
