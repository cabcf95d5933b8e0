"""What to say of a name that nothing has."""

import difflib
from collections.abc import Sequence


def no_such_name(thing: str, name: str, known: Sequence[str], library: str) -> str:
    """A line that names the closest few of what there is, and how many that is."""
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    closest = f"closest: {', '.join(close)}" if close else f"among them {', '.join(known[:5])}"
    return f"{thing}: {library} has no such model; it has {len(known)}, {closest}"
