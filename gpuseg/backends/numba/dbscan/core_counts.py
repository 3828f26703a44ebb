"""Core rows: those with enough weight within eps, themselves included.

A row is looked at until it has enough, its own tile first, then tiles ever farther up the tree.
So a row in a dense place is done with at once, and only rows that are not core look at all that
is near them. Of a tile that is smaller than eps all rows find all others without a look.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_distances import TILE
from gpuseg.backends.numba.dbscan.tile_space import (
    MAX_LEVELS,
    Space,
    is_dense,
    rows_near,
    rows_within,
    ways_up,
)
from gpuseg.backends.numba.simd.bitset import bit, clear_lowest_bit, count_bits
from gpuseg.backends.numba.simd.float32 import lowest_bit


@njit(nogil=True, cache=True)
def count_own(
    own: Space,
    weight: NDArray[np.int64],
    least: int,
    first: int,
    last: int,
    found: NDArray[np.int64],
) -> int:
    """Add to `found` the weight within eps of the rows of tiles first … last, up to `least`.

    Parameters
    ----------
    weight : int64 (n_tiles·TILE,)
        By place, >= 0; of no entries where every row weighs 1.
    least : int
        Weight that is enough: more need not be found.
    found : int64 (n_tiles·TILE,)
        By place.

    Returns
    -------
    int
        Pairs of rows whose distance was computed.
    """
    tiles, out, looked = own.tiles, np.empty(TILE, np.float32), 0
    starts, ends = np.empty(MAX_LEVELS, np.int64), np.empty(MAX_LEVELS, np.int64)
    for a in range(first, last):
        rows = _lacking(found, a, tiles.rows[a], least)
        if is_dense(own, a):
            within = _weight_of(weight, a, tiles.rows[a])
            for i in range(TILE):
                found[a * TILE + i] += within
            rows = _lacking(found, a, rows, least)
        else:
            looked += count_bits(rows) * TILE
            rows = _look(own, a, rows, own, a, weight, least, found, out)
        level = ways_up(tiles, a, starts, ends)
        while rows and level > 0:
            level -= 1
            more, rows = _look_under(
                own, a, rows, own, starts[level], ends[level], weight, least, found, out
            )
            looked += more
    return looked


@njit(nogil=True, cache=True)
def count_other(
    own: Space,
    other: Space,
    weight: NDArray[np.int64],
    least: int,
    first: int,
    last: int,
    found: NDArray[np.int64],
) -> int:
    """As `count_own`, of the weight of another space's rows."""
    out, looked = np.empty(TILE, np.float32), 0
    for a in range(first, last):
        rows = _lacking(found, a, own.tiles.rows[a], least)
        end = len(other.tiles.skip)
        looked += _look_under(own, a, rows, other, 0, end, weight, least, found, out)[0]
    return looked


@njit(nogil=True, cache=True, forceinline=True)
def _look_under(
    own: Space,
    a: int,
    rows: int,
    other: Space,
    node: int,
    end: int,
    weight: NDArray[np.int64],
    least: int,
    found: NDArray[np.int64],
    out: NDArray[np.float32],
) -> tuple[int, int]:
    """Let rows of tile a look at all under nodes node … end; return pairs and who lacks some."""
    looked = 0
    while rows and node < end:
        near = rows_near(own, a, other, node, out) & rows
        if near == 0:
            node = other.tiles.skip[node]
            continue
        if other.tiles.tile[node] >= 0:
            looked += count_bits(near) * TILE
            b = other.tiles.tile[node]
            rows ^= near ^ _look(own, a, near, other, b, weight, least, found, out)
        node += 1
    return looked, rows


@njit(nogil=True, cache=True, forceinline=True)
def _look(
    own: Space,
    a: int,
    rows: int,
    other: Space,
    b: int,
    weight: NDArray[np.int64],
    least: int,
    found: NDArray[np.int64],
    out: NDArray[np.float32],
) -> int:
    """Add the weight in tile b to what rows of tile a have found; return who lacks some still."""
    lacking = rows
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        found[a * TILE + i] += _weight_of(weight, b, rows_within(own, a, i, other, b, out))
        if found[a * TILE + i] >= least:
            lacking ^= bit(i)
    return lacking


@njit(nogil=True, cache=True, forceinline=True)
def _weight_of(weight: NDArray[np.int64], b: int, rows: int) -> int:
    if len(weight) == 0:
        count: int = count_bits(rows)
        return count
    total = 0
    while rows:
        total += weight[b * TILE + lowest_bit(rows)]
        rows = clear_lowest_bit(rows)
    return total


@njit(nogil=True, cache=True)
def _lacking(found: NDArray[np.int64], a: int, rows: int, least: int) -> int:
    """Return which of the rows of tile a have not found enough."""
    lacking = rows
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        if found[a * TILE + i] >= least:
            lacking ^= bit(i)
    return lacking
