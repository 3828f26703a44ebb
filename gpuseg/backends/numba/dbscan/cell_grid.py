"""Rows of one or two features in the cells of a grid, so small that a cell's rows are neighbours.

Gunawan, "A faster algorithm for DBSCAN", TU Eindhoven 2013: cells have a diameter of eps, so the
rows of a cell are neighbours of each other, and all neighbours of a row are in a few cells about
it. The cells of a line lie side by side in memory, so those to the left and right of a cell are
one run of rows. Rows are compared in float64, as `numerics.eps_bounds` defines it.

A row's cell is floor((x - low)·(1/side)), with a side shorter by 2^-20 than the diameter allows.
The product is less than 2^29 and off by less than 2^-22 (three roundings): so rows of one cell
are within eps even so, and of rows within eps the cells differ by at most `radius`.

Rows are sorted by cell as in one pass of a parallel radix sort (Zagha and Blelloch, "Radix sort
for vector multiprocessors", SC 1991):

1. Each part of the rows counts its own in each cell.
2. One pass over cells, and over parts within a cell, tells where each part's rows of a cell go.
3. Each part writes its rows there, in their order.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.simd.float32 import LANES
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.eps_bounds import EpsBounds, corners

_SHORTER = 1 - 2.0**-20
_CELLS_PER_ROW = 4
_MAX_ROWS_PER_CELL = 2**12
"""Two cells are compared row by row where nothing else tells whether they touch."""

_MAX_ROWS = 2**26
_MIN_LIMIT, _MAX_LIMIT = 2.0**-900, 2.0**900
"""Between them nothing that matters to a comparison is lost by underflow or overflow."""

_ROWS_PER_TASK = 2**15
_ROWS_PER_LIGHT_TASK = 2**18
_MAX_PARTS = 8


class Grid(NamedTuple):
    """Rows by cell, and those of a cell by their number; kernels take it as it is.

    Attributes
    ----------
    x, y : float32 or float64 (n + LANES,)
        The features, to be compared in float64; y is 0 where there is one feature. A register
        may be read from any of the n places on.
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
    limit: float


def grid_of(points: NDArray[Any], reach: EpsBounds, each: ParallelMap) -> Grid | None:
    """Lay out rows, float32 or float64 (n, d).

    Returns None where a grid does not suit: for more than two features, for rows that lie far
    apart or in heaps, and where float64 would lose what decides.
    """
    n, d = points.shape
    if not 0 < d <= 2 or not 0 < n < _MAX_ROWS or not _MIN_LIMIT < reach.limit < _MAX_LIMIT:
        return None
    low, high = corners(points).astype(np.float64)
    eps = reach.limit ** (1 / reach.p)
    side = eps / 2 ** (1 / reach.p) * _SHORTER
    with np.errstate(over="ignore"):
        cells = np.insert((high - low) * (1 / side), 0, [0.0] * (2 - d))  # one: along lines
        n_cells = float(np.prod(cells + 1))
    if n_cells > _CELLS_PER_ROW * n + 1:
        return None
    width, height = int(cells[0]) + 1, int(cells[1]) + 1
    filed = _sorted(points, _Cells(low, 1 / side, width), width * height, each)
    radius = math.floor(eps / side) + 1
    return filed and Grid(*filed, width, height, radius, reach.p, reach.limit)


def over_lines(
    grid: Grid, each: ParallelMap, function: Callable[[int, int], int], sweep: bool = True
) -> int:
    """Call a function on runs of lines; return the sum of results.

    A sweep lets rows look at each other. Where they are only looked through, runs are longer:
    beginning one costs more than it would save.
    """
    before = grid.start[:: grid.width]
    rows = _ROWS_PER_TASK if sweep else _ROWS_PER_LIGHT_TASK
    wanted = np.arange(rows, len(grid.order), rows)
    bounds = np.unique([0, *np.searchsorted(before, wanted), grid.height])
    runs = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    return sum(each(lambda run: function(*run), runs, len(grid.order) if sweep else 0))


@njit(nogil=True, cache=True, forceinline=True)
def size(p: int, u: float, v: float) -> float:
    """Return the exact size of a difference, float64."""
    return u * u + v * v if p == 2 else abs(u) + abs(v)


class _Cells(NamedTuple):
    """Which cell a row is in: the lower corner, cells a unit, and cells a line."""

    low: NDArray[np.float64]
    per_unit: float
    width: int


def _sorted(
    points: NDArray[Any], cells: _Cells, n_cells: int, each: ParallelMap
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int32], NDArray[np.int32]] | None:
    """Return x, y, order and start of a grid; None where a cell has too many rows."""
    n = len(points)
    n_parts = min(max(n // n_cells, 1), max(n // _ROWS_PER_TASK, 1), _MAX_PARTS)
    bounds = np.linspace(0, n, n_parts + 1).astype(np.int64)
    parts = list(zip(range(n_parts), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    place = np.empty((n_parts, n_cells), np.int32)
    list(each(lambda part: _count(points, cells, part[1], part[2], place[part[0]]), parts))  # 1
    start = np.empty(n_cells + 1, np.int32)
    if _starts(place, start) > _MAX_ROWS_PER_CELL:  # 2
        return None
    x, y = np.empty(n + LANES, points.dtype), np.zeros(n + LANES, points.dtype)
    order = np.empty(n, np.int32)
    write = partial(_place, points, cells)
    list(each(lambda part: write(part[1], part[2], place[part[0]], x, y, order), parts))  # 3
    return x, y, order, start


@njit(nogil=True, cache=True, forceinline=True)
def _cell_of(points: NDArray[Any], cells: _Cells, i: int) -> int:
    own = 0
    for f in range(points.shape[1] - 1, -1, -1):
        own = own * cells.width + int((points[i, f] - cells.low[f]) * cells.per_unit)
    return own


@njit(nogil=True, cache=True)
def _count(
    points: NDArray[Any], cells: _Cells, first: int, last: int, count: NDArray[np.int32]
) -> None:
    """Count the rows first … last in each cell."""
    count.fill(0)
    for i in range(first, last):
        count[_cell_of(points, cells, i)] += 1


@njit(nogil=True, cache=True)
def _starts(place: NDArray[np.int32], start: NDArray[np.int32]) -> int:
    """Turn numbers of rows into places of the first, (n_parts, n_cells); return the most of one."""
    before, most = 0, 0
    for c in range(place.shape[1]):
        start[c] = before
        for part in range(len(place)):
            own = place[part, c]
            place[part, c] = before
            before += own
        most = max(most, before - start[c])
    start[-1] = before
    return most


@njit(nogil=True, cache=True)
def _place(
    points: NDArray[Any],
    cells: _Cells,
    first: int,
    last: int,
    place: NDArray[np.int32],
    x: NDArray[Any],
    y: NDArray[Any],
    order: NDArray[np.int32],
) -> None:
    """Write the rows first … last in the order of their cells."""
    for i in range(first, last):
        cell = _cell_of(points, cells, i)
        to = place[cell]
        place[cell] = to + 1
        order[to], x[to] = i, points[i, 0]
        if points.shape[1] > 1:
            y[to] = points[i, 1]
