"""clusters.parquet: the groups that a run's maps fall into, class by class, the oddest first."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from igcam_batch.errors import InputError
from igcam_batch.report.cues.grouping import EMBEDDINGS, groups, spatial
from igcam_batch.report.cues.sample import Maps, OfClass, sample
from igcam_batch.report.cues.suspicion import NONE, Moments, attention, finding, oddity
from igcam_batch.storage import open_store
from igcam_batch.tables import to_parquet
from igcam_batch.tables.parquet import read_parquet

CLUSTERS_FILE = "clusters.parquet"
EXAMPLES = 8
_SHUFFLES, _SEED = 8, 0
_CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")
_REGIONS = ("border", *_CORNERS, "outside")


class NothingSeenError(InputError):
    """There is no map that looks at anything."""


def clusters_schema(shape: tuple[int, int]) -> pa.Schema:
    """The columns; `mean_map` is a tensor of `shape` (u, v), of sum 1.

    `kind` is class for all sampled maps of one together, cluster for a group of them, where they fall into several.
    `rank` 1 is the most suspicious.
    `border`, the four corners and `outside` (the boxes) are shares of the attention, `usual_...` the same over the
    sampled maps of all other classes, null where there is none. `sampled` maps of the class's `of_class` rows were
    looked at. `examples` are the image ids nearest to the group's mean, `members` all of them.
    """
    numbers = [pa.field(name, pa.float32()) for name in (*_REGIONS, *(f"usual_{name}" for name in _REGIONS))]
    return pa.schema(
        [
            pa.field("kind", pa.string(), nullable=False),
            pa.field("rank", pa.int32(), nullable=False),
            pa.field("suspicion", pa.float32(), nullable=False),
            pa.field("finding", pa.string(), nullable=False),
            pa.field("cue", pa.string(), nullable=False),
            pa.field("where", pa.string()),
            pa.field("embedding", pa.string()),
            pa.field("method", pa.string(), nullable=False),
            pa.field("target", pa.int32(), nullable=False),
            pa.field("target_name", pa.string()),
            pa.field("cluster", pa.int32()),
            pa.field("images", pa.int32(), nullable=False),
            pa.field("share", pa.float32(), nullable=False),
            pa.field("sampled", pa.int32(), nullable=False),
            pa.field("of_class", pa.int64(), nullable=False),
            *numbers,
            pa.field("apart", pa.float32()),
            pa.field("confidence", pa.float32()),
            pa.field("accuracy", pa.float32()),
            pa.field("mean_map", pa.fixed_shape_tensor(pa.float32(), shape)),
            pa.field("examples", pa.list_(pa.string()), nullable=False),
            pa.field("members", pa.list_(pa.string()), nullable=False),
        ]
    )


def write_clusters(output: str, method: str) -> pa.Table:
    """Look for cues in the maps of one method of a run, finished or not, and write clusters.parquet into OUTPUT.

    Returns:
        The table, as `read_clusters` gives it, by rank.

    Raises:
        NothingSeenError: `output` holds no map by that method, or all are zero everywhere.
    """
    classes = {target: of_class for target, of_class in sample(output, method).items() if len(of_class.maps)}
    if not classes:
        raise NothingSeenError(f"{output}: holds no map by {method} that is not zero everywhere")
    with threadpool_limits(1):  # the matrices are small: several threads take five times as long
        rows = list(_rows(classes, method))
    table = _table(_by_rank(rows))
    open_store(output).write(CLUSTERS_FILE, to_parquet(table))
    return table


def read_clusters(output: str) -> pa.Table:
    """clusters.parquet of a run; InputError where there is none."""
    store = open_store(output)
    if not store.exists(CLUSTERS_FILE):
        raise InputError(f"{output}: holds no {CLUSTERS_FILE}; `igcam-batch report {output}` writes it")
    with store.open(CLUSTERS_FILE) as file:
        return read_parquet(file)


def _rows(classes: dict[int, OfClass], method: str) -> Iterator[dict[str, Any]]:
    """The groups of every class, without their ranks."""
    looked = {target: attention(of_class.maps.maps, of_class.maps.inside) for target, of_class in classes.items()}
    moments = {target: Moments.of(values) for target, values in looked.items()}
    every = sum(moments.values(), NONE)
    for target, of_class in classes.items():
        others = every - moments[target] if len(classes) > 1 else NONE
        for kind, embedding, cluster, members in _groups(of_class.maps):
            yield {"kind": kind, "embedding": embedding, "method": method, "target": target} | {
                "target_name": of_class.name,
                "cluster": cluster,
                "of_class": of_class.rows,
                **_described(of_class, members, looked[target], others, target, alone=len(classes) == 1),
            }


def _groups(maps: Maps) -> Iterator[tuple[str, str | None, int | None, np.ndarray]]:
    """Kind, embedding, number and members of the whole, and of each group where there are several."""
    yield "class", None, None, np.arange(len(maps))
    for embedding, embed in EMBEDDINGS.items():
        labels = groups(embed(maps.maps))
        for cluster in range(int(labels.max()) + 1) if labels.any() else ():
            yield "cluster", embedding, cluster, np.flatnonzero(labels == cluster)


def _described(
    of_class: OfClass, members: np.ndarray, looked: np.ndarray, others: Moments, target: int, *, alone: bool
) -> dict[str, Any]:
    """A group in numbers and words."""
    maps, own = of_class.maps, of_class.maps.take(members)
    mean = own.maps.mean(0)
    rest = np.setdiff1d(np.arange(len(maps)), members)
    odd = oddity(
        Moments.of(looked[members]),
        others,
        _apart(own.maps, maps.maps[rest]) if len(rest) else float("nan"),
        len(members) / len(maps),
        len(members),
    )
    near = np.argsort(((spatial(own.maps) - spatial(mean[None])) ** 2).sum(1), kind="stable")
    name = of_class.name or f"class {target}"
    return {
        "suspicion": odd.suspicion,
        "finding": finding(odd, len(members), len(maps), name, alone),
        "cue": odd.cue,
        "where": odd.where,
        "images": len(members),
        "share": len(members) / len(maps),
        "sampled": len(maps),
        **{name: _known(value) for name, value in zip(_REGIONS, odd.mean, strict=True)},
        **{f"usual_{name}": _known(value) for name, value in zip(_REGIONS, others.mean, strict=True)},
        "apart": _known(odd.apart),
        "confidence": _mean(own.confidence),
        "accuracy": _mean(own.correct),
        "mean_map": mean,
        "examples": own.image_ids[near[:EXAMPLES]].tolist(),
        "members": own.image_ids.tolist(),
    }


def _apart(own: np.ndarray, rest: np.ndarray) -> float:
    """Total variation in 0..1 between two groups' mean maps, less what groups of the same sizes by chance have."""
    every, generator = np.concatenate([own, rest]), np.random.default_rng(_SEED)
    chance = []
    for _ in range(_SHUFFLES):
        order = generator.permutation(len(every))
        chance.append(_variation(every[order[: len(own)]], every[order[len(own) :]]))
    return max(0.0, _variation(own, rest) - float(np.mean(chance)))


def _variation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.mean(0) - other.mean(0)).sum() / 2)


def _by_rank(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most suspicious first; of equally suspicious ones a class before its clusters."""
    ordered = sorted(rows, key=lambda row: -row["suspicion"])
    return [row | {"rank": rank} for rank, row in enumerate(ordered, start=1)]


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    maps = np.stack([row.pop("mean_map") for row in rows]).astype(np.float32)
    schema = clusters_schema((maps.shape[1], maps.shape[2]))
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(maps)
    place = schema.get_field_index("mean_map")
    table = pa.Table.from_pylist(rows, schema=schema.remove(place))
    return table.add_column(place, schema.field("mean_map"), tensors)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
