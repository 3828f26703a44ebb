"""The nearest core row of a row, and the k nearest: branch and bound down the tree.

A row goes to the tile that seems nearest first, then to tiles ever farther up the tree from it,
and passes over boxes that are farther than the best it has.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_distances import TILE, gaps, not_beyond, sizes
from gpuseg.backends.numba.dbscan.tile_space import MAX_LEVELS, Space, size, ways_up
from gpuseg.backends.numba.simd.bitset import bit, clear_lowest_bit
from gpuseg.backends.numba.simd.float32 import lowest_bit


@njit(nogil=True, cache=True)
def find_nearest(
    own: Space,
    asked: NDArray[np.int64],
    other: Space,
    core: NDArray[np.int64],
    k: int,
    first: int,
    last: int,
    best: NDArray[np.float64],
    row: NDArray[np.int64],
) -> int:
    """Find the k nearest of the other space's core rows, for rows of tiles first … last.

    Parameters
    ----------
    asked : int64 (n_tiles,)
        Rows that look, as bits.
    core : int64 (n_other_tiles,)
        Rows that may be found, as bits.
    best : float64 (n_tiles·TILE, k)
        By place, in rising order: sizes of differences; on entry the least that is not wanted.
    row : int64 (n_tiles·TILE, k)
        Which rows of the other space they are, of equally near ones the lowest; -1: none.

    Returns
    -------
    int
        Pairs of rows whose distance was computed.
    """
    out, limit, looked = np.empty(TILE, np.float32), np.empty(TILE, np.float32), 0
    starts, ends = np.empty(MAX_LEVELS, np.int64), np.empty(MAX_LEVELS, np.int64)
    for a in range(first, last):
        if asked[a] == 0:
            continue
        for i in range(TILE):
            limit[i] = _beyond(own, best[a * TILE + i, k - 1])
        b = _tile_nearby(own, a, other, out)
        looked += _look(own, a, asked[a], other, b, core[b], best, row, limit, out)
        level = ways_up(other.tiles, b, starts, ends)
        while level > 0:
            level -= 1
            node = starts[level]
            while node < ends[level]:
                near = _nearer(own, a, other, node, limit, out) & asked[a]
                if near == 0:
                    node = other.tiles.skip[node]
                    continue
                b = other.tiles.tile[node]
                if b >= 0 and core[b]:
                    looked += _look(own, a, near, other, b, core[b], best, row, limit, out)
                node += 1
    return looked


@njit(nogil=True, cache=True)
def _tile_nearby(own: Space, a: int, other: Space, out: NDArray[np.float32]) -> int:
    """Return the tile met by always going to the box that is nearer to most rows of tile a."""
    tiles, d, node = other.tiles, own.points.shape[1], 0
    while tiles.tile[node] < 0:
        left, right = node + 1, tiles.skip[node + 1]
        gaps(own.tiles.x, a * d * TILE, tiles.boxes, left * 2 * d, d, own.p, out)
        to_left = out.sum()
        gaps(own.tiles.x, a * d * TILE, tiles.boxes, right * 2 * d, d, own.p, out)
        node = left if to_left <= out.sum() else right
    found: int = tiles.tile[node]
    return found


@njit(nogil=True, cache=True, forceinline=True)
def _look(
    own: Space,
    a: int,
    rows: int,
    other: Space,
    b: int,
    core: int,
    best: NDArray[np.float64],
    row: NDArray[np.int64],
    limit: NDArray[np.float32],
    out: NDArray[np.float32],
) -> int:
    """Let rows of tile a look at core rows of tile b; return pairs looked at."""
    d, looked = own.points.shape[1], 0
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        place, looked = a * TILE + i, looked + TILE
        sizes(own.tiles.x, a * d * TILE + i, other.tiles.x, b * d * TILE, d, own.p, out)
        left = core & not_beyond(out, limit[i])
        while left:
            j = lowest_bit(left)
            left = clear_lowest_bit(left)
            other_row = other.tiles.order[b * TILE + j]
            exact = size(own.points, own.tiles.order[place], other.points, other_row, own.p)
            if _insert(best[place], row[place], exact, other_row):
                limit[i] = _beyond(own, best[place, -1])
    return looked


@njit(nogil=True, cache=True)
def _insert(best: NDArray[np.float64], row: NDArray[np.int64], size: float, new: int) -> bool:
    """Put a row among the best, if it is one of them: by size, then by number."""
    at = len(best)
    while at > 0 and (size < best[at - 1] or (size == best[at - 1] and new < row[at - 1])):
        at -= 1
    if at == len(best):
        return False
    for i in range(len(best) - 1, at, -1):
        best[i], row[i] = best[i - 1], row[i - 1]
    best[at], row[at] = size, new
    return True


@njit(nogil=True, cache=True, forceinline=True)
def _nearer(
    own: Space,
    a: int,
    other: Space,
    node: int,
    limit: NDArray[np.float32],
    out: NDArray[np.float32],
) -> int:
    """Return which rows of tile a may be nearer to some row under a node than their limit."""
    d, rows = own.points.shape[1], 0
    gaps(own.tiles.x, a * d * TILE, other.tiles.boxes, node * 2 * d, d, own.p, out)
    for i in range(TILE):
        if not out[i] > limit[i]:
            rows |= bit(i)
    near: int = rows & own.tiles.rows[a]
    return near


@njit(nogil=True, cache=True)
def _beyond(space: Space, exact: float) -> Any:
    """Return a size in float32 above which no size can be as small as an exact one."""
    root = (exact if space.p == 1 else np.sqrt(exact)) * space.scale
    most = (root + space.off) * space.rounding
    return np.float32((most if space.p == 1 else most * most) * space.rounding * (1 + 2.0**-23))
