"""What a page shows of clusters.parquet: the oddest groups of maps, and where each class looks."""

from collections.abc import Mapping, Sequence
from typing import Any

from igcam_batch.report.cues import NothingSeenError, write_clusters
from igcam_batch.report.cues.suspicion import LEAST
from igcam_batch.report.html.cards import Deck, Key
from igcam_batch.report.html.pictures import map_of
from igcam_batch.report.html.render import percent

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
                "title": f"{group['target_name'] or 'class ' + str(group['target'])}: {_title(group)}",
                "text": f"{group['finding'][0].upper()}{group['finding'][1:]}.",
                "details": _details(group),
                "cards": [deck.names[key] for key in keys if key in deck.names],
            }
        )
    return found


def by_class(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The classes whose attention differs most from the others', of those where it is known."""
    found = []
    for group in groups:
        if group["kind"] != "class":
            continue
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
    return found[:_MOST_CLASSES]


def _title(group: Group) -> str:
    return f"{group['where']} corner" if group["cue"] == "corner" else str(group["cue"])


def _details(group: Group) -> str:
    parts = [f"suspicion {group['suspicion']:.2f}"]
    if group["confidence"] is not None:
        parts.append(f"mean confidence {percent(group['confidence'], 0)} %")
    if group["accuracy"] is not None:
        parts.append(f"label predicted in {percent(group['accuracy'], 0)} %")
    if group["outside"] is not None:
        parts.append(f"{percent(group['outside'], 0)} % of the attention outside the boxes")
    if group["embedding"] is not None:
        parts.append(f"{group['embedding']} group {group['cluster'] + 1}")
    return "; ".join(parts)
