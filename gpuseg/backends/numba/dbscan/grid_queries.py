"""Weight within eps, and the lowest cluster within eps, for rows in the cells of a grid.

A cell with enough weight needs no distance: its rows are neighbors of each other. Any other row
is compared with the lines around it, its own first, until its query is finished.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.cell_grid import Grid
from gpuseg.backends.numba.dbscan.grid_distances import STEP, step_within
from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.bitset import clear_lowest_bit, count_bits
from gpuseg.backends.numba.simd.float32 import lowest_bit


class _Query(NamedTuple):
    """Two compiled functions (`inlined`) that `_fold_neighbors` calls.

    Attributes
    ----------
    add : function (search, value, position, rows) → value
        Add neighbors of a row to its value; bit i of `rows` is the one at position + i.
    is_done : function (search, value) → bool
        Whether no more neighbors are needed.
    """

    add: Callable[[Any, Any, int, int], Any]
    is_done: Callable[[Any, Any], bool]


# numba does not keep this function in its cache, as it takes functions; the kernels are kept.
@partial(inlined, cache=False)
def _fold_neighbors(
    grid: Grid, cell: int, i: int, query: _Query, search: Any, value: Any
) -> tuple[Any, int]:
    """Fold a query over the neighbors of row i in a cell, those of the nearest lines first.

    Returns
    -------
    value
    n_distances : int
        Number of computed distances.
    """
    n_distances, line, column = 0, cell // grid.width, cell % grid.width
    x, y = np.float64(grid.x[i]), np.float64(grid.y[i])
    for step in range(2 * grid.radius + 1):
        other = line + ((step + 1) // 2 if step % 2 else -(step // 2))
        if 0 <= other < grid.height:
            first, last = _run_near(grid, other, column)
            for j in range(first, last, STEP):
                value = query.add(search, value, j, step_within(grid, x, y, j, last))
            n_distances += last - first
            if query.is_done(search, value):
                break
    return value, n_distances


@inlined
def _run_near(grid: Grid, line: int, column: int) -> tuple[int, int]:
    """Return the first and last position of a line's rows that may be within eps of a cell."""
    left, right = max(column - grid.radius, 0), min(column + grid.radius + 1, grid.width)
    cells = line * grid.width
    # int64: a loop over int32 would check for negative numbers at every row
    return int(grid.start[cells + left]), int(grid.start[cells + right])


class GridCountSearch(NamedTuple):
    """Count the weight within eps of each row, up to `max_count`.

    Attributes
    ----------
    grid : Grid
    weight : int64 (n,) or None
        By position, at least 0; None if every row weighs 1.
    max_count : int
        Counting may stop here.
    counts : int32 or int64 (n,)
        By row; the weight is added to it.
    """

    grid: Grid
    weight: NDArray[np.int64] | None
    max_count: int
    counts: NDArray[Any]


@kernel
def count_neighbors(search: GridCountSearch, first: int, last: int) -> int:
    """Count for the rows of lines from `first` up to, but not including, `last`.

    Returns
    -------
    int
        Number of computed distances.
    """
    grid, counts, n_distances = search.grid, search.counts, 0
    for cell in range(first * grid.width, last * grid.width):
        a, b = grid.start[cell], grid.start[cell + 1]
        in_cell = _weight_of_run(search.weight, a, b)
        for i in range(a, b):
            row = grid.order[i]
            count = np.int64(counts[row])
            if count >= search.max_count:
                continue
            if count + in_cell >= search.max_count:
                counts[row] += in_cell
            else:
                counts[row], n = _fold_neighbors(grid, cell, i, _COUNT, search, count)
                n_distances += n
    return n_distances


@inlined
def _add_weight(search: GridCountSearch, count: int, position: int, rows: int) -> int:
    return count + _weight_of(search.weight, position, rows)


@inlined
def _has_enough(search: GridCountSearch, count: int) -> bool:
    return count >= search.max_count


_COUNT = _Query(_add_weight, _has_enough)


@inlined
def _weight_of(weight: NDArray[np.int64] | None, position: int, rows: int) -> int:
    if weight is None:  # decided by the compiler, here and below
        count: int = count_bits(rows)
        return count
    total = 0
    while rows:
        total += weight[position + lowest_bit(rows)]
        rows = clear_lowest_bit(rows)
    return total


@inlined
def _weight_of_run(weight: NDArray[np.int64] | None, first: int, last: int) -> int:
    if weight is None:
        return last - first
    total: int = weight[first:last].sum()
    return total


class GridBorderSearch(NamedTuple):
    """Find the lowest cluster of the core rows within eps of each border row; all by row.

    Attributes
    ----------
    grid : Grid
    border : bool (n,)
    cluster : uint32 (n,)
        `backends.neighbors.NO_CLUSTER` for rows that are not core. That of border rows is not
        used, so it may be the same array as `assigned`.
    assigned : uint32 (n,)
        Lowered to the cluster found, for border rows.
    """

    grid: Grid
    border: NDArray[np.bool_]
    cluster: NDArray[np.uint32]
    assigned: NDArray[np.uint32]


@kernel
def assign_border(search: GridBorderSearch, first: int, last: int) -> int:
    """Assign the border rows of lines from `first` up to, but not including, `last`.

    Returns
    -------
    int
        Number of computed distances.
    """
    grid, n_distances = search.grid, 0
    for cell in range(first * grid.width, last * grid.width):
        for i in range(grid.start[cell], grid.start[cell + 1]):
            row = grid.order[i]
            if search.border[row]:
                lowest = search.assigned[row]
                lowest, n = _fold_neighbors(grid, cell, i, _ASSIGN, search, lowest)
                search.assigned[row] = lowest
                n_distances += n
    return n_distances


@inlined
def _lower_cluster(search: GridBorderSearch, lowest: Any, position: int, rows: int) -> Any:
    while rows:
        row = search.grid.order[position + lowest_bit(rows)]
        lowest = lowest if search.border[row] else min(lowest, search.cluster[row])
        rows = clear_lowest_bit(rows)
    return lowest


@inlined
def _never(search: GridBorderSearch, lowest: Any) -> bool:
    return False


_ASSIGN = _Query(_lower_cluster, _never)
