"""What a page shows of clusters.parquet: the oddest groups of maps, and where each class looks."""

from collections.abc import Mapping, Sequence
from typing import Any

from igcam_batch.report.cues import NothingSeenError, write_clusters
from igcam_batch.report.cues.columns import REGIONS
from igcam_batch.report.cues.grouping import FEWEST
from igcam_batch.report.cues.suspicion import ENOUGH, LEAST
from igcam_batch.report.html.cards import Deck, Key
from igcam_batch.report.html.pictures import map_of
from igcam_batch.words import amount_in_words, isolated, percentage, unbroken

_MOST, _EXAMPLES, _MOST_CLASSES = 8, 6, 20
_CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")

Group = Mapping[str, Any]
"""A row of clusters.parquet, its map as an array."""


def write_groups(output: str, method: str) -> list[Group]:
    """Write clusters.parquet and give its rows; none where every map is zero everywhere."""
    try:
        table = write_clusters(output, method)
    except NothingSeenError:
        return []
    maps = table["mean_map"].combine_chunks().to_numpy_ndarray()
    rows = table.drop_columns(["mean_map", "members"]).to_pylist()
    return [row | {"mean_map": heatmap} for row, heatmap in zip(rows, maps, strict=True)]


def oddest(groups: Sequence[Group]) -> list[Group]:
    """The groups to show, the most suspicious first; what several of a class say alike is said once."""
    found: dict[tuple[Any, ...], Group] = {}
    for group in sorted(groups, key=lambda group: int(group["rank"])):
        if group["suspicion"] >= LEAST:
            found.setdefault((group["target"], group["cue"], group["where"]), group)
    return list(found.values())[:_MOST]


def examples(groups: Sequence[Group]) -> list[Key]:
    """The images × targets that are shown of some groups."""
    return [(image_id, group["target"]) for group in groups for image_id in group["examples"][:_EXAMPLES]]


def shown(groups: Sequence[Group], deck: Deck) -> list[dict[str, Any]]:
    """What the template shows of some groups; their mean maps join the deck's."""
    found = []
    for number, group in enumerate(groups):
        name = f"g{number}"
        deck.maps[name] = map_of(group["mean_map"])
        keys = [(image_id, group["target"]) for image_id in group["examples"][:_EXAMPLES]]
        found.append(
            {
                "map": name,
                "title": f"{isolated(group['target_name'] or 'class ' + str(group['target']))}: {_title(group)}",
                "text": unbroken(f"{group['finding'][0].upper()}{group['finding'][1:]}."),
                "details": _details(group),
                "cards": [deck.names[key] for key in keys if key in deck.names],
            }
        )
    return found


def nothing_odd(groups: Sequence[Group]) -> str:
    """Why no group is shown: no map looks at anything, there are too few to tell, or none stands out."""
    classes = [group for group in groups if group["kind"] == "class"]
    if not classes:
        return "No map looks at anything: none has a value above zero, so there was nothing to search for cues."
    maps = sum(group["images"] for group in classes)
    searched = f"{amount_in_words(maps, 'sampled map')} of {amount_in_words(len(classes), 'class', 'classes')}"
    told = sum(group["images"] >= ENOUGH for group in classes)
    if not told:
        return (
            f"Too few maps to tell: {searched}, and none has {ENOUGH}. Where a few maps look may be chance; explain "
            "more images of a class to learn whether it has a cue."
        )
    looks = ["at a border", "at a corner"]
    looks += ["outside its boxes"] if any(group["outside"] is not None for group in classes) else []
    looks += ["at two different things"] if any(group["images"] >= FEWEST for group in classes) else []
    usual = "more than the others do" if len(classes) > 1 else "more than its share of the image"
    left = len(classes) - told
    few = f" {amount_in_words(left, 'class', 'classes')} with fewer than {ENOUGH} maps cannot be told." if left else ""
    return (
        f"No group of maps stands out among {searched}: no class looks {', '.join(looks[:-1])} or {looks[-1]} "
        f"{usual}.{few}"
    )


def by_class(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The most suspicious classes; of equally suspicious ones first the one that differs most from the others."""
    found = []
    classes = [group for group in groups if group["kind"] == "class"]
    for group in sorted(classes, key=lambda group: (-group["suspicion"], -_most_apart(group)))[:_MOST_CLASSES]:
        corner = max(_CORNERS, key=lambda corner: (group[corner] or 0) - (group[f"usual_{corner}"] or 0))
        found.append(
            {
                "name": group["target_name"] or f"class {group['target']}",
                "images": group["images"],
                "where": corner.replace("_", " "),
                "corner": group[corner],
                "usual_corner": group[f"usual_{corner}"],
                **{name: group[name] for name in ("border", "usual_border", "outside", "usual_outside")},
            }
        )
    return found


def order_of_classes(groups: Sequence[Group]) -> str:
    """Which classes `by_class` gives, and what comes first."""
    classes = [group for group in groups if group["kind"] == "class"]
    odd = any(group["suspicion"] >= LEAST for group in classes)
    if len(classes) == 1:
        return f"The only class, with no other to compare it with, is {'suspicious' if odd else 'not suspicious'}."
    first = "the most suspicious" if odd else "none is suspicious; those that differ most from the others come"
    if len(classes) <= _MOST_CLASSES:
        return f"All classes, {first} first."
    some = f"{_MOST_CLASSES} of {amount_in_words(len(classes), 'class', 'classes')}"
    return f"{some}, {first} first; clusters.parquet has all."


def _most_apart(group: Group) -> float:
    """The largest difference of a share of its attention from that in other classes."""
    shares = [(group[name], group[f"usual_{name}"]) for name in REGIONS]
    return max((own - usual for own, usual in shares if own is not None and usual is not None), default=0.0)


def _title(group: Group) -> str:
    return f"{group['where']} corner" if group["cue"] == "corner" else str(group["cue"])


def _details(group: Group) -> str:
    parts = [f"suspicion {group['suspicion']:.2f}"]
    if group["confidence"] is not None:
        parts.append(f"mean confidence {percentage(group['confidence'])}")
    if group["accuracy"] is not None:
        parts.append(f"accuracy {percentage(group['accuracy'])}")
    if group["outside"] is not None:
        parts.append(f"{percentage(group['outside'])} of the attention outside the boxes")
    if group["embedding"] is not None:
        parts.append(f"{group['embedding']} group {group['cluster'] + 1}")
    return "; ".join(parts)
