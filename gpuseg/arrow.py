"""Types of Arrow, and from Arrow to NumPy and back, for numbers and booleans, without pandas.

pyarrow imports pandas, where it is installed, at its first conversion of an array. That takes as
long as a small job, and no job needs it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc

_EXACT_WHOLE = 2**53
"""Each whole number up to it is a float64."""

_EXACT_POWER = 22
"""Each power of ten up to this one is a float64."""

_EXACT_DIGITS = 15
"""Each whole number of so many digits is a float64."""

_USUAL_SCALE = 6
"""Digits after the point that most decimals do not exceed."""

_DECIMAL128_BITS = 128

_DTYPES: Mapping[int, np.dtype[Any]] = {
    kind.id: np.dtype(kind.to_pandas_dtype())
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
    )
}
"""The types of numbers, by the number of Arrow's type."""


def to_numpy(column: pa.Array) -> NDArray[Any]:
    """Return the values of a column without nulls, or of floats, where a null becomes NaN.

    Numbers without nulls are not copied. Values of other types are those of pyarrow's own method.
    """
    kind = column.type
    dtype = _DTYPES.get(kind.id)
    if dtype is None and pa.types.is_boolean(kind) and not column.null_count:
        return _bits(column, column.buffers()[1])
    if dtype is None or (dtype.kind != "f" and column.null_count):
        values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return values
    validity, data = column.buffers()
    offset = column.offset * dtype.itemsize
    values = np.frombuffer(data, dtype, len(column), offset) if data else np.empty(0, dtype)
    if column.null_count:
        values = np.where(_bits(column, validity), values, dtype.type(np.nan))
    return values


def from_numpy(values: NDArray[Any]) -> pa.Array:
    """Return numbers or booleans (n,) as a column without nulls."""
    if values.dtype == bool:
        kind, data = pa.bool_(), np.packbits(values, bitorder="little")
    else:
        kind, data = pa.from_numpy_dtype(values.dtype), np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])


def decimals_to_numpy(column: pa.Array) -> NDArray[np.float64]:
    """Return decimals as the nearest float64, NaN for null.

    Arrow multiplies by a power of ten that is rounded itself, so that its 10.95 is not that of a
    text or of a database. The quotient of two whole numbers that float64 holds is rounded once.
    """
    kind = column.type
    dtype = np.dtype(np.int32 if kind.bit_width == 32 else np.int64)
    per_value = kind.bit_width // (8 * dtype.itemsize)
    validity, data = column.buffers()
    count, offset = len(column) * per_value, column.offset * kind.bit_width // 8
    words = np.frombuffer(data, dtype, count, offset).reshape(-1, per_value)  # the lowest first
    power = 10.0 ** min(abs(kind.scale), _EXACT_POWER)
    values: NDArray[np.float64] = words[:, 0] / power if kind.scale > 0 else words[:, 0] * power
    is_valid = _bits(column, validity) if column.null_count else np.ones(1, bool)
    if column.null_count:
        values[~is_valid] = np.nan
    if kind.precision > _EXACT_DIGITS or abs(kind.scale) > _EXACT_POWER:
        others = np.flatnonzero(is_valid & ~_are_exact(words, kind.scale))
        values[others] = _from_many_digits(column.take(from_numpy(others)))
    return values


def _from_many_digits(column: pa.Array) -> NDArray[np.float64]:
    """Return decimals without nulls as the nearest float64.

    Most have few digits and many zeros, as 10.95 in Spark's decimal(38, 18); to read the others as
    text takes 20 times as long.
    """
    kind, values = column.type, np.empty(len(column))
    is_long = np.ones(len(column), bool)
    digits = kind.precision - kind.scale + _USUAL_SCALE
    if kind.scale > _USUAL_SCALE and digits > 0 and kind.bit_width >= _DECIMAL128_BITS:
        of_width = pa.decimal128 if kind.bit_width == _DECIMAL128_BITS else pa.decimal256
        short = column.cast(of_width(digits, _USUAL_SCALE), safe=False)
        is_long = to_numpy(pc.not_equal(short.cast(kind), column))
        values[~is_long] = decimals_to_numpy(short.filter(from_numpy(~is_long)))
    if is_long.any():
        text = column.filter(from_numpy(is_long)).cast(pa.string())
        values[is_long] = to_numpy(text.cast(pa.float64()))
    return values


def _are_exact(words: NDArray[Any], scale: int) -> NDArray[np.bool_]:
    """Return which whole numbers (n, words of each) float64 holds, and none if not the power."""
    whole = words[:, 0]
    are_exact: NDArray[np.bool_] = (whole >= -_EXACT_WHOLE) & (whole <= _EXACT_WHOLE)
    for word in words.T[1:]:
        are_exact &= word == whole >> 63
    return are_exact & (abs(scale) <= _EXACT_POWER)


def first_invalid(read: Callable[[pa.Array], Any], values: pa.Array) -> int:
    """Return the first position whose value `read` refuses as ArrowInvalid, by bisection.

    It is the length of the values if none is refused.
    """
    if not _refuses(read, values):
        return len(values)
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if _refuses(read, values[low:middle]):
            high = middle
        else:
            low = middle
    return low


def _refuses(read: Callable[[pa.Array], Any], values: pa.Array) -> bool:
    try:
        read(values)
    except pa.ArrowInvalid:
        return True
    return False


def without_views(column: pa.Array) -> pa.Array:
    """Return a column whose type Arrow can filter and take: plain text or bytes for view types."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return without_views(column.storage) if _is_view(kind.storage_type) else column
    if pa.types.is_dictionary(kind) and _is_view(kind.value_type):
        values = without_views(column.dictionary)
        return pa.DictionaryArray.from_arrays(column.indices, values)
    if pa.types.is_run_end_encoded(kind):
        return without_views(column.values).take(from_numpy(_run_of_row(column)))
    if pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column.cast(pa.binary()) if pa.types.is_binary_view(kind) else column


def plain(column: pa.Array) -> pa.Array:
    """Return the values of a column in a type for which Arrow has all functions.

    Extension types become their storage, views plain text or bytes, and short decimals those of
    128 bits. Dictionaries stay.
    """
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    column = without_views(column)
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = plain(column.dictionary)
        if values.type != kind.value_type:
            column = pa.DictionaryArray.from_arrays(column.indices, values)
    elif pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        column = column.cast(pa.decimal128(kind.precision, kind.scale))
    return column


def has_known_zone(kind: pa.DataType) -> bool:
    """Return whether Arrow knows the time zone of a type, if it has one."""
    kind = getattr(kind, "storage_type", kind)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_timestamp(kind) and kind.tz):
        return True
    try:
        pa.array([0], kind).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _run_of_row(column: pa.RunEndEncodedArray) -> NDArray[np.int64]:
    """Return the number of the run of each row."""
    ends = np.asarray(column.run_ends)
    rows: NDArray[np.int64] = np.arange(column.offset, column.offset + len(column))
    return np.searchsorted(ends, rows, side="right").astype(np.int64)


def aligned(table: pa.Table) -> pa.Table:
    """Return a copy of a table whose buffers begin where Arrow's own would.

    A message of several buffers is received as one piece of memory, so that the buffers in it begin
    anywhere. Some functions of Arrow then print a warning, or would be slow.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _bits(column: pa.Array, buffer: pa.Buffer) -> NDArray[np.bool_]:
    stop = column.offset + len(column)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), count=stop, bitorder="little")
    return bits[column.offset :].view(bool)


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column has text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    t = pa.types
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))
