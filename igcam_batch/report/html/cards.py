"""Image × target as a page shows it: the image, its boxes, every method's map, and the scores."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from igcam_batch.images import DecodeError
from igcam_batch.report.html.pictures import Picture, map_of, picture_of
from igcam_batch.report.originals import Originals
from igcam_batch.report.targets import LABELLED
from igcam_batch.report.wording import WORDINGS
from igcam_batch.tables.readers import explained_shards
from igcam_batch.words import isolated, percentage

Key = tuple[str, int]
"""Image id and class index."""


@dataclass
class Card:
    """What is shown of an image × target.

    Attributes:
        image_id: of the image.
        name: of its class, as it stands in a sentence.
        title: that and the confidence.
        predicted: the predicted class, where it is another; else ''.
        wrong: whether that is an error, as the target is the dataset's label.
        picture: the image; None where it could not be had, as `missing` then says.
        map, words: of the method that is shown first: the name of its map, its scores.
        methods: map and words of each method.
    """

    image_id: str
    name: str
    title: str
    predicted: str
    wrong: bool
    picture: Picture | None = None
    missing: str = ""
    map: str = ""
    words: str = ""
    methods: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Deck:
    """The cards of a page.

    Attributes:
        cards: by name.
        names: of the card of an image × target.
        maps: by name, as `map_of` makes them.
    """

    cards: dict[str, Card]
    names: dict[Key, str]
    maps: dict[str, dict[str, Any]]

    @property
    def gone(self) -> set[str]:
        """Ids of the images that could not be had."""
        return {card.image_id for card in self.cards.values() if card.picture is None}

    @property
    def missing(self) -> int:
        """How many they are."""
        return len(self.gone)


def deal(output: str, wanted: Collection[Key], method: str) -> Deck:
    """The cards of some images × targets of a run; reads it shard by shard, and fetches those images.

    Args:
        output: OUTPUT of an audit.
        wanted: what is shown; one that the run has not is left out.
        method: the one that is shown first.
    """
    deck = Deck({}, {}, {})
    if not wanted:
        return deck
    names = {key: f"c{number}" for number, key in enumerate(dict.fromkeys(wanted))}
    ids = pa.array(sorted({image_id for image_id, _ in names}), pa.string())
    for scores, heatmaps in explained_shards(output):
        rows = np.flatnonzero(pc.is_in(scores["image_id"], value_set=ids).to_numpy())
        if not len(rows):
            continue
        maps = heatmaps["heatmap"].combine_chunks().to_numpy_ndarray()[rows]
        for score, heatmap in zip(scores.take(rows).to_pylist(), maps, strict=True):
            key = (score["image_id"], score["target"])
            if key in names:
                deck.names[key] = names[key]
                _add(deck, names[key], score, heatmap)
    for card in deck.cards.values():
        first = card.methods.get(method) or next(iter(card.methods.values()))
        card.map, card.words = first["map"], first["words"]
    _illustrate(deck, output)
    return deck


def _add(deck: Deck, name: str, score: Mapping[str, Any], heatmap: np.ndarray) -> None:
    """A row of the scores, with its map."""
    other = score["predicted"] != score["target"]
    target, predicted = (
        isolated(score[f"{which}_name"] or f"class {score[which]}") for which in ("target", "predicted")
    )
    title = f"{target}, confidence {percentage(score['confidence'])}"
    wrong = other and score["target_source"] in LABELLED
    card = deck.cards.setdefault(name, Card(score["image_id"], target, title, predicted if other else "", wrong))
    place = f"{name}.{len(card.methods)}"
    deck.maps[place] = map_of(heatmap)
    card.methods[score["method"]] = {"map": place, "words": scored(score)}


def scored(score: Mapping[str, Any]) -> str:
    """The metrics of a row of the scores, in words."""
    parts = [
        f"{wording.short} {percentage(score[column])}"
        for column, wording in WORDINGS.items()
        if column != "increase" and score.get(column) is not None
    ]
    return ", ".join(parts) if parts else "no metric has a value"


def _illustrate(deck: Deck, output: str) -> None:
    originals = Originals(output)
    planned = originals.find({card.image_id for card in deck.cards.values()})
    for row, original in originals.load(planned.values()):
        of_image = [card for card in deck.cards.values() if card.image_id == row["image_id"]]
        if isinstance(original, OSError | DecodeError):
            for card in of_image:
                card.missing = "the image is not where it was, or was changed"
            continue
        picture = picture_of(original)
        for card in of_image:
            card.picture = picture
    for card in deck.cards.values():
        if card.picture is None:
            card.missing = card.missing or "the image is not in the plan"
