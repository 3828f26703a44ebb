"""Whether the pages of a Parquet file are as they were written, as far as they tell.

cuDF does not look at the checksums of pages, and where a page's header is damaged it may do
anything. So its pages are gone through before, on the host. A header is a struct in Thrift's
compact protocol: https://parquet.apache.org/docs/file-format/data-pages.
"""

import mmap
import zlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

_HEADER_BYTES = 1024
"""More than the header of a page of numbers has."""

_BOOLS, _BYTE, _WHOLE_NUMBERS, _DOUBLE, _BINARY, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, 12
_COMPRESSED_SIZE, _CHECKSUM = 3, 4
"""Numbers of fields of a PageHeader."""


def are_sound(path: str, chunks: Iterable[pq.ColumnChunkMetaData]) -> bool:
    """Whether the headers of all pages of some columns can be read, and their checksums hold."""
    with (
        Path(path).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        try:
            return all(_is_sound(view, chunk) for chunk in chunks)
        except (IndexError, RecursionError):  # what is no header may lead anywhere
            return False


def _is_sound(content: memoryview, chunk: pq.ColumnChunkMetaData) -> bool:
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size
    while at < end:
        header = bytes(content[at : at + _HEADER_BYTES])
        fields, length = _read_header(header)
        size, checksum = fields.get(_COMPRESSED_SIZE, -1), fields.get(_CHECKSUM)
        start = at + length
        at = start + size
        if size < 0 or at > len(content):
            return False
        if checksum is not None and zlib.crc32(content[start:at]) != checksum % 2**32:
            return False
    return True


def _read_header(data: bytes) -> tuple[dict[int, int], int]:
    """Return the whole numbers of a struct, by the number of their field, and its length."""
    fields: dict[int, int] = {}
    at, field = 0, 0
    while data[at]:
        delta, kind = data[at] >> 4, data[at] & 15
        at += 1
        if delta:
            field += delta
        else:
            field, at = _signed(data, at)
        if kind in _WHOLE_NUMBERS:
            fields[field], at = _signed(data, at)
        else:
            at = _after(data, at, kind)
    return fields, at + 1


def _signed(data: bytes, at: int) -> tuple[int, int]:
    """Return a whole number, zigzag in groups of seven bits, and where it ends."""
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
    """Return where a value of a kind ends."""
    if kind in _BOOLS:  # of a field, it is in the kind
        return at
    if kind == _BYTE:
        return at + 1
    if kind in _WHOLE_NUMBERS:
        return _unsigned(data, at)[1]
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        length, at = _unsigned(data, at)
        return at + length
    if kind == _STRUCT:
        return at + _read_header(data[at:])[1]
    raise IndexError  # lists and maps are in no header
