"""Reduced distances between tiles, rows and boxes: 64 at a time, in registers.

A reduced distance (rdist) of two rows is Σ t² (p = 2), Σ |t| (p = 1) or max |t| (p = `MAXIMUM`)
over the differences t of their features. In float32 it decides "within eps?" where rounding
allows; the rest is decided in float64 (see `numerics.eps_bounds`). Sets of rows of a tile are the
bits of an int64.

Queries go from the rows of one space, the query, tile by tile, to those of another, the target,
down its tree. Both may be the same space.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_layout import TILE, TileLayout
from gpuseg.backends.numba.dbscan.tile_tree import TileTree
from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.bitset import bit, clear_lowest_bit
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    larger,
    load,
    load_broadcast,
    lowest_bit,
    multiply_add,
    not_gt_mask,
    store,
    subtract,
)
from gpuseg.numerics.distance_metrics import MAXIMUM

_BATCH = 4 * LANES


class TileSpace(NamedTuple):
    """Rows in tiles, their tree, and the bounds of eps; kernels take it as it is.

    Attributes
    ----------
    layout : TileLayout
        Of the rows as `numerics.eps_bounds` scales them.
    tree : TileTree
    points : float32 or float64 (n, d)
        The rows themselves.
    p : int
    rdist_limit, rdist_lower, rdist_upper, scale, abs_error, rounding_factor : float
        See `numerics.eps_bounds.EpsBounds`.
    """

    layout: TileLayout
    tree: TileTree
    points: NDArray[np.float64]
    p: int
    rdist_limit: float
    rdist_lower: float
    rdist_upper: float
    scale: float
    abs_error: float
    rounding_factor: float


@inlined
def rows_within(
    query: TileSpace, tile: int, i: int, target: TileSpace, other: int, rdists: NDArray[np.float32]
) -> int:
    """Return the rows of target tile `other` that are within eps of row i of a query tile.

    `rdists`, float32 (TILE,), is overwritten, here and below.
    """
    rdist_to_row(query, tile, i, target, other, rdists)
    near: int = not_above_limit(rdists, query.rdist_upper) & target.layout.rows[other]
    uncertain = near & _not_below_limit(rdists, query.rdist_lower)
    row = query.layout.order[tile * TILE + i]
    while uncertain:
        j = lowest_bit(uncertain)
        uncertain = clear_lowest_bit(uncertain)
        target_row = target.layout.order[other * TILE + j]
        if exact_rdist(query.points, row, target.points, target_row, query.p) > query.rdist_limit:
            near ^= bit(j)
    return near


@inlined
def rows_near(
    query: TileSpace, tile: int, target: TileSpace, node: int, rdists: NDArray[np.float32]
) -> int:
    """Return the rows of a query tile that may be within eps of a row below a target node."""
    rdist_to_box(query, tile, target, node, rdists)
    near: int = not_above_limit(rdists, query.rdist_upper) & query.layout.rows[tile]
    return near


@kernel
def is_dense(space: TileSpace, tile: int) -> bool:
    """Whether all rows of a tile are certainly within eps of each other."""
    tree, d = space.tree, space.points.shape[1]
    box, rdist = tree.leaf[tile] * 2 * d, np.float32(0)
    for f in range(d):
        t = tree.boxes[box + d + f] - tree.boxes[box + f]
        if space.p == MAXIMUM:
            rdist = max(rdist, t)
        else:
            rdist += t * t if space.p == 2 else t
    return bool(rdist < space.rdist_lower)


@kernel
def exact_rdist(a: NDArray[np.float64], i: int, b: NDArray[np.float64], j: int, p: int) -> float:
    """Return the reduced distance of row i of a and row j of b in float64."""
    total = 0.0
    for f in range(a.shape[1]):
        t = np.float64(a[i, f]) - np.float64(b[j, f])
        if p == MAXIMUM:
            total = max(total, abs(t))
        else:
            total += t * t if p == 2 else abs(t)
    return total


@njit(inline="always")
def _add_term(rdist: Any, t: Any, p: int) -> Any:
    """Add one difference to a reduced distance."""
    if p == 2:
        return multiply_add(t, t, rdist)
    absolute = larger(t, subtract(broadcast(np.float32(0)), t))
    if p == MAXIMUM:
        return larger(rdist, absolute)
    return add(rdist, absolute)


@inlined
def rdist_to_row(
    query: TileSpace, tile: int, i: int, target: TileSpace, other: int, rdists: NDArray[np.float32]
) -> None:
    """Write the float32 reduced distances of row i of a query tile to the rows of a target tile."""
    y, x, d, p = query.layout.x, target.layout.x, query.points.shape[1], query.p
    row, start = tile * d * TILE + i, other * d * TILE
    for j in range(0, TILE, _BATCH):
        s0 = s1 = s2 = s3 = broadcast(np.float32(0))
        at, feature = start + j, row
        for _ in range(d):
            z = load_broadcast(y, feature)
            s0 = _add_term(s0, subtract(load(x, at), z), p)
            s1 = _add_term(s1, subtract(load(x, at + LANES), z), p)
            s2 = _add_term(s2, subtract(load(x, at + 2 * LANES), z), p)
            s3 = _add_term(s3, subtract(load(x, at + 3 * LANES), z), p)
            at += TILE
            feature += TILE
        store(rdists, j, s0)
        store(rdists, j + LANES, s1)
        store(rdists, j + 2 * LANES, s2)
        store(rdists, j + 3 * LANES, s3)


@inlined
def rdist_to_box(
    query: TileSpace, tile: int, target: TileSpace, node: int, rdists: NDArray[np.float32]
) -> None:
    """Write the float32 reduced distances of the rows of a query tile to the box of a node."""
    x, boxes, d, p = query.layout.x, target.tree.boxes, query.points.shape[1], query.p
    start, box = tile * d * TILE, node * 2 * d
    zero = broadcast(np.float32(0))
    for j in range(0, TILE, _BATCH):
        s0 = s1 = s2 = s3 = zero
        at = start + j
        for f in range(d):
            low, high = load_broadcast(boxes, box + f), load_broadcast(boxes, box + d + f)
            z = load(x, at)
            s0 = _add_term(s0, larger(zero, larger(subtract(low, z), subtract(z, high))), p)
            z = load(x, at + LANES)
            s1 = _add_term(s1, larger(zero, larger(subtract(low, z), subtract(z, high))), p)
            z = load(x, at + 2 * LANES)
            s2 = _add_term(s2, larger(zero, larger(subtract(low, z), subtract(z, high))), p)
            z = load(x, at + 3 * LANES)
            s3 = _add_term(s3, larger(zero, larger(subtract(low, z), subtract(z, high))), p)
            at += TILE
        store(rdists, j, s0)
        store(rdists, j + LANES, s1)
        store(rdists, j + 2 * LANES, s2)
        store(rdists, j + 3 * LANES, s3)


@inlined
def not_above_limit(rdists: NDArray[np.float32], limit: Any) -> int:
    """Return the rows whose reduced distance is not above the limit, or NaN."""
    bits = 0
    bound = broadcast(np.float32(limit))
    for i in range(0, TILE, LANES):
        bits |= not_gt_mask(load(rdists, i), bound) << i
    return bits


@inlined
def _not_below_limit(rdists: NDArray[np.float32], limit: Any) -> int:
    """Return the rows whose reduced distance is not below the limit, or NaN."""
    bits = 0
    bound = broadcast(np.float32(limit))
    for i in range(0, TILE, LANES):
        bits |= not_gt_mask(bound, load(rdists, i)) << i
    return bits
