"""Kernels that find the bin of each value among 256, and count the rows of each bin.

A search takes two steps of one or two vector comparisons: of a value with 15 of the edges, and then
with the 16 edges from one of these to the next. No branch depends on the values.
"""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.float32 import EDGES, count_below

_PER_FEATURE = EDGES + EDGES * EDGES
"""Values of the table for a feature."""

_MISSING = EDGES * EDGES


def edge_table(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return every 16th edge of a feature and then all, for each feature, flat.

    Parameters
    ----------
    edges : float32 (d, 255)
        Infinity is added in the last places: no value is above it.
    """
    table = np.full((len(edges), _PER_FEATURE), np.inf, np.float32)
    table[:, : EDGES - 1] = edges[:, EDGES - 1 :: EDGES]
    table[:, EDGES:-1] = edges
    return table.reshape(-1)


@kernel
def bin_rows(x: NDArray[np.float32], table: NDArray[np.float32], bins: NDArray[np.uint16]) -> None:
    """Write the bins of rows; x and bins are flat."""
    at = 0
    for i in range(x.size):
        value = x[i]
        first = EDGES * count_below(table, at, value)
        place = first + count_below(table, at + EDGES + first, value)
        bins[i] = np.uint16(_MISSING) if np.isnan(value) else np.uint16(place)
        at += _PER_FEATURE
        if at == table.size:
            at = 0


@kernel
def count_bins(
    bins: NDArray[np.uint16], group: NDArray[np.int32], counts: NDArray[np.int64]
) -> None:
    """Add the rows of each group to its counts of bins, (n_groups, d, 257)."""
    for row in range(bins.shape[0]):
        g = group[row]
        for f in range(bins.shape[1]):
            counts[g, f, bins[row, f]] += 1
