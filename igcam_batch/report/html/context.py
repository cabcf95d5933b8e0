"""What report.html shows of a run, as its template takes it."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from igcam_batch import __version__
from igcam_batch.report.colours import COLOURS, colour_table
from igcam_batch.report.failures import Cause
from igcam_batch.report.galleries import GALLERIES, Picked
from igcam_batch.report.html.cards import Card, Deck
from igcam_batch.report.html.charts import histogram
from igcam_batch.report.html.findings import Group, by_class, nothing_odd, oddest, order_of_classes, shown
from igcam_batch.report.summary import FEWEST_IMAGES
from igcam_batch.report.survey import Survey
from igcam_batch.report.wording import WORDINGS
from igcam_batch.tables.record import RunRecord, now
from igcam_batch.tables.status import Status
from igcam_batch.words import amount_in_words, duration_in_words, isolated, setting_in_words, time_in_words

_MOST_CLASSES, _MOST_CAUSES = 2000, 25
_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """All that a report is made of.

    Attributes:
        record: run.json.
        progress: how far the run has come.
        means: method -> metric -> its row of the summary, over all rows.
        summary: the rows of its summary.
        seen: what a pass over its shards found.
        groups: its rows of clusters.parquet.
        deck: its cards.
        causes: of its failures.
    """

    record: RunRecord
    progress: Status
    means: Mapping[str, Mapping[str, _Row]]
    summary: Sequence[_Row]
    seen: Survey
    groups: Sequence[Group]
    deck: Deck
    causes: Sequence[Cause]


def context(found: Findings) -> dict[str, Any]:
    """What report.html.j2 shows."""
    record, run, summary, seen, deck = found.record, found.progress, found.summary, found.seen, found.deck
    means = found.means
    metrics = [metric for metric in next(iter(means.values())) if any(of[metric]["rows"] for of in means.values())]
    classes = _classes(summary, seen, metrics)
    galleries, distributions = _galleries(seen, deck), _distributions(seen, metrics, list(means))
    odd = shown(oddest(found.groups), deck)
    on_page = {key for part in (*galleries, *odd) for key in part["cards"]}
    labelled = sum(of.labelled for of in seen.classes.values())
    sections = [
        ("findings", "Findings"),
        ("metrics", "Metrics"),
        ("galleries", "Images"),
        ("distributions", "Distributions"),
    ]
    cues = by_class(found.groups)
    parts = {"galleries": galleries, "distributions": distributions, "cues": cues}
    sections += [("by-class", "Classes"), ("cues", "Cues"), ("failures", "Failures"), ("run", "Run")]
    return {
        "title": f"{isolated(_model(record))} on {isolated(_last_part(record.config['input']))}",
        "version": __version__,
        "written": now(),
        "sections": [each for each in sections if parts.get(each[0], True)],
        "run": asdict(run)
        | {
            "remaining": run.remaining,
            "whole": not run.remaining,
            "layer": record.model.layer,
        },
        "methods": list(means),
        "method": seen.method,
        "accuracy": sum(of.correct for of in seen.classes.values()) / labelled if labelled else None,
        "metrics": [WORDINGS[metric] for metric in metrics],
        "means": _means(means, summary, metrics),
        "differences": _differences(summary, metrics),
        "few": any(row["kind"] == "difference" and row["images"] < FEWEST_IMAGES for row in summary),
        "fewest": FEWEST_IMAGES,
        "agreement": _agreement(seen),
        "blank": [(method, count) for method, count in seen.blank.items() if count],
        "galleries": galleries,
        "others": [key for key in deck.cards if key not in on_page],
        "cards": deck.cards,
        "missing": deck.missing,
        "findings": odd,
        "nothing_odd": nothing_odd(found.groups),
        "sampled": sum(group["images"] for group in found.groups if group["kind"] == "class"),
        "cues": cues,
        "cues_say": order_of_classes(found.groups),
        "distributions": distributions,
        "classes": {"rows": classes, "count": len(seen.classes)},
        "failures": {"causes": found.causes[:_MOST_CAUSES], "kinds": len(found.causes)},
        "facts": _facts(record),
        "notes": record.notes,
        "settings": [(name, setting_in_words(value)) for name, value in record.config.items()],
        "data": {
            "colours": {name: b64encode(colour_table(name).tobytes()).decode() for name in COLOURS},
            "maps": deck.maps,
            "cards": {
                name: {"title": card.title, "words": _prediction(card), "image_id": card.image_id}
                | {"methods": card.methods}
                for name, card in deck.cards.items()
            },
            "classes": _class_means(summary, metrics, {row["target"] for row in classes}),
            "galleries": {gallery["key"]: gallery["methods"] for gallery in galleries},
        },
    }


def _galleries(seen: Survey, deck: Deck) -> list[dict[str, Any]]:
    """Those in which some method shows something; each method's own, and that of the one that is shown first."""
    found = []
    for place, gallery in enumerate(GALLERIES):
        every = {method: of[place] for method, of in seen.galleries.items() if of[place].shown}
        methods = {method: _picked(picked, deck) for method, picked in every.items()}
        first = methods.get(seen.method, {"words": "", "cards": [], "says": []})
        about = {"key": gallery.key, "title": gallery.title, "meaning": gallery.meaning}
        found.append(about | first | {"methods": methods})
    return [gallery for gallery in found if gallery["methods"]]


def _picked(picked: Picked, deck: Deck) -> dict[str, Any]:
    return {
        "words": f"{len(picked.shown)} of {amount_in_words(picked.ranked, 'row')}.",
        "cards": [deck.names[shown.image_id, shown.target] for shown in picked.shown],
        "says": [picked.gallery.says(shown.number) for shown in picked.shown],
    }


def _means(
    means: Mapping[str, Mapping[str, _Row]], summary: Sequence[_Row], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each method; `best` where it is better than every other."""
    wins = [(row["better"], row["metric"]) for row in summary if row["better"] is not None]
    others = len(means) - 1
    return [
        {
            "method": method,
            "cells": [
                dict(of[metric]) | {"best": others > 0 and wins.count((method, metric)) == others} for metric in metrics
            ],
        }
        for method, of in means.items()
    ]


def _differences(summary: Sequence[_Row], metrics: Sequence[str]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in summary:
        if row["kind"] == "difference":
            found.setdefault((row["method"], row["other"]), {})[row["metric"]] = row
    return [
        {"method": method, "other": other, "cells": [cells[metric] for metric in metrics]}
        for (method, other), cells in found.items()
    ]


def _agreement(seen: Survey) -> list[dict[str, Any]]:
    return [
        {
            "method": method,
            "other": other,
            "pairs": found.pairs,
            "correlation": found.correlation / found.pairs,
            "overlap": found.overlap / found.pairs,
        }
        for (method, other), found in seen.agreement.items()
        if found.pairs
    ]


def _distributions(seen: Survey, metrics: Sequence[str], methods: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "heading": WORDINGS[metric].short,
            "charts": [
                {"method": method, "histogram": histogram(seen.distributions[method, metric])}
                for method in methods
                if (method, metric) in seen.distributions
            ],
        }
        for metric in metrics
        if metric in seen.metrics
    ]


def _classes(summary: Sequence[_Row], seen: Survey, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each of the most frequent classes, with the means of the method that is shown first."""
    most = sorted(seen.classes.items(), key=lambda item: (-item[1].rows, item[0]))[:_MOST_CLASSES]
    means = _class_means(summary, metrics, {target for target, _ in most})
    return [
        {
            "target": target,
            "name": found.name or f"class {target}",
            "rows": found.rows,
            "accuracy": found.correct / found.labelled if found.labelled else None,
            "confidence": found.confidence / found.rows,
            "means": means.get(str(target), {}).get(seen.method, [None] * len(metrics)),
        }
        for target, found in most
    ]


def _class_means(
    summary: Sequence[_Row], metrics: Sequence[str], targets: Iterable[int]
) -> dict[str, dict[str, list[float | None]]]:
    """Class -> method -> the means of the metrics, to a hundredth of a percent."""
    shown = set(targets)
    found: dict[str, dict[str, list[float | None]]] = {}
    for row in summary:
        if row["kind"] == "mean" and row["target"] in shown and row["metric"] in metrics:
            of_class = found.setdefault(str(row["target"]), {}).setdefault(row["method"], [None] * len(metrics))
            of_class[metrics.index(row["metric"])] = None if row["mean"] is None else round(row["mean"], 4)
    return found


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    config = record.config
    path = config.get("tolerance") is None and f"{config['steps']} steps, {config['rule']}"
    devices = sorted({worker["device"] for worker in record.workers})
    return [
        ("State", record.state),
        ("Data", f"{isolated(config['input'])}, {record.layout or config['layout']}"),
        ("Model", config["model"]),
        ("Weights", f"{config['weights']}, sha256 {record.model.sha256}"),
        ("Layer", f"{record.model.layer}, maps of {' × '.join(map(str, record.model.map_shape))}"),
        ("Methods", ", ".join(config["method"])),
        ("Path", path or f"until the error estimate is {config['tolerance']}"),
        ("Score", f"{config['score']}; confidence by {record.model.confidence}"),
        ("Targets", config["target"]),
        ("Input", f"{record.model.recipe.size} pixels, {record.model.recipe.resize}"),
        ("Started", time_in_words(record.started)),
        ("Finished", time_in_words(record.finished) if record.finished else "not yet"),
        ("Last command", f"took {duration_in_words(record.seconds)}" if record.seconds else "is not finished"),
        ("Workers", f"{len(record.workers)} on {', '.join(devices)}" if record.workers else "none yet"),
        ("Versions", ", ".join(f"{name} {number}" for name, number in record.versions.items())),
    ]


def _prediction(card: Card) -> str:
    if not card.predicted:
        return "The model predicts this class."
    subject = "The dataset's label; the model" if card.wrong else "The model"
    return f"{subject} predicts {card.predicted}."


def _model(record: RunRecord) -> str:
    return str(record.config["model"]).rpartition(":")[2]


def _last_part(place: str) -> str:
    return place.rstrip("/").rpartition("/")[2] or place
