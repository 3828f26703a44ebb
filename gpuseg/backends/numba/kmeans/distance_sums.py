"""Sum distances from many rows to a few points, cell by cell, for silhouettes."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    load,
    load_broadcast,
    multiply,
    square_root,
    store,
    subtract,
)
from gpuseg.backends.numba.simd.float64 import HALF, halves

STEP = 2 * LANES
"""Points per step: their squares fill two registers, their sums four of float64."""


@kernel
def distance_sums(
    x: NDArray[np.float32],
    d: int,
    starts: NDArray[np.int64],
    points: NDArray[np.float32],
    magic: float,
    sums: NDArray[np.float64],
) -> None:
    """Add Σ |x - point| over the rows of each cell to `sums`, flat (cells, m).

    Parameters
    ----------
    x : float32 (n·d,)
        Rows; those of a cell are adjacent.
    starts : int64 (cells + 1,)
        The first row of each cell, and last n.
    points : float32 (d·m,)
        Feature by feature; m is a multiple of `STEP`.
    magic : float
        The grid that each distance is rounded to.
    """
    m, grid = points.size // d, broadcast(magic)
    zero = broadcast(np.float32(0.0))
    for j in range(0, m, STEP):
        for cell in range(starts.size - 1):
            at = cell * m + j
            a, b = load(sums, at), load(sums, at + HALF)
            p, q = load(sums, at + LANES), load(sums, at + LANES + HALF)
            for row in range(starts[cell], starts[cell + 1]):
                s, t = zero, zero
                for f in range(d):
                    value = load_broadcast(x, row * d + f)
                    u = subtract(value, load(points, f * m + j))
                    v = subtract(value, load(points, f * m + j + LANES))
                    s, t = add(s, multiply(u, u)), add(t, multiply(v, v))
                low, high = halves(square_root(s))
                a = add(a, subtract(add(low, grid), grid))
                b = add(b, subtract(add(high, grid), grid))
                low, high = halves(square_root(t))
                p = add(p, subtract(add(low, grid), grid))
                q = add(q, subtract(add(high, grid), grid))
            store(sums, at, a)
            store(sums, at + HALF, b)
            store(sums, at + LANES, p)
            store(sums, at + LANES + HALF, q)
