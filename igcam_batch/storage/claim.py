"""Who owns a place that one process at a time may write to."""

import os
import socket
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from igcam_batch.errors import InputError

CLAIM = ".claim"  # in OUTPUT; hidden, so that no listing shows it
_LONGEST_OWNER = 200


@dataclass(frozen=True)
class Claim:
    """A place that is owned.

    Attributes:
        owner: who owns it, in words for a person.
        lost: set when it turns out that another has taken the place over; what owned it should stop writing.
    """

    owner: str
    lost: threading.Event = field(default_factory=threading.Event)


def this_process() -> str:
    """An owner: 'host h, pid 123, since 2026-01-31T12:00:00Z'."""
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"host {socket.gethostname()}, pid {os.getpid()}, since {since}"


def refusal(place: str, owner: str) -> InputError:
    """The error for who comes second; `owner` is what the first wrote, or whatever lies there."""
    said = " ".join(owner.split())[:_LONGEST_OWNER] or "who did not leave a name"
    return InputError(f"{place}: another igcam-batch writes to it ({said}); wait for it, or stop it")
