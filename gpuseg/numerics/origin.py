"""Origins of columns whose values lie far from zero and close together.

float32 has 24 binary digits. Of values such as 1e10 + 5 they leave nothing below 1024, so that
different rows become equal. Therefore such a column is moved to its origin, the middle of its
range, before it becomes float32: ``x = float32(v - origin)``, subtracted in float64. There the
difference is exact, since v and the origin differ by less than a factor of two (Sterbenz, "Floating
point computation", 1974). Differences between rows stay the same, and with them every distance
that gpuseg measures, except for cosine and haversine.

All other columns keep their values: near zero, float32 has digits enough, and a logarithm needs
them relative to zero.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAR = 16
"""A column is far from zero if the middle of its range is this many half-ranges away from it. Below
that, rounding to float32 loses less than 2^-19 of the range."""


_ROWS_PER_BLOCK = 16_384
"""Rows moved at a time; their float64 values stay in the cache."""


@dataclass(frozen=True)
class ColumnRanges:
    """Ranges of columns, of some rows.

    Attributes
    ----------
    low, high : float64 (d,)
        Smallest and largest value; +inf and -inf if all are missing.
    is_exact : bool (d,)
        Whether float32 holds every value.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    is_exact: NDArray[np.bool_]

    @classmethod
    def of(cls, x: NDArray[np.float64]) -> "ColumnRanges":
        """Return the ranges of the columns of x (n, d); NaN is a missing value."""
        missing = np.isnan(x)
        with np.errstate(over="ignore", invalid="ignore"):
            is_exact = (x.astype(np.float32) == x) | missing
        return cls(
            np.where(missing, np.inf, x).min(axis=0, initial=np.inf),
            np.where(missing, -np.inf, x).max(axis=0, initial=-np.inf),
            is_exact.all(axis=0),
        )

    def merge(self, other: "ColumnRanges") -> "ColumnRanges":
        """Return the ranges of both sets of rows."""
        return replace(
            self,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            is_exact=self.is_exact & other.is_exact,
        )

    def are_far(self) -> NDArray[np.bool_]:
        """Return which columns are far from zero, bool (d,).

        If a column is far from zero, so is every part of its rows; a part without values counts.
        """
        low, high = self.low / 2, self.high / 2  # their sum cannot overflow
        with np.errstate(invalid="ignore", over="ignore"):  # infinite values
            middle, half = low + high, high - low
            far = (np.abs(middle) >= FAR * half) & np.isfinite(middle)
        return far | (self.low > self.high)

    def origins(self) -> NDArray[np.float64]:
        """Return the origin of each column, float64 (d,); 0 where values are kept."""
        moved = self.are_far() & ~self.is_exact & (self.low <= self.high)
        origins = np.zeros(len(moved))
        origins[moved] = self.low[moved] / 2 + self.high[moved] / 2
        return origins


def subtract_origin(x: NDArray[Any], origin: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return ``x - origin``, subtracted in float64, as float32 (n, d), C-order."""
    moved = np.empty(x.shape, np.float32)
    with np.errstate(over="ignore"):
        for start in range(0, len(x), _ROWS_PER_BLOCK):
            rows = slice(start, start + _ROWS_PER_BLOCK)
            moved[rows] = x[rows].astype(np.float64) - origin
    return moved
