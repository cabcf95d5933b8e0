"""A Parquet file to a table, in the calling thread alone."""

from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from igcam_batch.errors import InputError


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
