"""Inertia and sizes of the clusters, for several runs in one call."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.kmeans.centroid_scores import TILE
from gpuseg.backends.numba.kmeans.exact_distances import label_distances
from gpuseg.backends.numba.kmeans.iterate import pack
from gpuseg.backends.numba.kmeans.nearest_center import label_tile, new_scratch


@kernel
def assignment_sums(
    x: NDArray[np.float32],
    weight: NDArray[np.float64],
    values: NDArray[np.float64],
    shift: NDArray[np.float32],
    grids: NDArray[np.float64],
    parts: NDArray[np.float64],
    sizes: NDArray[np.int64],
) -> None:
    """Add the terms w·d² of each run to its parts on the grids, and count the rows.

    Parameters
    ----------
    x : float32 (n·d,)
    weight : float64 (n,)
        Empty means ones.
    values : float64 (runs, k, d)
    grids, parts : float64 (runs, levels)
    sizes : int64 (runs, k)
    """
    d = shift.size
    n_rows, scratch = x.size // d, new_scratch(d)
    offsets, labels, squares = scratch.offsets, scratch.labels, np.empty(TILE)
    for run in range(len(values)):
        packed = pack(values[run], shift)
        for start in range(0, n_rows, TILE):
            count = min(TILE, n_rows - start)
            for i in range(TILE):
                offsets[i] = (start + min(i, count - 1)) * d
            label_tile(x, count, packed, scratch)
            label_distances(x, offsets, count, packed.exact, labels, squares)
            for i in range(count):
                term = squares[i] if weight.size == 0 else weight[start + i] * squares[i]
                for level in range(grids.shape[1]):
                    part = (term + grids[run, level]) - grids[run, level]
                    parts[run, level] += part
                    term -= part
                sizes[run, labels[i]] += 1
