"""One Lloyd iteration on a block: assign and accumulate while a tile of rows is in the cache.

x is read once, no n×k matrix and no labels are written. The term of a row in the sum of its
centre is w·(x - shift), in float64, rounded to the grid: (v + M) - M; with weights, what that
rounds off goes to a second, finer grid. This kernel is compiled without fast-math, which would
cancel M.
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
    weight_grid: NDArray[np.float64],
    sums: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> None:
    """Add the rows of the block to sums (levels, k, d) and weights (levels, k).

    Empty `weight` means ones, and one level; otherwise there are two.
    """
    tile = np.zeros((rounded.shape[1], TILE), np.float32)
    work = np.empty((5, TILE), np.float32)
    labels = np.empty(TILE, np.int32)
    weighted = weight.size > 0
    wide_shift = shift.astype(np.float64)
    grid = sum_grid[0]
    for start in range(0, x.shape[0], TILE):
        rows = min(TILE, x.shape[0] - start)
        label_tile(
            x, start, rows, exact, shift, rounded, half_norms, largest_norm, tile, work, labels
        )
        for i in range(rows):
            w = weight[start + i] if weighted else 1.0
            k = labels[i]
            part = (w + weight_grid[0]) - weight_grid[0]
            weights[0, k] += part
            row, total = x[start + i], sums[0, k]
            if not weighted:
                for f in range(x.shape[1]):
                    total[f] += ((np.float64(row[f]) - wide_shift[f]) + grid[f]) - grid[f]
                continue
            weights[1, k] += ((w - part) + weight_grid[1]) - weight_grid[1]
            for f in range(x.shape[1]):
                term = w * (np.float64(row[f]) - wide_shift[f])
                coarse = (term + grid[f]) - grid[f]
                total[f] += coarse
                sums[1, k, f] += ((term - coarse) + sum_grid[1, f]) - sum_grid[1, f]
