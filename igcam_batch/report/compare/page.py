"""comparison.html: what the template shows of two runs."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from igcam_batch import __version__
from igcam_batch.report.colours import COLOURS, colour_table
from igcam_batch.report.compare.differences import Differences, caution
from igcam_batch.report.compare.join import Matched
from igcam_batch.report.compare.runs import Side, named
from igcam_batch.report.galleries import Picked
from igcam_batch.report.html.cards import Card, Deck, deal
from igcam_batch.report.html.render import render
from igcam_batch.report.summary import FEWEST_IMAGES
from igcam_batch.report.wording import WORDINGS
from igcam_batch.storage import Store
from igcam_batch.tables.record import now
from igcam_batch.words import isolated, setting_in_words

_MOST_CLASSES = 2000
_OF_A_CLASS = {"correct": "Recall ↑"}  # the accuracy over the rows with one label
_NAMES = {"confidence": "Confidence", "correct": "Accuracy ↑"}


@dataclass(frozen=True)
class Comparison:
    """All that the page is made of.

    Attributes:
        a, b: the runs.
        matched: how many of their rows are pairs.
        table: as differences.parquet.
        found: the sums that it is made of.
        galleries: those in which something is shown.
    """

    a: Side
    b: Side
    matched: Matched
    table: pa.Table
    found: Differences
    galleries: Sequence[Picked]


def write_page(store: Store, path: str, comparison: Comparison) -> None:
    """Fetch the images that are shown, and put the page."""
    wanted = [(shown.image_id, shown.target) for picked in comparison.galleries for shown in picked.shown]
    decks = [deal(side.output, wanted, side.method) for side in (comparison.a, comparison.b)]
    store.write(path, render("comparison.html.j2", _context(comparison, decks)))


def _context(comparison: Comparison, decks: Sequence[Deck]) -> dict[str, Any]:
    a, b, found = comparison.a, comparison.b, comparison.found
    rows = comparison.table.to_pylist()
    pairs, cards, maps = _pairs(comparison, decks)
    galleries = [
        {"key": picked.gallery.key, "title": picked.gallery.title, "meaning": picked.gallery.meaning}
        | {"ranked": picked.ranked, "cards": [decks[0].names[shown.image_id, shown.target] for shown in picked.shown]}
        | {"says": [picked.gallery.says(shown.number) for shown in picked.shown]}
        for picked in comparison.galleries
    ]
    names = [_NAMES.get(name) or WORDINGS[name].heading for name in found.columns]
    kept = [bool(row["rows"]) for row in rows[: len(names)]]
    class_names = [_OF_A_CLASS.get(name, heading) for name, heading in zip(found.columns, names, strict=True)]
    sections = [("metrics", "Differences"), ("galleries", "Images"), ("by-class", "Classes"), ("runs", "Runs")]
    return {
        "title": "A {} against B {}".format(*map(isolated, named(a, b))),
        "version": __version__,
        "written": now(),
        "sections": [each for each in sections if each[0] != "galleries" or galleries],
        "matched": comparison.matched,
        "disagreeing": found.disagreeing,
        "few": comparison.matched.images < FEWEST_IMAGES,
        "fewest": FEWEST_IMAGES,
        "rows": [row | {"name": name} for row, name in zip(rows, names, strict=False)],
        "alike": rows[len(names) :],
        "caution": caution(a, b, comparison.table),
        "galleries": galleries,
        "pairs": pairs,
        "missing": len(decks[0].gone | decks[1].gone),
        "columns": [name for name, there in zip(class_names, kept, strict=True) if there],
        "classes": _classes(found, kept),
        "class_count": len(found.classes),
        "runs": _runs(a, b),
        "data": {
            "colours": {name: b64encode(colour_table(name).tobytes()).decode() for name in COLOURS},
            "maps": maps,
            "cards": cards,
        },
    }


def _pairs(
    comparison: Comparison, decks: Sequence[Deck]
) -> tuple[dict[str, tuple[Card, Card]], dict[str, Any], dict[str, Any]]:
    """By the name of A's card: the two cards, what the script says of them, and their maps."""
    pairs: dict[str, tuple[Card, Card]] = {}
    cards: dict[str, Any] = {}
    maps: dict[str, Any] = {}
    for key, name in decks[0].names.items():
        both = decks[0].cards[name], decks[1].cards[decks[1].names[key]]
        methods = {}
        for letter, side, card, deck in zip("AB", (comparison.a, comparison.b), both, decks, strict=True):
            of_method = card.methods[side.method]
            maps[f"{letter}{name}"] = deck.maps[of_method["map"]]
            card.map, card.words = f"{letter}{name}", of_method["words"]
            methods[f"{letter}: {side.model}, {side.method}"] = {
                "map": card.map,
                "words": f"{card.title}; {card.words}",
            }
        pairs[name] = (both[0], both[1])
        cards[name] = {"title": both[0].name, "words": "", "image_id": key[0], "methods": methods}
    return pairs, cards, maps


def _classes(found: Differences, kept: Sequence[bool]) -> list[dict[str, Any]]:
    """The most frequent classes, with the means of A and the change to B in the columns that are kept."""
    most = sorted(found.classes.items(), key=lambda item: (-item[1].pairs, item[0]))[:_MOST_CLASSES]
    return [
        {
            "name": of.name or f"class {target}",
            "pairs": of.pairs,
            "correlation": of.correlation / of.correlated if of.correlated else None,
            "cells": [
                (a / known, (b - a) / known) if known else (None, None)
                for known, a, b, there in zip(of.known.tolist(), of.a.tolist(), of.b.tolist(), kept, strict=True)
                if there
            ],
        }
        for target, of in most
    ]


def _runs(a: Side, b: Side) -> list[tuple[str, str, str]]:
    """What was run on each side; what differs first."""
    facts: list[tuple[str, str, str]] = [("OUTPUT", a.output, b.output), ("method compared", a.method, b.method)]
    facts.append(("weights, sha256", a.record.model.sha256, b.record.model.sha256))
    facts.append(("layer", a.record.model.layer, b.record.model.layer))
    for name in {**a.record.config, **b.record.config}:
        values = [setting_in_words(side.record.config.get(name, "")) for side in (a, b)]
        if name != "layer":
            facts.append((name, values[0], values[1]))
    return sorted(facts, key=lambda fact: fact[1] == fact[2])
