"""Rows of one or two features in the cells of a grid, so small that a cell's rows are neighbours.

Gunawan, "A faster algorithm for DBSCAN", TU Eindhoven 2013: cells have a diameter of eps, so the
rows of a cell are neighbours of each other, and all neighbours of a row are in a few cells about
it. The cells of a line lie side by side in memory, so those to the left and right of a cell are
one run of rows. Rows are compared in float64, as `backends.reach` defines it.

A row's cell is floor((x - low)·(1/side)), with a side shorter by 2^-20 than the diameter allows.
The product is less than 2^29 and off by less than 2^-22 (three roundings): so rows of one cell
are within eps even so, and of rows within eps the cells differ by at most `radius`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.neighbors import Each
from gpuseg.backends.reach import Reach

_SHORTER = 1 - 2.0**-20
_CELLS_A_ROW = 4
_MOST_ROWS_A_CELL = 2**12
"""Two cells are compared row by row where nothing else tells whether they touch."""

_MOST_ROWS = 2**26
_LEAST_LIMIT, _MOST_LIMIT = 2.0**-900, 2.0**900
"""Between them nothing that matters to a comparison is lost by underflow or overflow."""

_ROWS_A_TASK = 2**14


class Grid(NamedTuple):
    """Rows by cell, and those of a cell by their number; kernels take it as it is.

    Attributes
    ----------
    x, y : float64 (n,)
        The features; y is 0 where there is one feature.
    order : int32 (n,)
        Which row it is.
    start : int32 (width·height + 1,)
        Cell c has the rows from start[c] to start[c + 1]; it is the (c % width)-th of its line.
    width, height : int
        Cells a line, and lines.
    radius : int
        Rows within eps are at most so many cells apart along each axis.
    p : int
    limit : float
        See `backends.reach.Reach`.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    order: NDArray[np.int32]
    start: NDArray[np.int32]
    width: int
    height: int
    radius: int
    p: int
    limit: float


def grid_of(points: NDArray[Any], reach: Reach) -> Grid | None:
    """Lay out rows, float32 or float64 (n, d).

    Returns None where a grid does not suit: for more than two features, for rows that lie far
    apart or in heaps, and where float64 would lose what decides.
    """
    n, d = points.shape
    if not 0 < d <= 2 or not 0 < n < _MOST_ROWS or not _LEAST_LIMIT < reach.limit < _MOST_LIMIT:
        return None
    low = np.array([column.min() for column in points.T], np.float64)
    high = np.array([column.max() for column in points.T], np.float64)
    eps = reach.limit ** (1 / reach.p)
    side = eps / 2 ** (1 / reach.p) * _SHORTER
    with np.errstate(over="ignore"):
        cells = np.insert((high - low) * (1 / side), 0, [0.0] * (2 - d))  # one: along lines
        n_cells = float(np.prod(cells + 1))
    if n_cells > _CELLS_A_ROW * n + 1:
        return None
    width, height = int(cells[0]) + 1, int(cells[1]) + 1
    cell, start = np.empty(n, np.int32), np.zeros(width * height + 1, np.int32)
    if _file(points, low, 1 / side, width, cell, start) > _MOST_ROWS_A_CELL:
        return None
    x, y, order = np.empty(n), np.zeros(n), np.empty(n, np.int32)
    _place(points, cell, start, x, y, order)
    radius = math.floor(eps / side) + 1
    return Grid(x, y, order, start, width, height, radius, reach.p, reach.limit)


def over_lines(
    grid: Grid, each: Each, function: Callable[[int, int], int], rows: int = _ROWS_A_TASK
) -> int:
    """Call a function on runs of lines with about so many rows; return the sum of results."""
    before = grid.start[:: grid.width]
    wanted = np.arange(rows, len(grid.x), rows)
    bounds = np.unique([0, *np.searchsorted(before, wanted), grid.height])
    runs = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    return sum(each(lambda run: function(*run), runs))


@njit(nogil=True, cache=True, forceinline=True)
def size(p: int, u: float, v: float) -> float:
    """Return the exact size of a difference."""
    return u * u + v * v if p == 2 else abs(u) + abs(v)


@njit(nogil=True, cache=True)
def _file(
    points: NDArray[np.float64],
    low: NDArray[np.float64],
    per_side: float,
    width: int,
    cell: NDArray[np.int32],
    start: NDArray[np.int32],
) -> int:
    """Write the cell of each row, and where the rows of a cell start; return the most of one."""
    for i in range(len(points)):
        own = 0
        for f in range(points.shape[1] - 1, -1, -1):
            own = own * width + int((points[i, f] - low[f]) * per_side)
        cell[i] = own
        start[own + 1] += 1
    most = 0
    for c in range(len(start) - 1):
        most = max(most, start[c + 1])
        start[c + 1] += start[c]
    return most


@njit(nogil=True, cache=True)
def _place(
    points: NDArray[np.float64],
    cell: NDArray[np.int32],
    start: NDArray[np.int32],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    order: NDArray[np.int32],
) -> None:
    """Write the rows in the order of their cells."""
    free = start.copy()
    for i in range(len(points)):
        place = free[cell[i]]
        free[cell[i]] = place + 1
        order[place], x[place] = i, points[i, 0]
        if points.shape[1] > 1:
            y[place] = points[i, 1]
