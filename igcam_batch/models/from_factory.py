"""`--model package.module:factory`: the user's own code, imported and called. It is trusted as the user is."""

import importlib
import sys
from pathlib import Path

from torch import nn

from igcam_batch.config import MODELS
from igcam_batch.errors import InputError, one_line_with_kind
from igcam_batch.models.classifier import Classifier

_NAMED_AT_MOST = 8


def build(reference: str) -> Classifier:
    """Import `package.module`, from the working directory too, and call `factory` without arguments.

    Raises:
        InputError: no such module or factory, or it gives neither an nn.Module nor a Classifier.
    """
    module_name, _, factory_name = reference.partition(":")
    if module_name.startswith("."):
        raise InputError(f"--model {reference}: name the module in full, as in package.module:factory")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"--model {reference}: no module {error.name} on the import path or in the working directory; "
            f"there are: {MODELS}"
        ) from None
    except Exception as error:  # it is the user's code, and may raise anything
        raise InputError(f"--model {reference}: importing {module_name} raised {one_line_with_kind(error)}") from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        some = ", ".join(functions[:_NAMED_AT_MOST]) + (", …" if len(functions) > _NAMED_AT_MOST else "")
        raise InputError(f"--model {reference}: {module_name} has no function {factory_name}; it has {some or 'none'}")
    try:
        made = factory()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--model {reference}: calling {factory_name}() raised {one_line_with_kind(error)}") from error
    if isinstance(made, nn.Module):
        return Classifier(made)
    if isinstance(made, Classifier):
        return made
    raise InputError(
        f"--model {reference}: must give a torch.nn.Module or an igcam_batch.Classifier, not {type(made).__name__}"
    )
