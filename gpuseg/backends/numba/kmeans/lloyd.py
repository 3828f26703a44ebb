"""One Lloyd iteration on a block: only the rows that may have another nearest centre are read.

A row's slack bounds from below by how much its own centre was nearer than any other when it
was last looked at, plus the drift of its label then. Drift grows with every iteration by how
far the own centre and any other may have come together, so a row whose slack is still above
its label's drift keeps its label: the triangle inequality (Hamerly, "Making k-means even
faster", SDM 2010, with both of its bounds in one number).

Rows that fail wait until they fill a tile, and are fetched meanwhile. What is returned is the
change of the sums, and a row that keeps its label changes nothing. As sums on the grid are
exact, the sums changed are the sums computed anew, bit for bit.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.kmeans.accumulate import add_rows
from gpuseg.backends.numba.kmeans.centroid_scores import TILE
from gpuseg.backends.numba.kmeans.nearest_center import label_tile, tile_space
from gpuseg.backends.numba.simd.float32 import LANES, every, load, lowest_bit, not_above, prefetch

ROUNDING = np.float32(2.0**-21)

CACHE_LINE = 16
"""float32 values in a line of the cache."""


@njit(nogil=True, cache=True)
def failing_rows(
    fresh: bool,
    start: int,
    stop: int,
    label: NDArray[np.int32],
    slack: NDArray[np.float32],
    drift: NDArray[np.float32],
    most_drift: np.float32,
    rows: NDArray[np.int64],
    waiting: int,
) -> int:
    """Append the rows from start to stop that may have another nearest centre.

    Most rows are done with by comparing their slack, a register at a time, with the largest
    drift of all. Returns how many rows are waiting now.
    """
    if fresh or stop - start < TILE:
        for i in range(start, stop):
            rows[waiting] = i
            waiting += fresh or not slack[i] > drift[label[i]]
        return waiting
    for first in range(start, stop, LANES):
        bits = not_above(load(slack, first), every(most_drift))
        while bits:
            i = first + lowest_bit(bits)
            rows[waiting] = i
            waiting += not slack[i] > drift[label[i]]
            bits &= bits - 1
    return waiting


@njit(nogil=True, cache=True)
def lloyd(
    x: NDArray[np.float32],
    weight: NDArray[np.float64],
    exact: NDArray[np.float64],
    shift: NDArray[np.float32],
    negated: NDArray[np.float32],
    half_norms: NDArray[np.float32],
    largest_norm: np.float32,
    sum_grid: NDArray[np.float64],
    weight_grid: NDArray[np.float64],
    fresh: bool,
    drift: NDArray[np.float32],
    label: NDArray[np.int32],
    slack: NDArray[np.float32],
    sums: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> int:
    """Bring label and slack up to date and add the change to sums and weights.

    x is flat; empty `weight` means ones. With `fresh` nothing is known yet: every row is
    looked at and enters the sums. Returns the number of rows looked at.
    """
    d = shift.size
    tile, work, places, found, gaps = tile_space(d)
    rows, moving, heavy = np.empty(2 * TILE, np.int64), np.empty(TILE, np.int64), np.empty(TILE)
    left, joined = np.empty(TILE, np.int32), np.empty(TILE, np.int32)
    grids, totals = (sum_grid, weight_grid), (sums, weights)
    most_drift = drift.max()
    waiting = looked_at = 0
    for start in range(0, label.size, TILE):
        stop, before = min(start + TILE, label.size), waiting
        waiting = failing_rows(fresh, start, stop, label, slack, drift, most_drift, rows, waiting)
        for i in range(before, waiting):
            for f in range(0, d, CACHE_LINE):
                prefetch(x, rows[i] * d + f)
        while waiting >= TILE or (waiting > 0 and stop == label.size):
            count = min(waiting, TILE)
            for i in range(TILE):
                places[i] = rows[min(i, count - 1)] * d
            label_tile(
                x, places, count,
                exact, shift, negated, half_norms, largest_norm, tile, work, found, gaps,
            )  # fmt: skip
            moved = 0
            for i in range(count):
                row, new = rows[i], found[i]
                # Both terms are rounded to nearest, and drift was rounded up before.
                slack[row] = gaps[i] + drift[new] - ROUNDING * (abs(gaps[i]) + drift[new])
                if fresh or label[row] != new:
                    moving[moved] = places[i]
                    heavy[moved] = weight[row] if weight.size > 0 else 1.0
                    left[moved], joined[moved] = label[row], new
                    moved += 1
                    label[row] = new
            if moved:
                add_rows(x, moving, moved, 1.0, heavy, joined, shift, grids, totals)
                if not fresh:
                    add_rows(x, moving, moved, -1.0, heavy, left, shift, grids, totals)
            looked_at += count
            waiting -= count
            for i in range(waiting):
                rows[i] = rows[count + i]
    return looked_at
