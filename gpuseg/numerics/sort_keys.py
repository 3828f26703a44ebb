"""Sort keys: unsigned integers in the order of float values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def float32_from_keys(keys: NDArray[Any]) -> NDArray[np.float32]:
    """Return the float32 values that have these sort keys, see `Backend.key_histogram`."""
    bits = keys.astype(np.uint32)
    positive = bits >> np.uint32(31) == 1
    return np.where(positive, bits ^ np.uint32(0x80000000), ~bits).view(np.float32)


def float64_keys(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the sort keys of float64 values without NaN; −0 has the key of 0."""
    bits = (values + 0.0).view(np.uint64)
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)


def float64_from_keys(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the float64 values that have these sort keys."""
    sign = np.uint64(1 << 63)
    return np.where(keys & sign, keys ^ sign, ~keys).view(np.float64)


def sorted_rows(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the rows in the order of their values (m,), those of equal values by their number.

    It is a stable argsort. NumPy sorts numbers faster than it sorts rows by them, so key and row
    are one number.
    """
    bits = (values + np.float32(0)).view(np.uint32)  # −0 + 0 = 0
    sign = np.uint32(0x80000000)
    keys = np.where(bits & sign, ~bits, bits | sign).astype(np.uint64)
    pairs = keys << np.uint64(32) | np.arange(len(values), dtype=np.uint64)
    pairs.sort()
    return pairs.astype(np.uint32).astype(np.int32)
