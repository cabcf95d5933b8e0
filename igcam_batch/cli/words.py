"""Numbers as people say them."""


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


def amount_in_words(number: float, thing: str) -> str:
    """As '1 image' or '2 images'."""
    said = str(number) if isinstance(number, int) else f"{number:g}"
    return f"{said} {thing}{'' if number == 1 else 's'}"
