"""One Lloyd iteration on a block; reads only rows that may have another nearest center.

A row's slack is a lower bound of its gap when it was last scored, plus the drift of its label
then; the gap is how much farther any other center was than the nearest one. Drift grows with
every iteration by how far the nearest center and any other may have come together, so a row with
slack above its label's drift keeps its label: the triangle inequality (Hamerly, "Making k-means
even faster", SDM 2010, with both of its bounds in one number).

Rows that fail this test are collected until they fill a tile, and are prefetched meanwhile. The
result is the change of the sums, and a row that keeps its label changes nothing. As sums on the
grid are exact, the changed sums are the sums computed again, bit for bit.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.kmeans.accumulate import GridSums, WeightedRows, add_rows
from gpuseg.backends.numba.kmeans.centroid_scores import TILE
from gpuseg.backends.numba.kmeans.nearest_center import label_tile, new_scratch
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    broadcast,
    load,
    lowest_bit,
    not_gt_mask,
    prefetch,
)
from gpuseg.backends.types import PackedCenters

ROUNDING = np.float32(2.0**-21)

CACHE_LINE = 16
"""float32 values per cache line."""


class BoundArrays(NamedTuple):
    """The arrays of `RowBounds`."""

    label: NDArray[np.int32]
    slack: NDArray[np.float32]
    drift: NDArray[np.float32]
    fresh: bool


@uncounted
def failing_rows(
    bounds: BoundArrays,
    start: int,
    stop: int,
    max_drift: np.float32,
    rows: NDArray[np.int64],
    n_waiting: int,
) -> int:
    """Append the rows from start to stop that may have another nearest center.

    Most rows pass by a comparison of their slack, a register at a time, with the largest
    drift of all. Returns how many rows are waiting now.
    """
    label, slack, drift, fresh = bounds
    if fresh or stop - start < TILE:
        for i in range(start, stop):
            rows[n_waiting] = i
            n_waiting += fresh or not slack[i] > drift[label[i]]
        return n_waiting
    for first in range(start, stop, LANES):
        bits = not_gt_mask(load(slack, first), broadcast(max_drift))
        while bits:
            i = first + lowest_bit(bits)
            rows[n_waiting] = i
            n_waiting += not slack[i] > drift[label[i]]
            bits &= bits - 1
    return n_waiting


@kernel
def lloyd(
    x: NDArray[np.float32],
    weight: NDArray[np.float64],
    centers: PackedCenters,
    grids: GridSums,
    bounds: BoundArrays,
    totals: GridSums,
) -> int:
    """Update labels and slack, and add the change to the totals.

    x is flat; empty `weight` means ones. With fresh bounds every row is scored and enters the
    sums. Returns the number of scored rows.
    """
    label, slack, drift, fresh = bounds
    shift, d = centers.shift, centers.shift.size
    scratch = new_scratch(d)
    offsets, labels, gaps = scratch.offsets, scratch.labels, scratch.gaps
    rows = np.empty(2 * TILE, np.int64)
    moved_offsets, moved_weight = np.empty(TILE, np.int64), np.empty(TILE)
    left_label, joined_label = np.empty(TILE, np.int32), np.empty(TILE, np.int32)
    left = WeightedRows(moved_offsets, moved_weight, left_label)
    joined = WeightedRows(moved_offsets, moved_weight, joined_label)
    max_drift = drift.max()
    n_waiting = n_scored = 0
    for start in range(0, label.size, TILE):
        stop, n_before = min(start + TILE, label.size), n_waiting
        n_waiting = failing_rows(bounds, start, stop, max_drift, rows, n_waiting)
        for i in range(n_before, n_waiting):
            for f in range(0, d, CACHE_LINE):
                prefetch(x, rows[i] * d + f)
        while n_waiting >= TILE or (n_waiting > 0 and stop == label.size):
            count = min(n_waiting, TILE)
            for i in range(count, TILE):
                rows[i] = rows[count - 1]
            for i in range(TILE):
                offsets[i] = rows[i] * d
            label_tile(x, count, centers, scratch)
            n_moved = 0
            for i in range(count):
                row, new, gap = rows[i], labels[i], gaps[i]
                # Both terms are rounded to nearest, and drift was rounded up before.
                slack[row] = gap + drift[new] - ROUNDING * (abs(gap) + drift[new])
                if fresh or label[row] != new:
                    moved_offsets[n_moved] = offsets[i]
                    moved_weight[n_moved] = weight[row] if weight.size > 0 else 1.0
                    left_label[n_moved], joined_label[n_moved] = label[row], new
                    n_moved += 1
                    label[row] = new
            if n_moved:
                add_rows(x, joined, n_moved, 1.0, shift, grids, totals)
                if not fresh:
                    add_rows(x, left, n_moved, -1.0, shift, grids, totals)
            n_scored += count
            n_waiting -= count
            for i in range(n_waiting):
                rows[i] = rows[count + i]
    return n_scored
