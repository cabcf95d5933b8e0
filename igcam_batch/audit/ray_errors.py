"""What is in the errors of Ray: what was raised first, how a process ended, and where it was."""

import re

import ray
from ray.exceptions import ActorUnavailableError

_LONGEST = 300  # characters of what Ray says
_ADDRESS = re.compile(r"\bip(?:=|: )([0-9A-Fa-f.:]+)")  # in "(pid=7, ip=10.0.0.7, ...)", and in a line of its own


def first_raised(error: BaseException) -> str:
    """The first line of what was raised first, below the traceback that Ray quotes."""
    first, _, _ = str(error).partition("The above exception was the direct cause")
    lines = [line for line in first.splitlines() if line.strip()] or [type(error).__name__]
    below = 1 + max((number for number, line in enumerate(lines[:-1]) if line[0].isspace()), default=len(lines) - 2)
    return lines[below].strip()


def end_of_process(error: BaseException) -> str:
    """What Ray knows of the end of a process, in one line."""
    if isinstance(error, ActorUnavailableError):  # all that is known of a process which is being started again
        return "it left no word: killed, out of memory, or a crash in native code"
    found = re.search(r"exit detail: (.+?)(?:\. |\.?$)", " ".join(str(error).split()))
    return found[1][:_LONGEST] if found else type(error).__name__


def address_of(error: BaseException) -> str | None:
    """The node whose process an error is of; None where Ray does not say, or there is one node only."""
    found = _ADDRESS.search(str(error))
    return found[1] if found and sum(node["Alive"] for node in ray.nodes()) > 1 else None


def on_its_node(error: BaseException) -> str:
    """' on ADDRESS', or '' where that is not known."""
    address = address_of(error)
    return f" on {address}" if address else ""
