"""The k nearest core rows of each row: branch and bound down the tree.

A row is compared with the tile that seems nearest first, then with tiles ever farther up the tree
from it. Boxes farther than the k-th nearest row so far are skipped.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_distances import (
    TileSpace,
    exact_rdist,
    not_above_limit,
    rdist_to_box,
    rdist_to_row,
)
from gpuseg.backends.numba.dbscan.tile_layout import TILE
from gpuseg.backends.numba.dbscan.tile_tree import MAX_LEVELS
from gpuseg.backends.numba.dbscan.traversal import Visitor, traverse_outward
from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.bitset import bit, clear_lowest_bit
from gpuseg.backends.numba.simd.float32 import lowest_bit


class NearestSearch(NamedTuple):
    """Find the k nearest core rows of the target for the requested rows of the query.

    Attributes
    ----------
    query : TileSpace
    requested : int64 (n_query_tiles,)
        The rows of each tile to find neighbors for, as bits.
    target : TileSpace
    core : int64 (n_target_tiles,)
        Core rows of each tile, as bits.
    rdist : float64 (n_query_slots, k)
        Reduced distances in rising order; on entry the bounds that neighbors must be below.
    row : int64 (n_query_slots, k)
        The neighbors, rows of the target, of equally near ones the lowest; -1 means none.
    """

    query: TileSpace
    requested: NDArray[np.int64]
    target: TileSpace
    core: NDArray[np.int64]
    rdist: NDArray[np.float64]
    row: NDArray[np.int64]


class _TileScratch(NamedTuple):
    """Work arrays of a thread.

    Attributes
    ----------
    rdists : float32 (TILE,)
    limit : float32 (TILE,)
        For each row of the query tile: rows with a float32 rdist above it are no neighbors.
    """

    rdists: NDArray[np.float32]
    limit: NDArray[np.float32]


@kernel
def find_nearest(search: NearestSearch, first: int, last: int) -> int:
    """Find the nearest core rows for the requested rows of some query tiles.

    The tiles are those from `first` up to, but not including, `last`.

    Returns
    -------
    int
        Number of computed distances.
    """
    scratch = _TileScratch(np.empty(TILE, np.float32), np.empty(TILE, np.float32))
    tree, siblings, n_distances = search.target.tree, np.empty((MAX_LEVELS, 2), np.int64), 0
    for tile in range(first, last):
        rows = search.requested[tile]
        if rows == 0:
            continue
        for i in range(TILE):
            scratch.limit[i] = _float32_limit(search.query, search.rdist[tile * TILE + i, -1])
        nearest = _nearest_tile(search, scratch.rdists, tile)
        n_distances += _search_tile(search, scratch, tile, rows, nearest)
        n, _ = traverse_outward(tree, nearest, siblings, _VISITOR, search, scratch, tile, rows)
        n_distances += n
    return n_distances


@kernel
def _nearest_tile(search: NearestSearch, rdists: NDArray[np.float32], tile: int) -> int:
    """Return the leaf below the boxes that are nearer to most rows of a query tile."""
    target, node = search.target, 0
    tree = target.tree
    while tree.tile[node] < 0:
        left, right = node + 1, tree.skip[node + 1]
        rdist_to_box(search.query, tile, target, left, rdists)
        sum_left = rdists.sum()
        rdist_to_box(search.query, tile, target, right, rdists)
        node = left if sum_left <= rdists.sum() else right
    nearest: int = tree.tile[node]
    return nearest


@inlined
def _candidates(
    search: NearestSearch, scratch: _TileScratch, tile: int, rows: int, node: int
) -> int:
    rdist_to_box(search.query, tile, search.target, node, scratch.rdists)
    nearer = 0
    for i in range(TILE):
        if not scratch.rdists[i] > scratch.limit[i]:
            nearer |= bit(i)
    return nearer & rows


@inlined
def _visit(
    search: NearestSearch, scratch: _TileScratch, tile: int, rows: int, node: int
) -> tuple[int, int]:
    target_tile = search.target.tree.tile[node]
    if search.core[target_tile] == 0:
        return 0, 0
    return _search_tile(search, scratch, tile, rows, target_tile), 0


_VISITOR = Visitor(_candidates, _visit)


@inlined
def _search_tile(
    search: NearestSearch, scratch: _TileScratch, tile: int, rows: int, target_tile: int
) -> int:
    """Compare rows with the core rows of a target tile; return the number of distances."""
    query, target, n_distances = search.query, search.target, 0
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        slot, n_distances = tile * TILE + i, n_distances + TILE
        rdist_to_row(query, tile, i, target, target_tile, scratch.rdists)
        near = search.core[target_tile] & not_above_limit(scratch.rdists, scratch.limit[i])
        while near:
            j = lowest_bit(near)
            near = clear_lowest_bit(near)
            target_row = target.layout.order[target_tile * TILE + j]
            rdist = exact_rdist(
                query.points, query.layout.order[slot], target.points, target_row, query.p
            )
            if _insert(search.rdist[slot], search.row[slot], rdist, target_row):
                scratch.limit[i] = _float32_limit(query, search.rdist[slot, -1])
    return n_distances


@kernel
def _insert(rdists: NDArray[np.float64], rows: NDArray[np.int64], rdist: float, row: int) -> bool:
    """Insert a row if it is one of the nearest: by reduced distance, then by row."""
    position = len(rdists)
    while position > 0 and (
        rdist < rdists[position - 1] or (rdist == rdists[position - 1] and row < rows[position - 1])
    ):
        position -= 1
    if position == len(rdists):
        return False
    for i in range(len(rdists) - 1, position, -1):
        rdists[i], rows[i] = rdists[i - 1], rows[i - 1]
    rdists[position], rows[position] = rdist, row
    return True


@kernel
def _float32_limit(space: TileSpace, rdist: float) -> Any:
    """Return a bound of the float32 rdist of two rows that are not farther apart than `rdist`."""
    root = (np.sqrt(rdist) if space.p == 2 else rdist) * space.scale
    upper = (root + space.abs_error) * space.rounding_factor
    limit = upper * upper if space.p == 2 else upper
    return np.float32(limit * space.rounding_factor * (1 + 2.0**-23))
