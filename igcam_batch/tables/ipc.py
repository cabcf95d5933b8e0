"""A table as bytes, to hand from one process to the next."""

import pyarrow as pa


def to_ipc(table: pa.Table) -> bytes:
    """Serialise in Arrow's stream format."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_ipc(data: bytes) -> pa.Table:
    """Read what `to_ipc` gave."""
    return pa.ipc.open_stream(data).read_all()
