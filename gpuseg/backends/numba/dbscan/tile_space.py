"""Rows in tiles with what "within eps" means: the questions that all kernels of DBSCAN ask.

Kernels look from the rows of one space, tile by tile, at those of another, down its tree; the
two may be the same. A place is where a row lies: row i of tile t is at place t·TILE + i.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_distances import TILE, gaps, not_below, not_beyond, sizes
from gpuseg.backends.numba.dbscan.tile_tree import Tiles, lay_out
from gpuseg.backends.numba.simd.bitset import bit, clear_lowest_bit
from gpuseg.backends.numba.simd.float32 import lowest_bit
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.eps_bounds import EpsBounds

MAX_LEVELS = 64
"""Of a tree: so many halvings leave one row of any number of them."""


class Space(NamedTuple):
    """Rows, and how near is near.

    Attributes
    ----------
    tiles : Tiles
        Of the rows scaled as `numerics.eps_bounds` tells.
    points : float32 or float64 (n, d)
        The rows themselves.
    p : int
    limit, scale, off, rounding, sure, far : float
        See `numerics.eps_bounds.EpsBounds`.
    """

    tiles: Tiles
    points: NDArray[np.float64]
    p: int
    limit: float
    scale: float
    off: float
    rounding: float
    sure: float
    far: float


def space_of(points: NDArray[Any], reach: EpsBounds, each: ParallelMap) -> Space:
    """Lay out rows, float32 or float64 (n, d), n > 0."""
    r = reach
    tiles = lay_out(r.scaled(points), each)
    return Space(tiles, points, r.p, r.limit, r.scale, r.off, r.rounding, r.sure, r.far)


@njit(nogil=True, cache=True)
def size(a: NDArray[np.float64], i: int, b: NDArray[np.float64], j: int, p: int) -> float:
    """Return the exact size of the difference of row i of a and row j of b."""
    total = 0.0
    for f in range(a.shape[1]):
        t = np.float64(a[i, f]) - np.float64(b[j, f])
        total += t * t if p == 2 else abs(t)
    return total


@njit(nogil=True, cache=True, forceinline=True)
def rows_within(own: Space, a: int, i: int, other: Space, b: int, out: NDArray[np.float32]) -> int:
    """Return which rows of tile b of the other space are within eps of row i of tile a."""
    d = own.points.shape[1]
    sizes(own.tiles.x, a * d * TILE + i, other.tiles.x, b * d * TILE, d, own.p, out)
    near: int = not_beyond(out, own.far) & other.tiles.rows[b]
    close = near & not_below(out, own.sure)
    row = own.tiles.order[a * TILE + i]
    while close:
        j = lowest_bit(close)
        close = clear_lowest_bit(close)
        other_row = other.tiles.order[b * TILE + j]
        if size(own.points, row, other.points, other_row, own.p) > own.limit:
            near ^= bit(j)
    return near


@njit(nogil=True, cache=True, forceinline=True)
def rows_near(own: Space, a: int, other: Space, node: int, out: NDArray[np.float32]) -> int:
    """Return which rows of tile a may be within eps of some row under a node of the other."""
    d = own.points.shape[1]
    gaps(own.tiles.x, a * d * TILE, other.tiles.boxes, node * 2 * d, d, own.p, out)
    near: int = not_beyond(out, own.far) & own.tiles.rows[a]
    return near


@njit(nogil=True, cache=True)
def is_dense(space: Space, a: int) -> bool:
    """Whether all rows of a tile are certainly within eps of each other."""
    tiles, d = space.tiles, space.points.shape[1]
    box, total = tiles.leaf[a] * 2 * d, np.float32(0)
    for f in range(d):
        t = tiles.boxes[box + d + f] - tiles.boxes[box + f]
        total += t * t if space.p == 2 else t
    return bool(total < space.sure)


@njit(nogil=True, cache=True)
def ways_up(tiles: Tiles, a: int, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
    """List the subtrees beside the way from a tile up to the root, the largest one first.

    Together with the tile they hold all rows; the last are the nearest. Nodes starts[i] …
    ends[i] are one of them. Returns how many there are.
    """
    node, low, high, count = 0, 0, len(tiles.rows), 0
    while high - low > 1:
        middle = (low + high + 1) // 2
        right = node + 2 * (middle - low)
        if a < middle:
            starts[count], ends[count] = right, tiles.skip[node]
            node, high = node + 1, middle
        else:
            starts[count], ends[count] = node + 1, right
            node, low = right, middle
        count += 1
    return count
