"""Which rows of a tile lie near a row, or near a box: 64 answers at a time, in registers.

A tile is `TILE` rows, feature by feature: feature f of row i is at tile + f·TILE + i of one flat
array. Answers are sets of rows, the bits of an int64. Distances are float32 here, so the answer
to "within eps?" has three values; what is close to eps is left to float64 (see
`numerics.eps_bounds`).
With `p` = 2 a size is Σ t², with 1 it is Σ |t|.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    load,
    load_broadcast,
    multiply_add,
    not_gt_mask,
    select_lt,
    store,
    subtract,
)

TILE = 64
"""Rows of a tile: bits of an int64."""

_BATCH = 4 * LANES


@njit(inline="always")
def _larger(a: Any, b: Any) -> Any:
    return select_lt(a, b, b, a)


@njit(inline="always")
def _grown(size: Any, t: Any, p: int) -> Any:
    """Return the size with one more difference in it."""
    if p == 2:
        return multiply_add(t, t, size)
    return add(size, _larger(t, subtract(broadcast(np.float32(0)), t)))


@njit(nogil=True, cache=True, forceinline=True)
def sizes(
    y: NDArray[np.float32],
    row: int,
    x: NDArray[np.float32],
    tile: int,
    d: int,
    p: int,
    out: NDArray[np.float32],
) -> None:
    """Write how far each row of a tile of x is from a row of a tile of y.

    `row` is where the first feature of that row is.
    """
    for i in range(0, TILE, _BATCH):
        s0 = s1 = s2 = s3 = broadcast(np.float32(0))
        at, own = tile + i, row
        for _ in range(d):
            z = load_broadcast(y, own)
            s0 = _grown(s0, subtract(load(x, at), z), p)
            s1 = _grown(s1, subtract(load(x, at + LANES), z), p)
            s2 = _grown(s2, subtract(load(x, at + 2 * LANES), z), p)
            s3 = _grown(s3, subtract(load(x, at + 3 * LANES), z), p)
            at += TILE
            own += TILE
        store(out, i, s0)
        store(out, i + LANES, s1)
        store(out, i + 2 * LANES, s2)
        store(out, i + 3 * LANES, s3)


@njit(nogil=True, cache=True, forceinline=True)
def gaps(
    x: NDArray[np.float32],
    tile: int,
    boxes: NDArray[np.float32],
    box: int,
    d: int,
    p: int,
    out: NDArray[np.float32],
) -> None:
    """Write how far each row of the tile is from a box: d lower corners, then d upper ones."""
    nothing = broadcast(np.float32(0))
    for i in range(0, TILE, _BATCH):
        s0 = s1 = s2 = s3 = nothing
        at = tile + i
        for f in range(d):
            low, high = load_broadcast(boxes, box + f), load_broadcast(boxes, box + d + f)
            z = load(x, at)
            s0 = _grown(s0, _larger(nothing, _larger(subtract(low, z), subtract(z, high))), p)
            z = load(x, at + LANES)
            s1 = _grown(s1, _larger(nothing, _larger(subtract(low, z), subtract(z, high))), p)
            z = load(x, at + 2 * LANES)
            s2 = _grown(s2, _larger(nothing, _larger(subtract(low, z), subtract(z, high))), p)
            z = load(x, at + 3 * LANES)
            s3 = _grown(s3, _larger(nothing, _larger(subtract(low, z), subtract(z, high))), p)
            at += TILE
        store(out, i, s0)
        store(out, i + LANES, s1)
        store(out, i + 2 * LANES, s2)
        store(out, i + 3 * LANES, s3)


@njit(nogil=True, cache=True, forceinline=True)
def not_beyond(out: NDArray[np.float32], limit: Any) -> int:
    """Return the rows whose size is not above the limit, or NaN."""
    bits = 0
    bound = broadcast(np.float32(limit))
    for i in range(0, TILE, LANES):
        bits |= not_gt_mask(load(out, i), bound) << i
    return bits


@njit(nogil=True, cache=True, forceinline=True)
def not_below(out: NDArray[np.float32], limit: Any) -> int:
    """Return the rows whose size is not below the limit, or NaN."""
    bits = 0
    bound = broadcast(np.float32(limit))
    for i in range(0, TILE, LANES):
        bits |= not_gt_mask(bound, load(out, i)) << i
    return bits
