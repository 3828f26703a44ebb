"""Rows counted by feature and bin; the same in any order of the rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.backend import Backend
from gpuseg.monitoring.reference import MISSING

_HOST_VALUES, _DEVICE_VALUES = 2**19, 2**26
"""Values whose bins are in memory at a time: 1 MiB, which caches hold, and 128 MiB of a device."""


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

    def add(self, bins: Any, group: NDArray[np.int32], backend: Backend) -> None:
        """Count more rows.

        Parameters
        ----------
        bins : uint16 (n, d)
            From `BinKernels.bin_rows`.
        group : int32 (n,)
            Positions in `DriftReference.groups`; g for rows of other segments.
        backend : Backend
        """
        backend.count_bins(bins, group, self.counts)

    def add_rows(
        self, x: Any, edges: NDArray[np.float32], group: NDArray[np.int32], backend: Backend
    ) -> None:
        """Count more rows by their values, float32 (n, d), some at a time."""
        n_values = _HOST_VALUES if isinstance(x, np.ndarray) else _DEVICE_VALUES
        step = max(n_values // max(x.shape[1], 1), 1)
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            self.add(backend.bin_rows(x[rows], edges), group[rows], backend)

    def total(self) -> NDArray[np.int64]:
        """Return the counts of all rows, int64 (d, 257)."""
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total

    def merge(self, other: "BinCounts") -> None:
        """Add the counts of other rows."""
        self.counts += other.counts
