"""Rows of hashed keys: what a platform compares, and what is written."""

from collections.abc import Mapping
from hashlib import sha256

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, to_numpy
from gpuseg.audience.normalize import TEXT
from gpuseg.audience.platforms import ACCOUNT, ADDRESS, ContactKey, Platform

_DIGITS = 64
"""Hexadecimal digits of a hash."""

_HASH = rf"\A[0-9a-f]{{{_DIGITS}}}\z"
_PLAIN = r"\A[0-9A-Za-z][0-9A-Za-z -]{0,11}\z"

_CHUNK = 2**16
"""Texts that are hashed at a time."""

_SORTED_DIGITS = 16
"""Digits by which rows are sorted: of a billion hashes, no two are likely to share them."""


def sha256_hex(text: pa.Array) -> pa.Array:
    """Return the SHA-256 of each text in UTF-8, as hexadecimal digits; null stays null."""
    values, digits = pc.cast(text.drop_null(), pa.large_binary()), bytearray()
    for start in range(0, len(values), _CHUNK):  # objects of Python take several times the memory
        some = values[start : start + _CHUNK].to_pylist()
        digits += b"".join([sha256(value).digest() for value in some]).hex().encode()
    ends = np.arange(len(values) + 1, dtype=np.int64) * _DIGITS
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(digits)]
    hashes = pa.Array.from_buffers(TEXT, len(values), buffers)
    if not text.null_count:
        return hashes
    is_valid = to_numpy(text.is_valid())
    return hashes.take(pa.array(np.cumsum(is_valid) - 1, mask=~is_valid))


def hashed(keys: Mapping[ContactKey, pa.Array], platform: Platform) -> pa.Table:
    """Return the keys as they are written; a key that is written plain stays as it is."""
    columns = {
        key: text if key in platform.plain else sha256_hex(text) for key, text in keys.items()
    }
    return pa.table(columns)


def are_written(values: pa.ChunkedArray, key: ContactKey, platform: Platform) -> bool:
    """Return whether all values look like those of a key that `hashed` returns."""
    pattern = _PLAIN if key in platform.plain else _HASH
    return bool(pc.all(pc.match_substring_regex(values.drop_null(), pattern), min_count=0).as_py())


def usable(rows: pa.Table, platform: Platform) -> pa.Array:
    """Return which rows tell the platform a person, bool (n,)."""
    has = {ContactKey(name): pc.is_valid(rows[name]) for name in rows.column_names}
    tells = [has[key] for key in ACCOUNT if key in has]
    if platform.finds_addresses and set(ADDRESS) <= has.keys():
        address = has[ADDRESS[0]]
        for key in ADDRESS[1:]:
            address = pc.and_(address, has[key])
        tells.append(address)
    result = tells[0]
    for one in tells[1:]:
        result = pc.or_(result, one)
    return result


def sorted_rows(rows: pa.Table) -> pa.Table:
    """Return each row once, in the order of its values.

    So the order of the table of contacts, which may tell who came first, is not in the file.
    """
    rows = rows.combine_chunks()
    order = np.lexsort([_order_of(rows[name]) for name in reversed(rows.column_names)])
    rows = rows.take(from_numpy(order)).combine_chunks()
    is_again = np.zeros(len(rows), bool)
    is_again[1:] = True
    for column in rows.columns if len(rows) else ():
        values = pc.fill_null(column.chunk(0), "")
        is_again[1:] &= to_numpy(pc.equal(values[1:], values[:-1]))
    return rows.filter(from_numpy(~is_again))


def _order_of(column: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Return bytes that rise with the values: Arrow takes ten times as long to sort text."""
    first = pc.utf8_slice_codeunits(pc.fill_null(column, ""), 0, _SORTED_DIGITS)
    padded = pc.cast(pc.utf8_rpad(first, _SORTED_DIGITS), pa.binary(_SORTED_DIGITS))
    content = padded.combine_chunks()
    if not len(content):
        return np.empty(0, "S1")
    return np.frombuffer(content.buffers()[1], f"S{_SORTED_DIGITS}", len(content))


def without_current(rows: pa.Table, current: pa.Table, platform: Platform) -> pa.Table:
    """Return rows without the keys of people who are in the audience now.

    A platform removes whoever has one of the keys, so a key that two customers share would take
    out the one who stays.
    """
    for key in ACCOUNT:
        if key in rows.column_names:
            stays = pc.is_in(rows[key], value_set=current[key])
            values = pc.if_else(stays, pa.scalar(None, TEXT), rows[key])
            rows = rows.set_column(rows.column_names.index(key), key, values)
    if platform.finds_addresses and set(ADDRESS) <= {*rows.column_names}:
        stays = pc.is_in(_addresses(rows), value_set=_addresses(current).drop_null())
        for key in ADDRESS:
            values = pc.if_else(stays, pa.scalar(None, TEXT), rows[key])
            rows = rows.set_column(rows.column_names.index(key), key, values)
    return rows.filter(usable(rows, platform))


def _addresses(rows: pa.Table) -> pa.ChunkedArray:
    """Return the keys of an address as one text; null where one is missing: it tells nobody."""
    return pc.binary_join_element_wise(*(rows[key] for key in ADDRESS), pa.scalar("\n", TEXT))
