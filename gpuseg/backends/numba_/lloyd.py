"""One Lloyd iteration on a block: assign and accumulate while a tile of rows is in the cache.

x is read once, no n×k matrix and no labels are written. The term of a row in the sum of its
centre is w·(x - shift), in float64, rounded to the grid: (v + M) - M. This kernel is compiled
without fast-math, which would cancel M.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba_.distance import TILE, label_tile


@njit(nogil=True, cache=True)
def lloyd(
    x: NDArray[np.float32],
    weight: NDArray[np.float64],
    exact: NDArray[np.float64],
    shift: NDArray[np.float32],
    rounded: NDArray[np.float32],
    half_norms: NDArray[np.float32],
    largest_norm: np.float32,
    sum_grid: NDArray[np.float64],
    weight_grid: float,
    sums: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> None:
    """Add the rows of the block to sums (k, d) and weights (k,); empty `weight` means ones."""
    tile = np.zeros((rounded.shape[1], TILE), np.float32)
    work = np.empty((5, TILE), np.float32)
    labels = np.empty(TILE, np.int32)
    weighted = weight.size > 0
    for start in range(0, x.shape[0], TILE):
        rows = min(TILE, x.shape[0] - start)
        label_tile(
            x, start, rows, exact, shift, rounded, half_norms, largest_norm, tile, work, labels
        )
        for i in range(rows):
            w = weight[start + i] if weighted else 1.0
            k = labels[i]
            weights[k] += (w + weight_grid) - weight_grid
            for f in range(x.shape[1]):
                term = w * (np.float64(x[start + i, f]) - np.float64(shift[f]))
                sums[k, f] += (term + sum_grid[f]) - sum_grid[f]
