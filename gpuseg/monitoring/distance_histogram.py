"""Distances of each segment, counted in ranges whose widths grow with the distance."""

import numpy as np
from numpy.typing import NDArray

_DROPPED_BITS = 16
"""Lower bits of a float32 in which the values of a range differ: 128 ranges from 2^i to 2^(i+1)."""

_RANGES = 2 ** (31 - _DROPPED_BITS)
_INFINITE = 0x7F80
"""The range of infinity."""


class DistanceHistogram:
    """Rows by segment and range of distances; only ranges with rows take memory."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)  # rising
        self._counts = np.empty(0, np.int64)

    def add(self, position: NDArray[np.int64], distance: NDArray[np.float32]) -> None:
        """Count distances (n,), none negative or NaN, of segments at positions (n,)."""
        ranges = (distance + np.float32(0)).view(np.int32) >> _DROPPED_BITS
        keys, counts = np.unique(position * _RANGES + ranges, return_counts=True)
        self._add(keys, counts)

    def merge(self, other: "DistanceHistogram") -> None:
        """Add the counts of other rows."""
        self._add(other._keys, other._counts)

    def _add(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        both, inverse = np.unique(np.append(self._keys, keys), return_inverse=True)
        total = np.zeros(len(both), np.int64)
        np.add.at(total, inverse, np.append(self._counts, counts))
        self._keys, self._counts = both, total

    def far(
        self, sizes: NDArray[np.int64], per_rows: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the distance that at most one row in so many exceeds, and how many rows do.

        The distance is the least upper end of a range for which this holds.

        Parameters
        ----------
        sizes : int64 (k,)
            Rows of the segments.

        Returns
        -------
        distance : float32 (k,)
            Infinite without rows.
        far : int64 (k,)
        """
        segment = self._keys // _RANGES
        ends = np.searchsorted(segment, np.arange(len(sizes)), side="right")
        up_to = np.cumsum(self._counts)
        before = np.append(0, up_to)[np.searchsorted(segment, segment, side="left")]
        beyond = sizes[segment] - (up_to - before)  # rows of the segment in later ranges
        is_enough = beyond * per_rows <= sizes[segment]
        # From the first range on that is enough, all are; the last one of a segment always is.
        first = ends - np.bincount(segment[is_enough], minlength=len(sizes))
        distance, far = np.full(len(sizes), np.inf, np.float32), np.zeros(len(sizes), np.int64)
        has_rows = sizes > 0
        chosen = first[has_rows]
        distance[has_rows] = _upper_ends(self._keys[chosen] % _RANGES)
        far[has_rows] = beyond[chosen]
        return distance, far


def _upper_ends(ranges: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the largest value of each range."""
    bits = (ranges << _DROPPED_BITS) + 2**_DROPPED_BITS - 1
    return np.where(ranges < _INFINITE, bits, _INFINITE << _DROPPED_BITS).astype("i4").view("f4")
