"""Core rows within eps of each other in one set, for rows in the cells of a grid.

The core rows of a cell are in one set, so the sets are of cells. Cells are compared in the order
of the way between them, nearest first: of cells farther apart most are in one set by then. Two
cells that are not need one pair of core rows within eps; boxes about the core rows of a cell
tell which rows may have one (de Berg, Gunawan and Roeloffzen, "Faster DBSCAN and HDBSCAN in
low-dimensional Euclidean spaces", ISAAC 2017, look at each pair of cells once, too).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.cell_grid import Grid, over_lines, size
from gpuseg.backends.numba.dbscan.union_find import find, unite
from gpuseg.backends.protocols import ParallelMap


class Cores(NamedTuple):
    """The core rows of a grid.

    Attributes
    ----------
    core : bool (n,)
        In the grid's order.
    first : int32 (n_cells,)
        The first core row of each cell, -1 where there is none.
    box : float32 or float64 (n_cells, 4)
        Left, right, lower and upper end of each cell's core rows, where there are any.
    parent : int64 (n_cells,)
        See `forest`.
    """

    core: NDArray[np.bool_]
    first: NDArray[np.int32]
    box: NDArray[Any]
    parent: NDArray[np.int64]


def link(grid: Grid, core: NDArray[np.bool_], each: ParallelMap, lowest: NDArray[np.int32]) -> int:
    """Write the lowest row of its set for each core row; both arrays are by row.

    Returns the pairs of rows whose distance was computed.
    """
    n_cells = grid.width * grid.height
    cores = Cores(
        core[grid.order],
        np.full(n_cells, -1, np.int32),
        np.empty((n_cells, 4), grid.x.dtype),
        np.arange(n_cells),
    )
    ways = _ways(grid.radius)
    over_lines(grid, each, lambda i, j: _find_cores(grid, cores, i, j), sweep=False)
    looked = over_lines(grid, each, lambda i, j: _link(grid, cores, ways, i, j))
    of_root = np.full(n_cells, len(core), np.int32)
    _lowest_of_roots(grid, cores, of_root)
    over_lines(grid, each, lambda i, j: _tell(grid, cores, of_root, i, j, lowest), sweep=False)
    return looked


def _ways(radius: int) -> NDArray[np.int64]:
    """Return the ways to half of the cells about one, in lines and cells, nearest first."""
    steps = range(-radius, radius + 1)
    ahead = [(line, cell) for line in steps for cell in steps if (line, cell) > (0, 0)]
    return np.array(sorted(ahead, key=lambda way: math.hypot(*way)), np.int64)


@njit(nogil=True, cache=True)
def _find_cores(grid: Grid, cores: Cores, first: int, last: int) -> int:
    """Note the first core row, and the box, of each cell of lines first … last."""
    for c in range(first * grid.width, last * grid.width):
        left, right, lower, upper = np.inf, -np.inf, np.inf, -np.inf
        for i in range(grid.start[c + 1] - 1, grid.start[c] - 1, -1):
            if cores.core[i]:
                cores.first[c] = i
                left, right = min(left, grid.x[i]), max(right, grid.x[i])
                lower, upper = min(lower, grid.y[i]), max(upper, grid.y[i])
        box = cores.box[c]
        box[0], box[1], box[2], box[3] = left, right, lower, upper
    return 0


@njit(nogil=True, cache=True)
def _link(grid: Grid, cores: Cores, ways: NDArray[np.int64], first: int, last: int) -> int:
    """Join each cell of lines first … last with those ahead that it touches."""
    looked, width = 0, grid.width
    for way in range(len(ways)):
        up, right = ways[way]
        for line in range(first, min(last, grid.height - up)):
            for column in range(max(0, -right), min(width, width - right)):
                a = line * width + column
                b = a + up * width + right
                if cores.first[a] < 0 or cores.first[b] < 0:
                    continue
                if find(cores.parent, a) != find(cores.parent, b):
                    touch, pairs = _touch(grid, cores, a, b)
                    looked += pairs
                    if touch:
                        unite(cores.parent, a, b)
    return looked


@njit(nogil=True, cache=True, forceinline=True)
def _touch(grid: Grid, cores: Cores, a: int, b: int) -> tuple[bool, int]:
    """Whether core rows of two cells are within eps, and how many pairs that took."""
    looked, box = 0, cores.box[a]
    left, right, lower, upper = (
        np.float64(box[0]),
        np.float64(box[1]),
        np.float64(box[2]),
        np.float64(box[3]),
    )
    if _gap(grid, cores, b, left, right, lower, upper) > grid.limit:
        return False, looked
    for i in range(cores.first[a], grid.start[a + 1]):
        x, y = np.float64(grid.x[i]), np.float64(grid.y[i])
        if not cores.core[i] or _gap(grid, cores, b, x, x, y, y) > grid.limit:
            continue
        for j in range(cores.first[b], grid.start[b + 1]):
            looked += 1
            if cores.core[j] and size(grid.p, grid.x[j] - x, grid.y[j] - y) <= grid.limit:
                return True, looked
    return False, looked


@njit(nogil=True, cache=True, forceinline=True)
def _gap(
    grid: Grid, cores: Cores, cell: int, left: float, right: float, lower: float, upper: float
) -> float:
    """Return the size of the gap between a box and that of a cell; no pair of rows has less.

    Rounding is monotonic, so this holds for computed sizes, too.
    """
    box = cores.box[cell]
    across = max(0.0, box[0] - right, left - box[1])
    along = max(0.0, box[2] - upper, lower - box[3])
    return size(grid.p, across, along)


@njit(nogil=True, cache=True)
def _lowest_of_roots(grid: Grid, cores: Cores, of_root: NDArray[np.int32]) -> None:
    for c in range(len(cores.first)):
        if cores.first[c] >= 0:
            root = find(cores.parent, c)
            of_root[root] = min(of_root[root], grid.order[cores.first[c]])


@njit(nogil=True, cache=True)
def _tell(
    grid: Grid,
    cores: Cores,
    of_root: NDArray[np.int32],
    first: int,
    last: int,
    lowest: NDArray[np.int32],
) -> int:
    for c in range(first * grid.width, last * grid.width):
        if cores.first[c] < 0:
            continue
        row = of_root[find(cores.parent, c)]
        for i in range(cores.first[c], grid.start[c + 1]):
            if cores.core[i]:
                lowest[grid.order[i]] = row
    return 0
