"""Numbers, times and names as people read them, in a terminal or on a page."""

import re
from datetime import UTC, datetime
from unicodedata import bidirectional

_NO_BREAK = "\u00a0"
_PERCENT = re.compile(r"(?<=\d) %")
_FIRST_STRONG, _POP = "\u2068", "\u2069"  # Unicode's isolate, whose direction is that of its first strong letter
_ISOLATES = dict.fromkeys(range(0x2066, 0x206A))  # within a name they would end ours
_TURNING = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"}


def duration_in_words(seconds: float) -> str:
    """As '3 h 20 min'."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def size_in_words(number: float) -> str:
    """Bytes, as '31.4 MiB'."""
    for unit, power in (("TiB", 4), ("GiB", 3), ("MiB", 2)):
        if number >= 1024**power:
            return f"{number / 1024**power:.1f} {unit}"
    return f"{number / 1024:.1f} KiB"


def amount_in_words(number: float, thing: str, things: str = "") -> str:
    """As '1 image' or '2,000 images'; `things`, where the plural is more than an s."""
    said = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{said} {plural(number, thing, things)}"


def plural(number: float, thing: str, things: str = "") -> str:
    """The thing's name after that number."""
    return thing if number == 1 else things or f"{thing}s"


def percentage(share: float | None, digits: int = 0) -> str:
    """0.1234 -> '12 %', which no line breaks in two; where there is no value, a dash."""
    if share is None or share != share:
        return "–"
    return unbroken(f"{100 * share:.{digits}f} %")


def unbroken(sentence: str) -> str:
    """A sentence whose percent signs stay with their numbers where it is wrapped."""
    return _PERCENT.sub(f"{_NO_BREAK}%", sentence)


def time_in_words(iso: str) -> str:
    """ISO 8601 with its zone, as '2026-11-28 02:01 UTC'; what is no time is given as it is."""
    try:
        time = datetime.fromisoformat(iso).astimezone(UTC)
    except ValueError:
        return iso
    return f"{time:%Y-%m-%d %H:%M} UTC"


def setting_in_words(value: object) -> str:
    """What a setting was."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def printable(text: str) -> str:
    """A text in which what a terminal would obey is a blank: it may quote a name, or a file, that is hostile."""
    return "".join(char if char.isprintable() else " " for char in text)


def isolated(name: str) -> str:
    """A name for use in a sentence: where its letters run from right to left, those around it stay in their order.

    Unicode's isolates (UAX 9) do what `<bdi>` does and need no markup. A name that turns nothing is given as it is.
    """
    if not any(bidirectional(letter) in _TURNING for letter in name):
        return name
    return f"{_FIRST_STRONG}{name.translate(_ISOLATES)}{_POP}"
