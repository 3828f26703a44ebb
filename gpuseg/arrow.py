"""From Arrow to NumPy and back, for numbers and booleans, without pandas.

pyarrow imports pandas, where it is installed, at its first conversion of an array. That takes as
long as a small job, and no job needs it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def to_numpy(column: pa.Array) -> NDArray[Any]:
    """Return the values of a column without nulls, or of floats, where a null becomes NaN.

    Numbers without nulls are not copied. Values of other types are those of pyarrow's own method.
    """
    kind = column.type
    if pa.types.is_boolean(kind) and not column.null_count:
        return _bits(column, column.buffers()[1])
    is_float = pa.types.is_floating(kind)
    if not (is_float or (pa.types.is_integer(kind) and not column.null_count)):
        values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return values
    dtype = np.dtype(kind.to_pandas_dtype())
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


def _bits(column: pa.Array, buffer: pa.Buffer) -> NDArray[np.bool_]:
    stop = column.offset + len(column)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), count=stop, bitorder="little")
    return bits[column.offset :].view(bool)
