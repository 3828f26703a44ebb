"""Compute the two least scores of each row of a tile, in registers.

A score is ½|a|² - z·a, with z and a measured from the shift (see `nearest_center`). A tile is
`TILE` rows, feature by feature: tile[f·TILE + i] is feature f of row i. For 2·LANES rows and
four centers there are eight running scores, each in a register; a feature costs two loads of
the tile, four of the centers and eight multiply-adds. No score is ever written to memory.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    broadcast,
    load,
    load_broadcast,
    multiply_add,
    select_lt,
    store,
    subtract,
)
from gpuseg.backends.numba.simd.transpose import transpose4

GROUP = 4
"""Centers scored together."""

TILE = 64
"""Rows scored together: a tile of up to 64 features fits the L1 cache."""

_PAIR = 2 * LANES

BEST, SECOND, SQUARES = 0, TILE, 2 * TILE
"""Offsets in scratch memory of a tile's least scores, second least scores and |z|²."""

N_WORK = 3 * TILE
"""float32 values of scratch memory; one flat array, since views of arrays cost time."""


@uncounted
def load_tile(
    x: NDArray[np.float32],
    offsets: NDArray[np.int64],
    shift: NDArray[np.float32],
    tile: NDArray[np.float32],
    work: NDArray[np.float32],
) -> None:
    """Write z = x - shift of TILE rows into tile (d·TILE,), and |z|² into work at SQUARES.

    x is flat; `offsets` (TILE,) are the positions of the rows' first features.
    """
    d = shift.size
    n_full = d - d % 4
    for i in range(0, TILE, LANES):
        total = broadcast(np.float32(0))
        for f in range(0, n_full, 4):
            a, b, c, e = transpose4(x, offsets, i, f)
            a, b = subtract(a, load_broadcast(shift, f)), subtract(b, load_broadcast(shift, f + 1))
            c, e = (
                subtract(c, load_broadcast(shift, f + 2)),
                subtract(e, load_broadcast(shift, f + 3)),
            )
            store(tile, f * TILE + i, a)
            store(tile, (f + 1) * TILE + i, b)
            store(tile, (f + 2) * TILE + i, c)
            store(tile, (f + 3) * TILE + i, e)
            total = multiply_add(a, a, multiply_add(b, b, total))
            total = multiply_add(c, c, multiply_add(e, e, total))
        for f in range(n_full, d):
            for lane in range(LANES):
                tile[f * TILE + i + lane] = x[offsets[i + lane] + f] - shift[f]
            z = load(tile, f * TILE + i)
            total = multiply_add(z, z, total)
        store(work, SQUARES + i, total)


@njit(inline="always")
def _update(score: Any, k: int, least: Any, second: Any, label: Any) -> Any:
    """Update the least and the second least score, and the label, with center k."""
    larger = select_lt(score, least, least, score)
    return (
        select_lt(score, least, score, least),
        select_lt(larger, second, larger, second),
        select_lt(score, least, broadcast(np.int32(k)), label),
    )


@uncounted
def score_tile(
    tile: NDArray[np.float32],
    negated: NDArray[np.float32],
    half_norms: NDArray[np.float32],
    work: NDArray[np.float32],
    labels: NDArray[np.int32],
) -> None:
    """Write the least and the second least score of each row into work, and the label."""
    n_features = tile.size // TILE
    for i in range(0, TILE, _PAIR):
        least_0 = least_1 = second_0 = second_1 = broadcast(np.float32(np.inf))
        label_0 = label_1 = broadcast(np.int32(0))
        for k in range(0, half_norms.size, GROUP):
            a0 = a1 = load_broadcast(half_norms, k)
            b0 = b1 = load_broadcast(half_norms, k + 1)
            c0 = c1 = load_broadcast(half_norms, k + 2)
            d0 = d1 = load_broadcast(half_norms, k + 3)
            at = k * n_features
            for f in range(n_features):
                z0, z1 = load(tile, f * TILE + i), load(tile, f * TILE + i + LANES)
                center = load_broadcast(negated, at)
                a0, a1 = multiply_add(center, z0, a0), multiply_add(center, z1, a1)
                center = load_broadcast(negated, at + 1)
                b0, b1 = multiply_add(center, z0, b0), multiply_add(center, z1, b1)
                center = load_broadcast(negated, at + 2)
                c0, c1 = multiply_add(center, z0, c0), multiply_add(center, z1, c1)
                center = load_broadcast(negated, at + 3)
                d0, d1 = multiply_add(center, z0, d0), multiply_add(center, z1, d1)
                at += GROUP
            least_0, second_0, label_0 = _update(a0, k, least_0, second_0, label_0)
            least_1, second_1, label_1 = _update(a1, k, least_1, second_1, label_1)
            least_0, second_0, label_0 = _update(b0, k + 1, least_0, second_0, label_0)
            least_1, second_1, label_1 = _update(b1, k + 1, least_1, second_1, label_1)
            least_0, second_0, label_0 = _update(c0, k + 2, least_0, second_0, label_0)
            least_1, second_1, label_1 = _update(c1, k + 2, least_1, second_1, label_1)
            least_0, second_0, label_0 = _update(d0, k + 3, least_0, second_0, label_0)
            least_1, second_1, label_1 = _update(d1, k + 3, least_1, second_1, label_1)
        store(work, BEST + i, least_0)
        store(work, BEST + i + LANES, least_1)
        store(work, SECOND + i, second_0)
        store(work, SECOND + i + LANES, second_1)
        store(labels, i, label_0)
        store(labels, i + LANES, label_1)
