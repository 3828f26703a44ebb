"""Rows counted by feature and bin; the same in any order of the rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.monitoring.reference import MISSING


@dataclass
class BinCounts:
    """Counts of rows by group of segments, feature and bin.

    Attributes
    ----------
    counts : int64 (g + 1, d, 257)
        In the order of `DriftReference.groups`; rows of all other segments are last. `MISSING` is
        the last bin.
    """

    counts: NDArray[np.int64]

    @classmethod
    def zeros(cls, n_groups: int, n_features: int) -> "BinCounts":
        """Return the counts of no rows, for so many groups besides the rows of no group."""
        return cls(np.zeros((n_groups + 1, n_features, MISSING + 1), np.int64))

    def total(self) -> NDArray[np.int64]:
        """Return the counts of all rows, int64 (d, 257)."""
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total

    def merge(self, other: "BinCounts") -> None:
        """Add the counts of other rows."""
        self.counts += other.counts
