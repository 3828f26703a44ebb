"""The one rule for numbers that become float32: integers go by way of float64.

A column of integers that has gaps is float64 before it is anything else, in Arrow and in pandas.
So integers are always rounded twice, first to float64, then to float32: the result does not depend
on whether other rows have gaps, or on how the rows reach gpuseg. Rounding once gives other bits
only beyond 2^53: 2^54 + 2^30 + 1 becomes 2^54 + 2^31 directly, and 2^54 by way of float64.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS_PER_BLOCK = 16_384
"""Rows converted at a time; their float64 values stay in the cache."""

_BLOCK_BYTES = 2**18
"""Of rows that columns are written into: they stay in the cache until they are full."""


def as_floats(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as floating-point numbers: floats as they are, all others as float64."""
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return an array as float32, C-order, of the same shape; beyond float32 is infinite.

    A C-order float32 array is returned as it is.
    """
    with np.errstate(over="ignore"):
        if values.dtype.kind == "f" or values.ndim == 0:
            return np.asarray(as_floats(values), dtype=np.float32, order="C")
        result = np.empty(values.shape, np.float32)
        for start in range(0, len(values), _ROWS_PER_BLOCK):
            rows = slice(start, start + _ROWS_PER_BLOCK)
            result[rows] = as_floats(values[rows])
    return result


def write_columns(rows: NDArray[np.float32], columns: Sequence[tuple[int, NDArray[Any]]]) -> None:
    """Write the values (n,) of columns, each with its number, into rows (n, d).

    A column at a time would fetch each row from memory again: 64 columns take three times as long.
    """
    n_rows = max(_BLOCK_BYTES // max(rows.shape[1] * rows.itemsize, 1), 1)
    for start in range(0, len(rows), n_rows):
        block = slice(start, start + n_rows)
        for number, values in columns:
            rows[block, number] = values[block]
