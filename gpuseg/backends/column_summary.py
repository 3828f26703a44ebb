"""Summary of the columns of some rows, made in one pass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.moments import Moments

NO_ROW = np.iinfo(np.int64).max
"""The value of `ColumnSummary.firsts` if there is no such row."""

KINDS = ("missing", "infinite", "outside")
"""Kinds of values that statistics exclude: NaN, infinite, outside the domain of the transform."""


@dataclass
class ColumnSummary:
    """Summary of the columns of some rows; merging in any order gives the same bits.

    Attributes
    ----------
    rows : int
        Number of rows.
    counts : int64 (3, d)
        Number of values of each of `KINDS`, for each feature.
    firsts : int64 (3, d)
        The first row with such a value; `NO_ROW` if there is none.
    minimum, maximum : float64 (d,)
        Of the remaining values after the transform; +inf and -inf if there are none.
    moments : Moments
        Exact sums of the remaining values after the transform, and of their squares.
    """

    rows: int
    counts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    moments: Moments

    @classmethod
    def empty(cls, n_features: int) -> "ColumnSummary":
        """Return the summary of no rows."""
        shape = (len(KINDS), n_features)
        lowest, highest = np.full(n_features, np.inf), np.full(n_features, -np.inf)
        counts, firsts = np.zeros(shape, np.int64), np.full(shape, NO_ROW, np.int64)
        return cls(0, counts, firsts, lowest, highest, Moments.zeros(n_features))

    def merge(self, other: "ColumnSummary") -> "ColumnSummary":
        """Return the summary of both sets of rows together."""
        return ColumnSummary(
            self.rows + other.rows,
            self.counts + other.counts,
            np.minimum(self.firsts, other.firsts),
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.moments.merge(other.moments),
        )

    def take(self, features: NDArray[np.int64]) -> "ColumnSummary":
        """Return the summary of some of the columns."""
        return ColumnSummary(
            self.rows,
            self.counts[:, features],
            self.firsts[:, features],
            self.minimum[features],
            self.maximum[features],
            self.moments.take(features),
        )

    def valid(self) -> NDArray[np.int64]:
        """Return the number of values of each feature in the moments, int64 (d,)."""
        valid: NDArray[np.int64] = self.rows - self.counts.sum(axis=0)
        return valid
