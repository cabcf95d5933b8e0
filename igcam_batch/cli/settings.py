"""The settings that a command was given: flags, and the file that --config names, on disk or in S3."""

from collections.abc import Mapping
from typing import Any

from igcam_batch.config import AuditConfig, load_config
from igcam_batch.errors import InputError


def read_settings(flags: Mapping[str, Any], file: str | None) -> AuditConfig:
    """One validated config, flags winning over the file.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or out of range.
    """
    return load_config(flags, file, _fetched(file) if file and "://" in file else None)


def _fetched(uri: str) -> bytes:
    from igcam_batch.storage import open_store

    directory, _, name = uri.rpartition("/")
    try:
        store = open_store(directory)
        store.probe(name)
        return store.read(name)
    except InputError as error:
        raise InputError(f"--config {error}") from None
    except OSError as error:
        raise InputError(f"--config {uri}: {error.strerror or error}") from None
