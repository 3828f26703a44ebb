"""Borders: the lowest cluster among the core rows within eps of a row that is not core."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.neighbors import NO_CLUSTER
from gpuseg.backends.numba.dbscan.tile_distances import TILE
from gpuseg.backends.numba.dbscan.tile_space import Space, rows_near, rows_within
from gpuseg.backends.numba.dbscan.tile_tree import Tiles
from gpuseg.backends.numba.simd.bitset import clear_lowest_bit, count_bits
from gpuseg.backends.numba.simd.float32 import lowest_bit


@njit(nogil=True, cache=True)
def lowest_clusters(
    tiles: Tiles, core: NDArray[np.int64], cluster: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Return the lowest cluster of a core row under each node, uint32 (n_nodes,)."""
    lowest = np.full(len(tiles.skip), NO_CLUSTER, np.uint32)
    for node in range(len(lowest) - 1, -1, -1):
        a = tiles.tile[node]
        if a < 0:
            lowest[node] = min(lowest[node + 1], lowest[tiles.skip[node + 1]])
            continue
        rows = core[a]
        while rows:
            lowest[node] = min(lowest[node], cluster[a * TILE + lowest_bit(rows)])
            rows = clear_lowest_bit(rows)
    return lowest


@njit(nogil=True, cache=True)
def claim(
    own: Space,
    asked: NDArray[np.int64],
    other: Space,
    core: NDArray[np.int64],
    cluster: NDArray[np.uint32],
    lowest: NDArray[np.uint32],
    first: int,
    last: int,
    claimed: NDArray[np.uint32],
) -> int:
    """Lower what the rows asked for in tiles first … last are claimed by.

    Parameters
    ----------
    asked : int64 (n_tiles,)
        Rows as bits.
    core, cluster : int64 (n_other_tiles,), uint32 (n_other_tiles·TILE,)
        Core rows of the other space as bits, and their clusters by place.
    lowest : uint32 (n_other_nodes,)
        As `lowest_clusters` returns it.
    claimed : uint32 (n_tiles·TILE,)
        By place; `NO_CLUSTER` where no row has claimed it.

    Returns
    -------
    int
        Pairs of rows whose distance was computed.
    """
    tiles, out, looked = other.tiles, np.empty(TILE, np.float32), 0
    for a in range(first, last):
        node, end = 0, len(lowest) if asked[a] else 0
        while node < end:
            near = 0
            if lowest[node] != NO_CLUSTER:
                near = rows_near(own, a, other, node, out) & asked[a]
            if near == 0:
                node = tiles.skip[node]
                continue
            b = tiles.tile[node]
            if b >= 0:
                looked += TILE * count_bits(near)
                _claim(own, a, near, other, b, core[b], cluster, lowest[node], claimed, out)
            node += 1
    return looked


@njit(nogil=True, cache=True, forceinline=True)
def _claim(
    own: Space,
    a: int,
    rows: int,
    other: Space,
    b: int,
    core: int,
    cluster: NDArray[np.uint32],
    lowest: int,
    claimed: NDArray[np.uint32],
    out: NDArray[np.float32],
) -> None:
    """Let core rows of tile b claim rows of tile a; none of their clusters is below `lowest`."""
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        place = a * TILE + i
        if claimed[place] <= lowest:
            continue
        near = rows_within(own, a, i, other, b, out) & core
        while near:
            claimed[place] = min(claimed[place], cluster[b * TILE + lowest_bit(near)])
            near = clear_lowest_bit(near)
