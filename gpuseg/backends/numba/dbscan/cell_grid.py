"""A grid of cells for rows of one or two features; the rows of a cell are neighbors.

Gunawan, "A faster algorithm for DBSCAN", TU Eindhoven 2013: cells have a diameter of eps, so the
rows of a cell are neighbors of each other, and all neighbors of a row are in a few cells around
its own. The cells of a line are consecutive in memory, so the cells to the left and right of a
cell are one run of rows. Rows are compared in float64, as `numerics.eps_bounds` defines it.

A row's cell is floor((x - low)·(1/side)), with a side shorter by 2^-20 than the diameter allows.
The product is less than 2^29, and its error less than 2^-22 (three roundings). So rows of one cell
are within eps in spite of rounding, and cells of rows within eps differ by at most `radius`.

Rows are sorted by cell as in one pass of a parallel radix sort (Zagha and Blelloch, "Radix sort
for vector multiprocessors", SC 1991):

1. Count the rows of each part of the data in each cell.
2. Sum up the counts over cells, and over parts within a cell: this gives the first position of
   each part's rows in each cell.
3. Write the rows of each part to their positions, in their order.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.float32 import LANES
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.distance_metrics import MAXIMUM
from gpuseg.numerics.eps_bounds import EpsBounds, bounding_box, distance_of

_SIDE_FACTOR = 1 - 2.0**-20
_DIAMETER = {2: 2 ** (1 / 2), 1: 2.0, MAXIMUM: 1.0}
"""Distance of opposite corners of a square with sides of 1, by p."""

_MAX_CELLS_PER_ROW = 4
_MAX_ROWS_PER_CELL = 2**12
"""Maximum rows of a cell: the rows of two cells may have to be compared pair by pair."""

_MAX_ROWS = 2**26
_MIN_LIMIT, _MAX_LIMIT = 2.0**-900, 2.0**900
"""Bounds of the limit: between them no underflow or overflow changes a comparison."""

_ROWS_PER_TASK = 2**15
_ROWS_PER_LINEAR_TASK = 2**18
_MAX_PARTS = 8


class Grid(NamedTuple):
    """Rows sorted by cell, and within a cell by row; kernels take it as it is.

    Attributes
    ----------
    x, y : float32 or float64 (n + LANES,)
        The features, compared in float64; y is 0 if there is one feature. A whole register may be
        read from each of the n positions.
    order : int32 (n,)
        The row at each position.
    start : int32 (width·height + 1,)
        Cell c has the rows from start[c] to start[c + 1]; it is number c % width of its line.
    width, height : int
        Cells per line, and lines.
    radius : int
        Maximum number of cells between rows within eps, along each axis.
    p : int
    rdist_limit : float
        See `numerics.eps_bounds.EpsBounds`.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    order: NDArray[np.int32]
    start: NDArray[np.int32]
    width: int
    height: int
    radius: int
    p: int
    rdist_limit: float


def build_grid(
    points: NDArray[Any], eps_bounds: EpsBounds, parallel_map: ParallelMap
) -> Grid | None:
    """Put rows, float32 or float64 (n, d), into a grid.

    Returns None where a grid is not suitable: for more than two features, too many cells for the
    rows or too many rows in a cell, and where float64 would lose bits that decide.
    """
    n, d = points.shape
    p, limit = eps_bounds.p, eps_bounds.rdist_limit
    if not 0 < d <= 2 or not 0 < n < _MAX_ROWS or not _MIN_LIMIT < limit < _MAX_LIMIT:
        return None
    low, high = bounding_box(points).astype(np.float64)
    eps = distance_of(limit, p)
    side = eps / _DIAMETER[p] * _SIDE_FACTOR
    with np.errstate(over="ignore"):
        cells = np.insert((high - low) * (1 / side), 0, [0.0] * (2 - d))  # one feature: lines
        n_cells = float(np.prod(cells + 1))
    if n_cells > _MAX_CELLS_PER_ROW * n + 1:
        return None
    width, height = int(cells[0]) + 1, int(cells[1]) + 1
    by_cell = _sort_by_cell(points, _CellIndex(low, 1 / side, width), width * height, parallel_map)
    return by_cell and Grid(*by_cell, width, height, math.floor(eps / side) + 1, p, limit)


def sum_over_lines(
    grid: Grid,
    parallel_map: ParallelMap,
    function: Callable[[int, int], int],
    compares: bool = True,
) -> int:
    """Call a function on runs of lines; return the sum of its results.

    `compares` tells whether rows are compared with each other, which is reported as progress. If
    not, the runs are longer: starting a run costs more than threads would save.
    """
    starts = grid.start[:: grid.width]
    rows = _ROWS_PER_TASK if compares else _ROWS_PER_LINEAR_TASK
    breaks = np.searchsorted(starts, np.arange(rows, len(grid.order), rows))
    bounds = np.unique([0, *breaks, grid.height])
    runs = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    return sum(parallel_map(lambda run: function(*run), runs, len(grid.order) if compares else 0))


@inlined
def rdist_of(p: int, u: float, v: float) -> float:
    """Return the reduced distance of rows that differ by u and v, float64."""
    if p == 2:
        return u * u + v * v
    return max(abs(u), abs(v)) if p == MAXIMUM else abs(u) + abs(v)


class _CellIndex(NamedTuple):
    """The mapping of rows to cells: the lower corner, cells per unit, and cells per line."""

    low: NDArray[np.float64]
    cells_per_unit: float
    width: int


def _sort_by_cell(
    points: NDArray[Any], index: _CellIndex, n_cells: int, parallel_map: ParallelMap
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int32], NDArray[np.int32]] | None:
    """Return x, y, order and start of a grid; None if a cell has too many rows."""
    n = len(points)
    n_parts = min(max(n // n_cells, 1), max(n // _ROWS_PER_TASK, 1), _MAX_PARTS)
    bounds = np.linspace(0, n, n_parts + 1).astype(np.int64)
    parts = list(zip(range(n_parts), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    position = np.empty((n_parts, n_cells), np.int32)
    count = partial(_count_by_cell, points, index)
    list(parallel_map(lambda part: count(part[1], part[2], position[part[0]]), parts))  # 1
    start = np.empty(n_cells + 1, np.int32)
    if _counts_to_positions(position, start) > _MAX_ROWS_PER_CELL:  # 2
        return None
    x, y = np.empty(n + LANES, points.dtype), np.zeros(n + LANES, points.dtype)
    order = np.empty(n, np.int32)
    write = partial(_write_by_cell, points, index)
    list(
        parallel_map(lambda part: write(part[1], part[2], position[part[0]], x, y, order), parts)
    )  # 3
    return x, y, order, start


@inlined
def _cell_of(points: NDArray[Any], index: _CellIndex, i: int) -> int:
    cell = 0
    for f in range(points.shape[1] - 1, -1, -1):
        cell = cell * index.width + int((points[i, f] - index.low[f]) * index.cells_per_unit)
    return cell


@kernel
def _count_by_cell(
    points: NDArray[Any], index: _CellIndex, first: int, last: int, counts: NDArray[np.int32]
) -> None:
    """Count the rows from `first` up to, but not including, `last`, in each cell."""
    counts.fill(0)
    for i in range(first, last):
        counts[_cell_of(points, index, i)] += 1


@kernel
def _counts_to_positions(position: NDArray[np.int32], start: NDArray[np.int32]) -> int:
    """Replace counts, (n_parts, n_cells), by first positions; return the maximum of a cell."""
    total, max_rows = 0, 0
    for c in range(position.shape[1]):
        start[c] = total
        for part in range(len(position)):
            count = position[part, c]
            position[part, c] = total
            total += count
        max_rows = max(max_rows, total - start[c])
    start[-1] = total
    return max_rows


@kernel
def _write_by_cell(
    points: NDArray[Any],
    index: _CellIndex,
    first: int,
    last: int,
    position: NDArray[np.int32],
    x: NDArray[Any],
    y: NDArray[Any],
    order: NDArray[np.int32],
) -> None:
    """Write the rows from `first` up to, but not including, `last`, in the order of their cells."""
    for i in range(first, last):
        cell = _cell_of(points, index, i)
        j = position[cell]
        position[cell] = j + 1
        order[j], x[j] = i, points[i, 0]
        if points.shape[1] > 1:
            y[j] = points[i, 1]
