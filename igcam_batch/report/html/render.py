"""A template and what it shows -> one HTML file whose only script and style are its own.

Everything that a dataset or a model names is escaped by the template; what scripts read is JSON that cannot end its
element. The page's policy lets nothing else run and nothing be fetched, whatever a name might hold.
"""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from igcam_batch.words import amount_in_words, isolated, percentage, plural, time_in_words

_ROOM = "igcam_batch.report.html"


def render(template: str, context: Mapping[str, Any]) -> bytes:
    """A page in UTF-8.

    Args:
        template: its name in `templates/`.
        context: what it shows; `data`, where there is any, is what its script reads.
    """
    style, script = (files(_ROOM).joinpath("templates", name).read_text("utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        loader=PackageLoader(_ROOM),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # methods keep the order of the run
    environment.filters |= {"percent": percent, "percentage": percentage, "points": points, "time": time_in_words}
    environment.filters |= {"number": number}
    environment.filters |= {"amount": amount, "counted": amount_in_words, "plural": plural, "isolated": isolated}
    policy = f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    page = environment.get_template(template).render(
        {"data": {}} | dict(context), policy=policy, style=style, script=script
    )
    return page.encode("utf-8", errors="replace")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def percent(value: float | None, digits: int = 1) -> str:
    """0.1234 -> 12.3; where there is no value, a dash."""
    return "–" if value is None or value != value else f"{100 * value:.{digits}f}"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of two shares: 0.012 -> +1.2."""
    return "–" if value is None else f"{100 * value:+.{digits}f}".replace("-", "−")


def number(value: float) -> str:
    """A correlation: -0.1234 -> −0.123."""
    return f"{value:.3f}".replace("-", "−")


def amount(value: int) -> str:
    """12345 -> 12,345."""
    return f"{value:,}"
