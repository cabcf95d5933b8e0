"""What is checked of an audit before anything begins: its places, the run that OUTPUT holds, the model."""

import os
from pathlib import Path

from igcam_batch.audit.belongings import directory_around, strays
from igcam_batch.config import AuditConfig
from igcam_batch.errors import InputError
from igcam_batch.models import LoadedModel
from igcam_batch.sources import Place, find_place
from igcam_batch.storage import LocalStore, Store, open_store
from igcam_batch.tables.record import RUN_FILE, RunRecord, differences, read_record


def absolute(config: AuditConfig) -> AuditConfig:
    """The config with its places in full, as workers in other directories need them."""
    places = {"input": find_place(config.input).uri, "output": open_store(config.output).root}
    if config.weights not in ("DEFAULT", "none") and "://" not in config.weights:
        places["weights"] = str(Path(config.weights).expanduser().absolute())
    return config.model_copy(update=places)


def check_places(place: Place, output: Store) -> None:
    """InputError unless INPUT can be reached and OUTPUT written, and they are two."""
    if place.uri == output.root:
        raise InputError(f"OUTPUT {output.root}: is INPUT; name another directory for the tables")
    if name := directory_around(output, place.uri):
        raise InputError(
            f"INPUT {place.uri}: is in OUTPUT's {name}/, which an audit replaces; name another directory for the tables"
        )
    place.store.probe()
    output.probe()
    if not isinstance(output, LocalStore):
        return
    root = Path(output.root)
    if link := next((path for path in (root, *root.parents) if path.is_symlink() and not path.exists()), None):
        raise InputError(
            f"OUTPUT {root}: {link} is a link to {link.readlink()}, where nothing is; make that directory, or name "
            "another"
        )
    ground = next(path for path in (root, *root.parents) if path.exists())
    if not ground.is_dir():
        raise InputError(f"OUTPUT {output.root}: {ground} is a file; name another directory")
    if not os.access(ground, os.W_OK | os.X_OK):
        raise InputError(f"OUTPUT {output.root}: {ground} cannot be written to; name another directory")


def existing_run(config: AuditConfig, output: Store) -> RunRecord | None:
    """The run that OUTPUT holds, if it can go on; None where there is none, or it is to be replaced.

    Raises:
        InputError: OUTPUT holds another run, or tables that no run.json explains.
    """
    if config.overwrite:
        return None
    record = read_record(output, "name another directory, or --overwrite this one")
    if record is None:
        if found := strays(output):
            raise InputError(
                f"OUTPUT {output.root}: holds {', '.join(found)} but no {RUN_FILE}, so that they may be somebody's; "
                "name another directory, or --overwrite them"
            )
        return None
    if changed := differences(record.config, config.result_settings()):
        raise InputError(_refusal(output, changed))
    return record


def _refusal(output: Store, found: list[str]) -> str:
    return (
        f"OUTPUT {output.root}: holds another run ({'; '.join(found)}); name another directory, or --overwrite this one"
    )


def check_weights(record: RunRecord, model: LoadedModel, output: Store) -> None:
    """InputError unless the run was begun with these weights."""
    there, here = record.model.sha256[:12], model.sha256[:12]
    if there != here:
        raise InputError(_refusal(output, [f"weights: sha256 {there} there, {here} here"]))


def check_model(config: AuditConfig, model: LoadedModel) -> None:
    """InputError if the model cannot have the classes that --target names, or its input moves out of sight."""
    classes, target = model.classes.count, config.targets
    beyond = [index for index in target.classes if index >= classes]
    if beyond or target.count > classes:
        raise InputError(f"--target {config.target}: the model has {classes} classes, 0 to {classes - 1}")
    if "sensitivity" in config.metric and config.shift >= model.recipe.size:
        raise InputError(f"--shift {config.shift}: nothing is left of an input of {model.recipe.size} pixels")
