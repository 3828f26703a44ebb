"""Which rows of a grid are within eps of a point: `STEP` answers at a time, in registers.

The runs of rows about a cell are short, so they are read to the end of a register, and what lies
behind them is left out of the answer: a grid's x and y have room for that.
"""

from typing import Any

import numpy as np
from numba import njit

from gpuseg.backends.numba.dbscan.cell_grid import Grid
from gpuseg.backends.numba.simd.bitset import bit
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    multiply,
    not_gt_mask,
    select_lt,
    subtract,
    widen,
)

STEP = LANES // 2
"""float64 values in a register."""


@njit(inline="always")
def _absolute(t: Any) -> Any:
    opposite = subtract(broadcast(np.float64(0)), t)
    return select_lt(t, opposite, opposite, t)


@njit(nogil=True, cache=True, forceinline=True)
def within(grid: Grid, x: float, y: float, first: int, last: int) -> int:
    """Return which of the rows from `first` on, before `last`, are within eps, as bits.

    No more than `STEP` rows are looked at. Sizes are those of `grid.size`, rounding by rounding.
    """
    u = subtract(widen(grid.x, first), broadcast(np.float64(x)))
    v = subtract(widen(grid.y, first), broadcast(np.float64(y)))
    if grid.p == 2:
        sizes = add(multiply(u, u), multiply(v, v))
    else:
        sizes = add(_absolute(u), _absolute(v))
    rows: int = not_gt_mask(sizes, broadcast(grid.limit))
    return rows if first + STEP <= last else rows & (bit(last - first) - 1)
