"""The flags of an audit, made from the settings that `AuditConfig` declares, so that each is written down once."""

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from igcam_batch.config import AuditConfig, flag_details

_ARGUMENTS = ("input", "output")


def audit_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with --config and a flag for every setting; it gets those that were given, as `flags`."""
    for name, setting in reversed(AuditConfig.model_fields.items()):
        if name not in _ARGUMENTS:
            command = _flag(name, setting)(command)
    return click.option("--config", metavar="FILE", help="YAML file, also s3://..., of these settings; a flag wins")(
        command
    )


def reached(_context: click.Context, _parameter: click.Parameter, place: str) -> str:
    """For an argument that names a place: as it was typed; InputError, within seconds, where it cannot be reached."""
    from igcam_batch.storage import open_store

    open_store(place).probe()
    return place


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were typed."""
    return {name: value for name, value in flags.items() if value not in (None, ())}


def _flag(name: str, setting: FieldInfo) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = "--" + name.replace("_", "-")
    text = setting.description or ""
    if setting.annotation is bool:
        return click.option(flag, is_flag=True, default=None, help=text)
    choices = _choices(setting.annotation)
    repeatable = get_args(setting.annotation)[1:] == (Ellipsis,)
    if not (setting.is_required() or setting.default is None or "[default" in text):
        default = ", ".join(setting.default) if repeatable else setting.default
        text = f"{text}  [default: {default}]"
    metavar = flag_details(name)["metavar"] or "|".join(choices)
    return click.option(flag, multiple=repeatable, default=None, metavar=metavar, help=text)


def _choices(annotation: Any) -> tuple[str, ...]:
    """The names that a setting takes, where it takes names."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((found for part in get_args(annotation) if (found := _choices(part))), ())
