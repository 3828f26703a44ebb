"""What one pass tells about the columns of some rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.moments import Moments

NO_ROW = np.iinfo(np.int64).max
"""Stands for "no such row" where the first of something is asked for."""

KINDS = ("missing", "infinite", "outside")
"""Values that no statistic counts: NaN, infinite, outside the domain of the transform."""


@dataclass
class ColumnSummary:
    """What one pass tells about the columns of some rows; merged in any order, same bits.

    Attributes
    ----------
    rows : int
        Number of rows seen.
    counts : int64 (3, d)
        How many values of each of `KINDS` each feature has.
    firsts : int64 (3, d)
        The first row of each kind, `NO_ROW` where there is none.
    minimum, maximum : float64 (d,)
        Of the remaining values after the transform; +inf and -inf where there is none.
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
        """Return how many values of each feature the moments are made of, int64 (d,)."""
        valid: NDArray[np.int64] = self.rows - self.counts.sum(axis=0)
        return valid
