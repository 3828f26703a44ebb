"""Rows of a grid within eps of a point: `STEP` at a time, in registers.

The runs of rows around a cell are short. So they are read up to the end of a register, and rows
behind the run are removed from the result; the grid's x and y have room for that.
"""

from typing import Any

import numpy as np
from numba import njit

from gpuseg.backends.numba.dbscan.cell_grid import Grid
from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.simd.bitset import bit
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    larger,
    multiply,
    not_gt_mask,
    select_lt,
    subtract,
    widen,
)
from gpuseg.numerics.distance_metrics import MAXIMUM

STEP = LANES // 2
"""float64 values of a register."""


@njit(inline="always")
def _absolute(t: Any) -> Any:
    opposite = subtract(broadcast(np.float64(0)), t)
    return select_lt(t, opposite, opposite, t)


@inlined
def step_within(grid: Grid, x: float, y: float, first: int, last: int) -> int:
    """Return the rows from `first` on, before `last`, that are within eps, as bits.

    At most `STEP` rows are compared. The reduced distances are those of `cell_grid.rdist_of`,
    rounding by rounding.
    """
    u = subtract(widen(grid.x, first), broadcast(np.float64(x)))
    v = subtract(widen(grid.y, first), broadcast(np.float64(y)))
    if grid.p == 2:
        rdists = add(multiply(u, u), multiply(v, v))
    elif grid.p == MAXIMUM:
        rdists = larger(_absolute(u), _absolute(v))
    else:
        rdists = add(_absolute(u), _absolute(v))
    rows: int = not_gt_mask(rdists, broadcast(grid.rdist_limit))
    return rows if first + STEP <= last else rows & (bit(last - first) - 1)
