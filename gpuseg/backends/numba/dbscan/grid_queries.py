"""Weight within eps, and the lowest cluster within eps, for rows in the cells of a grid.

A cell with enough weight needs no look: its rows are neighbours of each other. Any other row
looks at the lines about it, its own first, and stops when it has found enough.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.cell_grid import Grid
from gpuseg.backends.numba.dbscan.grid_distances import STEP, within
from gpuseg.backends.numba.simd.bitset import clear_lowest_bit, count_bits
from gpuseg.backends.numba.simd.float32 import lowest_bit


@njit(nogil=True, cache=True)
def count(
    grid: Grid,
    weight: NDArray[np.int64] | None,
    least: int,
    first: int,
    last: int,
    found: NDArray[Any],
) -> int:
    """Add to `found` the weight within eps of the rows of lines first … last, up to `least`.

    Parameters
    ----------
    weight : int64 (n,) or None
        Of the rows in the grid's order, >= 0; None where every row weighs 1.
    least : int
        Weight that is enough: more need not be found.
    found : int32 or int64 (n,)
        By row.

    Returns
    -------
    int
        Pairs of rows whose distance was computed.
    """
    looked = 0
    for c in range(first * grid.width, last * grid.width):
        a, b = grid.start[c], grid.start[c + 1]
        here = b - a if weight is None else weight[a:b].sum()
        for i in range(a, b):
            row = grid.order[i]
            wanted = least - found[row]
            if wanted > here:
                total, pairs = _count_row(grid, weight, c, i, wanted)
                found[row] += total
                looked += pairs
            elif wanted > 0:
                found[row] += here
    return looked


@njit(nogil=True, cache=True, forceinline=True)
def _count_row(
    grid: Grid, weight: NDArray[np.int64] | None, cell: int, i: int, wanted: int
) -> tuple[int, int]:
    """Return weight within eps of the i-th row of the grid, at least what is wanted if there is.

    And the pairs looked at.
    """
    looked, total, line, column = 0, 0, cell // grid.width, cell % grid.width
    for step in range(2 * grid.radius + 1):
        other = line + ((step + 1) // 2 if step % 2 else -(step // 2))
        if 0 <= other < grid.height:
            a, b = run_of(grid, other, column)
            total += _weight_within(
                grid, weight, np.float64(grid.x[i]), np.float64(grid.y[i]), a, b
            )
            looked += b - a
            if total >= wanted:
                break
    return total, looked


@njit(nogil=True, cache=True, forceinline=True)
def run_of(grid: Grid, line: int, column: int) -> tuple[int, int]:
    """Return where the rows of a line start and stop that may be within eps of a cell's."""
    left, right = max(column - grid.radius, 0), min(column + grid.radius + 1, grid.width)
    cells = line * grid.width
    # int64: a loop over int32 would look out for numbers below zero at every row
    return int(grid.start[cells + left]), int(grid.start[cells + right])


@njit(nogil=True, cache=True, forceinline=True)
def _weight_within(
    grid: Grid, weight: NDArray[np.int64] | None, x: float, y: float, a: int, b: int
) -> int:
    """Return the weight of the rows from a to b that are within eps of a point."""
    total = 0
    for j in range(a, b, STEP):
        rows = within(grid, x, y, j, b)
        if weight is None:  # the compiler makes a function for each case
            total += count_bits(rows)
        else:
            while rows:
                total += weight[j + lowest_bit(rows)]
                rows = clear_lowest_bit(rows)
    return total


@njit(nogil=True, cache=True)
def claim(
    grid: Grid,
    asked: NDArray[np.bool_],
    cluster: NDArray[np.uint32],
    first: int,
    last: int,
    claimed: NDArray[np.uint32],
) -> int:
    """Lower `claimed` of asked rows of lines first … last to the lowest cluster within eps.

    All arrays are by row; `cluster` is `backends.neighbors.NO_CLUSTER` for rows that do not
    claim. Asked rows never do, whatever it holds for them: so `claimed` may be the same array.
    Returns the pairs of rows whose distance was computed.
    """
    looked = 0
    for c in range(first * grid.width, last * grid.width):
        line, column = c // grid.width, c % grid.width
        for i in range(grid.start[c], grid.start[c + 1]):
            row = grid.order[i]
            if not asked[row]:
                continue
            x, y, lowest = np.float64(grid.x[i]), np.float64(grid.y[i]), claimed[row]
            for other in range(
                max(line - grid.radius, 0), min(line + grid.radius + 1, grid.height)
            ):
                a, b = run_of(grid, other, column)
                looked += b - a
                for j in range(a, b, STEP):
                    rows = within(grid, x, y, j, b)
                    while rows:
                        by = grid.order[j + lowest_bit(rows)]
                        lowest = lowest if asked[by] else min(lowest, cluster[by])
                        rows = clear_lowest_bit(rows)
            claimed[row] = lowest
    return looked
