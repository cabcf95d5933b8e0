"""A file of settings and the flags that were typed -> one validated config, or one line that says what is wrong."""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from igcam_batch.config.audit import MODELS, AuditConfig
from igcam_batch.config.files import Read, read_from_disk, read_mapping
from igcam_batch.errors import InputError


def load_config(flags: Mapping[str, Any], file: str | None = None, read: Read = read_from_disk) -> AuditConfig:
    """Merge a YAML file and the flags that were given, flags winning, into a validated config.

    Args:
        flags: setting name -> value, only for what the person typed.
        file: path of a YAML mapping of settings, or None.
        read: gives the bytes of that file, and of one that `class-map` names, or raises an OSError.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or out of range.
    """
    try:
        settings = read_mapping(file, read) if file else {}
    except ValueError as error:
        raise InputError(f"--config {file}: {error}") from None
    _check_names(settings, f"--config {file}: ")
    _check_names(flags, "")
    settings = _by_flag_name(settings) | _by_flag_name(flags)
    both = [name for name in ("steps", "rule") if settings.get("tolerance") is not None and name in settings]
    if both:
        raise InputError(
            f"--tolerance {settings['tolerance']}: chooses the nodes itself; leave --{both[0]} {settings[both[0]]} out"
        )
    try:
        return AuditConfig.model_validate(settings, context={"read": read})
    except ValidationError as error:
        raise InputError(_describe(error)) from None


def _check_names(names: Iterable[str], origin: str) -> None:
    """InputError for the first that is no setting; before anything is missed that it may have meant."""
    known = [_flag_name(field) for field in AuditConfig.model_fields]
    for name in names:
        if _flag_name(name) not in known:
            close = get_close_matches(_flag_name(name).lower(), known, n=1)
            instead = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
            raise InputError(f"{origin}{name}: no such setting; {instead}")


def _by_flag_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {_flag_name(name): value for name, value in settings.items()}


def _flag_name(name: str) -> str:
    return name.replace("_", "-")


def _describe(error: ValidationError) -> str:
    """One line for the first thing that is wrong, in the words of the flags."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    label = name.upper() if name in ("input", "output") else f"--{name}"
    match first["type"]:
        case "missing":
            return f"{label}: is required" + (" (MODEL is one of " + MODELS + ")" if name == "model" else "")
        case "string_unicode":
            shown = os.fsencode(str(first["input"])).decode(errors="backslashreplace")
            return f"{label} {shown}: is no UTF-8, in which tables keep names; name it otherwise"
        case "literal_error":
            return f"{label} {first['input']}: no such {name}; there are: {_choices(first['ctx']['expected'])}"
        case "value_error":
            return f"{label} {first['input']}: {message}"
        case _:
            return f"{label} {first['input']}: {message[0].lower()}{message[1:]}"


def _choices(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")
