"""What a node does not have that this process has, told by what came of it there."""

import re

from igcam_batch.audit.errors import IncompleteError
from igcam_batch.audit.ray_errors import address_of

_MISSING = re.compile(r"No module named '(\w+)")


def lacking(error: BaseException) -> IncompleteError | None:
    """The error of a run whose processes lack a package, if that is what Ray's error, with all it quotes, is about."""
    missing = _MISSING.search(str(error))
    if not missing:
        return None
    if missing[1] == "igcam_batch":
        ways = "install the package on every node, or submit a clone of it by `ray job submit --working-dir`"
    else:
        ways = "install the same packages on every node"
    address = address_of(error)
    return IncompleteError(f"{f'node {address}' if address else 'a node'} has no {missing[1]}: {ways}")
