"""The groups of a run's classes, in numbers and words."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from igcam_batch.report.cues.columns import REGIONS
from igcam_batch.report.cues.grouping import EMBEDDINGS, Embedding, groups
from igcam_batch.report.cues.moments import Moments, apart
from igcam_batch.report.cues.sample import Maps, OfClass
from igcam_batch.report.cues.suspicion import attention, oddity
from igcam_batch.report.cues.wording import finding

EXAMPLES = 8
_LOOKED = "attention"
_WHOLE = EMBEDDINGS["spatial"]  # how a class as a whole is seen


def described(classes: Mapping[int, OfClass]) -> Iterator[dict[str, Any]]:
    """The rows of the classes of one method, without `rank` and `method`.

    Args:
        classes: by index, each with at least one map.
    """
    moments = {target: _moments(of_class.maps) for target, of_class in classes.items()}
    every = dict(next(iter(moments.values())))
    for of_class in list(moments.values())[1:]:
        every = {name: every[name] + of for name, of in of_class.items()}
    for target, own in moments.items():
        others = {
            name: every[name] - of if len(classes) > 1 else Moments.none(len(of.count)) for name, of in own.items()
        }
        yield from _of_class(target, classes[target], own, others)


def _moments(maps: Maps) -> dict[str, Moments]:
    """Of the attention and of the patterns of a class's maps."""
    patterns = {name: Moments.of(embedding.pattern(maps.maps)) for name, embedding in EMBEDDINGS.items()}
    return {_LOOKED: Moments.of(attention(maps.maps, maps.inside))} | patterns


def _of_class(
    target: int, of_class: OfClass, own: Mapping[str, Moments], others: Mapping[str, Moments]
) -> Iterator[dict[str, Any]]:
    """The whole, and each group where there are several."""
    maps, count = of_class.maps, len(of_class.maps)
    for name, number, members in _groups(maps):
        embedding, seen = (EMBEDDINGS[name], name) if name else (_WHOLE, "spatial")
        group = maps.take(members)
        pattern = Moments.of(embedding.pattern(group.maps))
        nearness = apart(pattern, own[seen] - pattern) if len(members) < count else float("nan")
        looked = Moments.of(attention(group.maps, group.inside))
        odd = oddity(looked, others[_LOOKED], nearness, len(members) / count, len(members))
        said = finding(odd, len(members), count, of_class.name or f"class {target}", name)
        yield {
            "kind": "cluster" if name else "class",
            "suspicion": odd.suspicion,
            "finding": said,
            "cue": odd.cue,
            "where": odd.where,
            "embedding": name,
            "target": target,
            "target_name": of_class.name,
            "cluster": number,
            "images": len(members),
            "share": len(members) / count,
            "sampled": count,
            "of_class": of_class.rows,
            **_regions("", odd.mean),
            **_regions("usual_", odd.usual),
            **_regions("error_", odd.error),
            "apart": _known(nearness),
            "apart_others": _known(apart(pattern, others[seen])),
            "confidence": _mean(group.confidence),
            "accuracy": _mean(group.correct),
            "mean_map": group.maps.mean(0),
            "examples": group.image_ids[_typical(group, embedding)].tolist(),
            "members": group.image_ids.tolist(),
        }


def _groups(maps: Maps) -> Iterator[tuple[str | None, int | None, np.ndarray]]:
    """Embedding, number and members of the whole, and of each group where there are several."""
    yield None, None, np.arange(len(maps))
    for name, embedding in EMBEDDINGS.items():
        labels = groups(embedding.points(maps.maps))
        for number in range(int(labels.max()) + 1) if labels.any() else ():
            yield name, number, np.flatnonzero(labels == number)


def _typical(group: Maps, embedding: Embedding) -> np.ndarray:
    """The maps nearest to the group's mean, the nearest first."""
    points = embedding.points(group.maps)
    return np.argsort(((points - points.mean(0)) ** 2).sum(1), kind="stable")[:EXAMPLES]


def _regions(prefix: str, values: np.ndarray) -> dict[str, float | None]:
    return {f"{prefix}{name}": _known(float(value)) for name, value in zip(REGIONS, values, strict=True)}


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
