"""Connect core rows within eps of each other, for rows in the cells of a grid.

The core rows of a cell are in one component, so the union-find is over cells. Pairs of cells are
compared in the order of their distance, nearest first: most cells farther apart are in one
component by then. Two cells are connected if one pair of their core rows is within eps; boxes
around the core rows of a cell exclude most pairs (de Berg, Gunawan and Roeloffzen, "Faster DBSCAN
and HDBSCAN in low-dimensional Euclidean spaces", ISAAC 2017, compare each pair of cells once, too).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.cell_grid import Grid, rdist_of, sum_over_lines
from gpuseg.backends.numba.dbscan.union_find import find, unite
from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.protocols import ParallelMap


class CoreCells(NamedTuple):
    """The core rows of a grid.

    Attributes
    ----------
    core : bool (n,)
        By position.
    first : int32 (n_cells,)
        Position of the first core row of each cell; -1 if there is none.
    box : float32 or float64 (n_cells, 4)
        Left, right, lower and upper end of each cell's core rows, if there are any.
    parent : int64 (n_cells,)
        See `union_find`.
    """

    core: NDArray[np.bool_]
    first: NDArray[np.int32]
    box: NDArray[Any]
    parent: NDArray[np.int64]


def connect_core(
    grid: Grid, core: NDArray[np.bool_], parallel_map: ParallelMap, lowest: NDArray[np.int32]
) -> int:
    """Write the lowest row of each core row's component to `lowest`; both arrays are by row.

    Returns
    -------
    int
        Number of computed distances.
    """
    n_cells = grid.width * grid.height
    cells = CoreCells(
        core[grid.order],
        np.full(n_cells, -1, np.int32),
        np.empty((n_cells, 4), grid.x.dtype),
        np.arange(n_cells),
    )
    offsets = _neighbor_offsets(grid.radius)
    sum_over_lines(
        grid, parallel_map, lambda i, j: _find_core_cells(grid, cells, i, j), compares=False
    )
    n_distances = sum_over_lines(
        grid, parallel_map, lambda i, j: _connect_cells(grid, cells, offsets, i, j)
    )
    lowest_of_root = np.full(n_cells, len(core), np.int32)
    _find_lowest(grid, cells, lowest_of_root)
    sum_over_lines(
        grid,
        parallel_map,
        lambda i, j: _write_lowest(grid, cells, lowest_of_root, i, j, lowest),
        compares=False,
    )
    return n_distances


def _neighbor_offsets(radius: int) -> NDArray[np.int64]:
    """Return the offsets of half of a cell's neighbors, in lines and cells, nearest first."""
    steps = range(-radius, radius + 1)
    ahead = [(line, cell) for line in steps for cell in steps if (line, cell) > (0, 0)]
    return np.array(sorted(ahead, key=lambda offset: math.hypot(*offset)), np.int64)


@kernel
def _find_core_cells(grid: Grid, cells: CoreCells, first: int, last: int) -> int:
    """Write the first core row and the box of each cell of some lines; return 0.

    The lines are those from `first` up to, but not including, `last`.
    """
    for c in range(first * grid.width, last * grid.width):
        left, right, lower, upper = np.inf, -np.inf, np.inf, -np.inf
        for i in range(grid.start[c + 1] - 1, grid.start[c] - 1, -1):
            if cells.core[i]:
                cells.first[c] = i
                left, right = min(left, grid.x[i]), max(right, grid.x[i])
                lower, upper = min(lower, grid.y[i]), max(upper, grid.y[i])
        box = cells.box[c]
        box[0], box[1], box[2], box[3] = left, right, lower, upper
    return 0


@kernel
def _connect_cells(
    grid: Grid, cells: CoreCells, offsets: NDArray[np.int64], first: int, last: int
) -> int:
    """Connect each cell of some lines with its neighbors; return n_distances.

    The lines are those from `first` up to, but not including, `last`.
    """
    n_distances, width = 0, grid.width
    for offset in range(len(offsets)):
        up, right = offsets[offset]
        for line in range(first, min(last, grid.height - up)):
            for column in range(max(0, -right), min(width, width - right)):
                a = line * width + column
                b = a + up * width + right
                if cells.first[a] < 0 or cells.first[b] < 0:
                    continue
                if find(cells.parent, a) != find(cells.parent, b):
                    are_near, n = _are_near(grid, cells, a, b)
                    n_distances += n
                    if are_near:
                        unite(cells.parent, a, b)
    return n_distances


@inlined
def _are_near(grid: Grid, cells: CoreCells, a: int, b: int) -> tuple[bool, int]:
    """Return whether core rows of two cells are within eps, and the number of distances."""
    n_distances, box = 0, cells.box[a]
    left, right = np.float64(box[0]), np.float64(box[1])
    lower, upper = np.float64(box[2]), np.float64(box[3])
    if _rdist_to_box(grid, cells, b, left, right, lower, upper) > grid.rdist_limit:
        return False, n_distances
    for i in range(cells.first[a], grid.start[a + 1]):
        x, y = np.float64(grid.x[i]), np.float64(grid.y[i])
        if not cells.core[i] or _rdist_to_box(grid, cells, b, x, x, y, y) > grid.rdist_limit:
            continue
        for j in range(cells.first[b], grid.start[b + 1]):
            n_distances += 1
            if cells.core[j]:
                rdist = rdist_of(grid.p, grid.x[j] - x, grid.y[j] - y)
                if rdist <= grid.rdist_limit:
                    return True, n_distances
    return False, n_distances


@inlined
def _rdist_to_box(
    grid: Grid, cells: CoreCells, cell: int, left: float, right: float, lower: float, upper: float
) -> float:
    """Return the reduced distance of a box to that of a cell; no pair of their rows has less.

    Rounding is monotonic, so this holds for computed reduced distances, too.
    """
    box = cells.box[cell]
    across = max(0.0, box[0] - right, left - box[1])
    along = max(0.0, box[2] - upper, lower - box[3])
    return rdist_of(grid.p, across, along)


@kernel
def _find_lowest(grid: Grid, cells: CoreCells, lowest_of_root: NDArray[np.int32]) -> None:
    """Lower `lowest_of_root` to the lowest core row of each component, by root."""
    for c in range(len(cells.first)):
        if cells.first[c] >= 0:
            root = find(cells.parent, c)
            lowest_of_root[root] = min(lowest_of_root[root], grid.order[cells.first[c]])


@kernel
def _write_lowest(
    grid: Grid,
    cells: CoreCells,
    lowest_of_root: NDArray[np.int32],
    first: int,
    last: int,
    lowest: NDArray[np.int32],
) -> int:
    """Write the lowest row of its component for each core row of some lines; return 0.

    The lines are those from `first` up to, but not including, `last`.
    """
    for c in range(first * grid.width, last * grid.width):
        if cells.first[c] < 0:
            continue
        row = lowest_of_root[find(cells.parent, c)]
        for i in range(cells.first[c], grid.start[c + 1]):
            if cells.core[i]:
                lowest[grid.order[i]] = row
    return 0
