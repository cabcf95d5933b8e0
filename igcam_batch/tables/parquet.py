"""A Parquet file to a table, in the calling thread alone, and what is said of one that is damaged."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError, one_line
from igcam_batch.storage import Store


@contextmanager
def undamaged(store: Store, path: str, way_out: str) -> Iterator[None]:
    """InputError, with the file's name and the way out, where the block finds that Parquet in it is not whole.

    As on a disk that lost what it had promised to keep.
    """
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk or the network, not of Arrow
            raise
        said = one_line(error)
        raise InputError(f"{store.uri(path)}: is no whole Parquet file ({said}); {way_out}") from None


def read_parquet(
    file: BinaryIO | pq.ParquetFile, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> pa.Table:
    """Some columns, in the order asked for, and some row groups of a file; None: all.

    Takes also a file whose footer is read already. Starts no thread: one of Arrow's that lets go of a Python file's
    bytes while Python exits aborts the process (apache/arrow issue 34314), so neither `pq.read_table` nor the default
    options will do.

    Raises:
        InputError: the file has no such column.
    """
    parquet = file if isinstance(file, pq.ParquetFile) else pq.ParquetFile(file, pre_buffer=False)
    names = parquet.schema_arrow.names
    if unknown := [name for name in columns or () if name not in names]:
        raise InputError(f"columns {', '.join(unknown)}: no such column; there are: {', '.join(names)}")
    wanted = range(parquet.num_row_groups) if groups is None else groups
    table = parquet.read_row_groups(list(wanted), columns=columns, use_threads=False)
    return table if columns is None else table.select(columns)
