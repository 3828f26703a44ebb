"""Verify the pages of a Parquet file on the host, before cuDF decodes them.

Arrow verifies the checksums of pages; cuDF does not, and it trusts page headers. Here, checksums
must match, and headers must agree with the footer. A header is a struct in Thrift's compact
protocol, see https://parquet.apache.org/docs/file-format/data-pages.
"""

import os
import zlib
from collections.abc import Iterable
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

_HEADER_BYTES = 1024
"""Upper bound of the header of a page of numbers."""

_TYPE, _SIZE, _COMPRESSED_SIZE, _CHECKSUM = 1, 2, 3, 4
"""Field numbers of a page header."""

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
"""Page types."""

_COUNTS = {_DATA: (501,), _DICTIONARY: (701,), _DATA_V2: (801, 802, 803, 805, 806)}
_ENCODED = {_DATA: 502, _DICTIONARY: 702, _DATA_V2: 804}
_LEVELS_ENCODED = {_DATA: (503, 504), _DICTIONARY: (), _DATA_V2: ()}
"""Fields of the counts (values first), the encoding of values and the encodings of levels; 501 is
the first field of the struct in field 5."""

_ENCODINGS = {
    0: "PLAIN",
    2: "PLAIN_DICTIONARY",
    3: "RLE",
    4: "BIT_PACKED",
    5: "DELTA_BINARY_PACKED",
    8: "RLE_DICTIONARY",
    9: "BYTE_STREAM_SPLIT",
}

_INDEX_ENCODINGS = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}
_DICTIONARY_ENCODINGS = {"PLAIN", "PLAIN_DICTIONARY"}
_LEVEL_ENCODINGS = {"RLE", "BIT_PACKED"}
"""Two names of one encoding, and encodings that a footer may leave out."""

_BOOLS, _BYTE, _SHORT, _INTEGER, _LONG, _DOUBLE, _BINARY, _STRUCT = (1, 2), 3, 4, 5, 6, 7, 8, 12
"""Thrift types."""


def are_sound(path: str, chunks: Iterable[pq.ColumnChunkMetaData]) -> bool:
    """Return whether the pages of some columns are consistent.

    If not, the pages may still be valid and the footer may be wrong.
    """
    with Path(path).open("rb") as file:  # not mapped: a file that is cut would end the process
        try:
            return all(_is_sound(*_read_chunk(file, chunk), chunk) for chunk in chunks)
        except (LookupError, RecursionError):  # bytes that are not a header
            return False


def count_values(path: str, chunks: Iterable[pq.ColumnChunkMetaData]) -> list[int | None]:
    """Return the values of the pages of some columns by their headers; None if one is no header.

    Only the headers are read.
    """
    with Path(path).open("rb", buffering=0) as file:
        return [_values_of(file, chunk) for chunk in chunks]


def _values_of(file: RawIOBase, chunk: pq.ColumnChunkMetaData) -> int | None:
    at, values = _first_page(chunk), 0
    end = at + chunk.total_compressed_size
    try:
        while 0 <= at < end:
            header: dict[int, int] = {}
            file.seek(at)
            at += _read_struct(file.read(_HEADER_BYTES) or b"", 0, header)
            kind = header[_TYPE]
            values += header[_COUNTS[kind][0]] if kind != _DICTIONARY else 0
            at += max(header[_COMPRESSED_SIZE], 0)
    except (LookupError, RecursionError, OverflowError):
        return None
    return values


def _first_page(chunk: pq.ColumnChunkMetaData) -> int:
    at: int = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    return at


def _read_chunk(file: BinaryIO, chunk: pq.ColumnChunkMetaData) -> tuple[memoryview, int]:
    """Return the pages of a column, and their number of bytes by the footer."""
    at, length = _first_page(chunk), chunk.total_compressed_size
    if at < 0 or not 0 <= length <= os.fstat(file.fileno()).st_size:
        raise IndexError("outside the file")
    file.seek(at)
    return memoryview(file.read(length)), length


def _is_sound(content: memoryview, end: int, chunk: pq.ColumnChunkMetaData) -> bool:
    at = size = values = 0
    while at < end:
        header: dict[int, int] = {}
        length = _read_struct(bytes(content[at : at + _HEADER_BYTES]), 0, header)
        start, kind = at + length, header[_TYPE]
        at, counts = start + header[_COMPRESSED_SIZE], [header[f] for f in _COUNTS[kind]]
        if not start <= at <= end or min(counts) < 0:
            return False
        size += length + header[_SIZE]
        values += counts[0] if kind != _DICTIONARY else 0
        if not _has_listed_encoding(header, chunk.encodings):
            return False
        checksum = header.get(_CHECKSUM)
        if checksum is not None and zlib.crc32(content[start:at]) != checksum % 2**32:
            return False
    return bool(size == chunk.total_uncompressed_size and values == chunk.num_values)


def _has_listed_encoding(header: dict[int, int], encodings: Iterable[str]) -> bool:
    """Return whether the footer lists the encoding of a page."""
    kind = header[_TYPE]
    allowed = _DICTIONARY_ENCODINGS if kind == _DICTIONARY else set(encodings)
    if allowed & _INDEX_ENCODINGS and kind != _DICTIONARY:
        allowed |= _INDEX_ENCODINGS
    levels = {_ENCODINGS[header[field]] for field in _LEVELS_ENCODED[kind]}
    return _ENCODINGS[header[_ENCODED[kind]]] in allowed and levels <= _LEVEL_ENCODINGS


def _read_struct(data: bytes, at: int, numbers: dict[int, int], within: int = 0) -> int:
    """Store the 32-bit numbers of a struct by field number; return the end of the struct.

    A field f of a struct in field `within` has the number 100·within + f.
    """
    field = 100 * within
    while data[at]:
        delta, kind = data[at] >> 4, data[at] & 15
        at += 1
        if delta:
            field += delta
        else:
            number, at = _signed(data, at)
            field = 100 * within + number
        if kind == _INTEGER:
            numbers[field], at = _signed(data, at)
        elif kind == _STRUCT:
            at = _read_struct(data, at, numbers, field)
        else:
            at = _after(data, at, kind)
    return at + 1


def _signed(data: bytes, at: int) -> tuple[int, int]:
    """Return a zigzag integer in groups of seven bits, and its end."""
    value, at = _unsigned(data, at)
    return value >> 1 ^ -(value & 1), at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value, shift = data[at] & 0x7F, 7
    while data[at] & 0x80:
        at += 1
        value |= (data[at] & 0x7F) << shift
        shift += 7
    return value, at + 1


def _after(data: bytes, at: int, kind: int) -> int:
    """Return the end of a value of another type; headers have no lists or maps."""
    if kind in (_SHORT, _LONG):
        return _unsigned(data, at)[1]
    if kind == _BINARY:
        length, at = _unsigned(data, at)
        return at + length
    return at + {**dict.fromkeys(_BOOLS, 0), _BYTE: 1, _DOUBLE: 8}[kind]
