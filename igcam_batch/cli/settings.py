"""The settings that a command was given: flags, and the files that --config and --class-map name, on disk or in S3."""

from collections.abc import Mapping
from typing import Any

from igcam_batch.config import AuditConfig, load_config, read_from_disk
from igcam_batch.errors import InputError


def read_settings(flags: Mapping[str, Any], file: str | None) -> AuditConfig:
    """One validated config, flags winning over the file.

    Raises:
        InputError: a file cannot be read, or a setting is unknown or out of range.
    """
    return load_config(flags, file, _read)


def _read(place: str) -> bytes:
    if "://" not in place:
        return read_from_disk(place)
    from igcam_batch.storage import open_store  # here, as boto3 takes its time

    directory, _, name = place.rpartition("/")
    try:
        store = open_store(directory)
        store.probe(name)
        return store.read(name)
    except InputError as error:
        raise OSError(str(error).removeprefix(f"{place}: ").removeprefix(f"{directory}: ")) from None
