"""A dataset's own columns, as types that every process and every reader of the scores can hold."""

import pyarrow as pa


def plain(column: pa.Array) -> pa.Array:
    """A column without extension types, and with times that Python has no number for as text."""
    if isinstance(column.type, pa.BaseExtensionType):
        return plain(column.storage)
    if pa.types.is_temporal(column.type) and not _fits_python(column):
        return column.cast(pa.string())
    return column


def _fits_python(column: pa.Array) -> bool:
    try:
        column.to_pylist()
    except (OverflowError, ValueError):
        return False
    return True
