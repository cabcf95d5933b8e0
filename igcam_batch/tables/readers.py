"""The tables of a run, back as Arrow: only of shards that are committed."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from igcam_batch.errors import InputError
from igcam_batch.storage import Store, open_store
from igcam_batch.storage.ahead import ahead
from igcam_batch.tables.parquet import read_parquet
from igcam_batch.tables.schemas import FAILURES, heatmap_array
from igcam_batch.tables.shards import (
    FAILURES_DIR,
    HEATMAPS_DIR,
    SCORES_DIR,
    committed_shards,
    companions,
    open_table,
    part_name,
    read_commit,
    read_shard_tables,
    read_table,
)


def read_scores(output: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The score table: one row for each image × target × method.

    Args:
        output: OUTPUT of an audit, finished or not.
        columns: names of the columns to read; None: all.

    Raises:
        InputError: `output` holds no scores, or they have no such column.
    """
    return _read(_reached(output), SCORES_DIR, columns)


def score_tables(output: str) -> Iterator[pa.Table]:
    """The score table, a committed shard at a time, in their order."""
    yield from tables_of(open_store(output), SCORES_DIR)


def explained_shards(output: str) -> Iterator[tuple[pa.Table, pa.Table]]:
    """`explained_shard` of each committed shard, in their order."""
    store = _reached(output)
    yield from ahead(lambda shard: explained_shard(store, shard), committed_shards(store), store.at_once)


def explained_shard(store: Store, shard: int) -> tuple[pa.Table, pa.Table]:
    """Scores and heatmaps of a committed shard, a row of the one for each row of the other.

    Raises:
        InputError: they are of another version, or not of the same rows.
    """
    scores, heatmaps, _ = read_shard_tables(store, shard, read_commit(store, shard))
    if not all(scores[key].equals(heatmaps[key]) for key in ("image_id", "target", "method")):
        raise InputError(
            f"{store.root}: scores and heatmaps of shard {shard} are not of the same rows; delete its scores, and "
            "the same audit makes its images again"
        )
    return scores, heatmaps


def read_heatmaps(
    output: str,
    size: int | tuple[int, int] | None = None,
    *,
    columns: Sequence[str] | None = None,
    image_ids: Collection[str] | None = None,
    targets: Collection[int] | None = None,
    methods: Collection[str] | None = None,
) -> pa.Table:
    """The heatmap table, or what is wanted of it: `image_id`, `target`, `method`, and `heatmap`, a tensor.

    Args:
        output: OUTPUT of an audit, finished or not.
        size: (H, W), or one number for both, to upsample the maps to, bilinearly, in float32, as the metrics do; None:
            as stored, at the layer's own resolution.
        columns: names of those to read; None: all.
        image_ids: of the images that are wanted; None: any. Of shards that have none, only the keys are read.
        targets: the classes that are wanted; None: any.
        methods: those that are wanted, all of which the run must have; None: any.

    Returns:
        A table whose `heatmap` column is Arrow's fixed-shape tensor; as NumPy, (n, H, W):
        `table["heatmap"].combine_chunks().to_numpy_ndarray()`.

    Raises:
        InputError: `output` holds no heatmaps, `size` is not positive, or there is no such column or method.
    """
    wanted = {"columns": columns, "image_ids": image_ids, "targets": targets, "methods": methods}
    return pa.concat_tables(list(iter_heatmaps(output, size, **wanted)))  # type: ignore[arg-type]


def iter_heatmaps(
    output: str,
    size: int | tuple[int, int] | None = None,
    *,
    columns: Sequence[str] | None = None,
    image_ids: Collection[str] | None = None,
    targets: Collection[int] | None = None,
    methods: Collection[str] | None = None,
) -> Iterator[pa.Table]:
    """What `read_heatmaps` gives, a committed shard at a time, in their order; a table may be empty.

    Args and errors are those of `read_heatmaps`. In memory are as many shards as the store is asked for at a time: one
    on disk, some in S3.
    """
    shape = None if size is None else _shape(size)
    store = _reached(output)
    wanted = {name: of for name, of in _wanted(image_ids, targets, methods) if of is not None}

    def read(path: str) -> pa.Table:
        with open_table(store, path) as file:
            if not wanted:
                return read_parquet(file, columns)
            keys = read_parquet(file, list(wanted))
            if methods is not None:
                _check_methods(store, methods, keys["method"])
            rows = np.logical_and.reduce([pc.is_in(keys[name], of).to_numpy() for name, of in wanted.items()])
            groups: list[int] | None = None if rows.any() else []
            return read_parquet(file, columns, groups).filter(pa.array(rows if groups is None else rows[:0]))

    empty = True
    for table in ahead(read, _files(store, HEATMAPS_DIR), store.at_once):
        empty = False
        yield upsampled(table.replace_schema_metadata(None), shape)
    if empty:
        raise _nothing(store, HEATMAPS_DIR)


def upsampled(table: pa.Table, shape: tuple[int, int] | None) -> pa.Table:
    """A table with its column `heatmap`, if it has one, at (H, W), bilinearly, in float32; None: as it is."""
    position = table.schema.get_field_index("heatmap")
    if shape is None or position < 0:
        return table
    import torch

    from igcam_batch.attribution.upsample import upsample

    maps = table["heatmap"].combine_chunks().to_numpy_ndarray().astype("float32")
    large = upsample(torch.from_numpy(maps), shape).numpy() if len(maps) else np.empty((0, *shape), dtype=np.float32)
    return table.set_column(position, "heatmap", heatmap_array(large, "float32"))


def _shape(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise InputError(f"size {size}: must be positive, (height, width)")
    return height, width


def _wanted(
    image_ids: Collection[str] | None, targets: Collection[int] | None, methods: Collection[str] | None
) -> Iterator[tuple[str, pa.Array | None]]:
    columns = (("image_id", image_ids, pa.string()), ("target", targets, pa.int32()), ("method", methods, pa.string()))
    for name, of, kind in columns:
        if isinstance(of, str):
            raise InputError(f"{name}s {of!r}: take a list of them")
        yield name, None if of is None else pa.array(list(of), kind)


def _check_methods(store: Store, methods: Collection[str], column: pa.ChunkedArray) -> None:
    """InputError for a method that a shard has no row by: each of its images has one by every method of the run."""
    there = column.unique().to_pylist()  # none where all its images failed
    if unknown := [method for method in methods if there and method not in there]:
        names = ", ".join(unknown)
        raise InputError(f"methods {names}: {store.root} has no such method; there are: {', '.join(there)}")


def read_failures(output: str) -> pa.Table:
    """The failure table: one row for each image that could not be explained; empty where there was none."""
    return _read(_reached(output), FAILURES_DIR, None, schema=FAILURES)


def _reached(output: str) -> Store:
    """The store; InputError, within seconds, where it cannot be reached."""
    store = open_store(output)
    store.probe()
    return store


def _read(store: Store, directory: str, columns: Sequence[str] | None, schema: pa.Schema | None = None) -> pa.Table:
    tables = list(tables_of(store, directory, columns))
    if tables:
        return pa.concat_tables(tables)
    if schema is not None:
        return schema.empty_table()
    raise _nothing(store, directory)


def tables_of(store: Store, directory: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """One of the tables, `scores`, `heatmaps` or `failures`, a committed shard at a time, in their order."""
    paths = _files(store, directory)
    yield from ahead(lambda path: read_table(store, path, columns), paths, store.at_once)


def _files(store: Store, directory: str) -> Iterator[str]:
    """Paths of the files of committed shards."""
    if directory == SCORES_DIR:
        return (f"{SCORES_DIR}/{part_name(shard)}" for shard in committed_shards(store))
    return (path for _, path in companions(store, directory))


def _nothing(store: Store, directory: str) -> InputError:
    return InputError(f"{store.root}: holds no {directory} of an audit; run `igcam-batch audit INPUT {store.root}`")
