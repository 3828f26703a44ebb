"""Look into the messages of an Arrow IPC stream before anything is unpacked.

pyarrow allocates what a compressed buffer claims to have, so that a small body could take all
memory. The flag of compression stands in the flatbuffer of a message, which pyarrow does not show.
"""

import pyarrow as pa

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
"""Kinds of messages whose bodies have buffers (`MessageHeader` of Arrow's format)."""

_HEADER_TYPE, _HEADER = 1, 2
"""Fields of the table `Message`: the kind of its header, and the header."""

_DATA = 1
"""Field of the table `DictionaryBatch` that has a `RecordBatch`."""

_COMPRESSION = 3
"""Field of the table `RecordBatch`."""


def refuse_compression(stream: bytes) -> None:
    """Refuse a stream that has a compressed buffer.

    Raises
    ------
    ValueError
        For compression, and for messages that cannot be understood.
    """
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(stream))
    for message in reader:
        if _is_compressed(message.metadata.to_pybytes()):
            raise ValueError("its buffers are compressed; send it without compression")


def _is_compressed(metadata: bytes) -> bool:
    message = _root(metadata)
    kind_at = _field(metadata, message, _HEADER_TYPE)
    header_at = _field(metadata, message, _HEADER)
    if kind_at is None or header_at is None:
        return False
    batch = _target(metadata, header_at)
    kind = metadata[kind_at]
    if kind == _DICTIONARY_BATCH:
        data_at = _field(metadata, batch, _DATA)
        if data_at is None:
            return False
        batch = _target(metadata, data_at)
    elif kind != _RECORD_BATCH:
        return False
    return _field(metadata, batch, _COMPRESSION) is not None


def _root(buffer: bytes) -> int:
    return _target(buffer, 0)


def _target(buffer: bytes, at: int) -> int:
    """Return where the table is that an offset at `at` points to."""
    return at + _unsigned(buffer, at, 4)


def _field(buffer: bytes, table: int, number: int) -> int | None:
    """Return where a field of a table is; None if the table does not have it."""
    vtable = table - int.from_bytes(_cut(buffer, table, 4), "little", signed=True)
    slot = 4 + 2 * number
    if slot + 2 > _unsigned(buffer, vtable, 2):
        return None
    offset = _unsigned(buffer, vtable + slot, 2)
    return table + offset if offset else None


def _unsigned(buffer: bytes, at: int, size: int) -> int:
    return int.from_bytes(_cut(buffer, at, size), "little")


def _cut(buffer: bytes, at: int, size: int) -> bytes:
    if at < 0 or at + size > len(buffer):
        raise ValueError("a message of it points beyond its end")
    return buffer[at : at + size]
