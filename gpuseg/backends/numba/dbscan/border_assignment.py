"""Assign border rows to clusters: each takes the lowest one among the core rows within eps."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.neighbors import NO_CLUSTER
from gpuseg.backends.numba.dbscan.tile_distances import TileSpace, rows_near, rows_within
from gpuseg.backends.numba.dbscan.tile_layout import TILE
from gpuseg.backends.numba.dbscan.tile_tree import TileTree
from gpuseg.backends.numba.dbscan.traversal import Visitor, traverse
from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.bitset import clear_lowest_bit, count_bits
from gpuseg.backends.numba.simd.float32 import lowest_bit


class BorderSearch(NamedTuple):
    """Find the lowest cluster of the target's core rows within eps of each border row.

    Attributes
    ----------
    query : TileSpace
    border : int64 (n_query_tiles,)
        Border rows of each tile, as bits.
    target : TileSpace
    core : int64 (n_target_tiles,)
        Core rows of each tile, as bits.
    cluster : uint32 (n_target_slots,)
    min_cluster : uint32 (n_target_nodes,)
        As `lowest_clusters` returns it.
    assigned : uint32 (n_query_slots,)
        Lowered to the cluster found; `NO_CLUSTER` for rows without one so far.
    """

    query: TileSpace
    border: NDArray[np.int64]
    target: TileSpace
    core: NDArray[np.int64]
    cluster: NDArray[np.uint32]
    min_cluster: NDArray[np.uint32]
    assigned: NDArray[np.uint32]


@kernel
def lowest_clusters(
    tree: TileTree, core: NDArray[np.int64], cluster: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Return the lowest cluster of a core row below each node, uint32 (n_nodes,).

    `core` and `cluster` are those of a `BorderSearch`.
    """
    lowest = np.full(len(tree.skip), NO_CLUSTER, np.uint32)
    for node in range(len(lowest) - 1, -1, -1):
        tile = tree.tile[node]
        if tile < 0:
            lowest[node] = min(lowest[node + 1], lowest[tree.skip[node + 1]])
            continue
        rows = core[tile]
        while rows:
            lowest[node] = min(lowest[node], cluster[tile * TILE + lowest_bit(rows)])
            rows = clear_lowest_bit(rows)
    return lowest


@kernel
def assign_border(search: BorderSearch, first: int, last: int) -> int:
    """Assign the border rows of query tiles from `first` up to, but not including, `last`.

    Returns
    -------
    int
        Number of computed distances.
    """
    rdists, n_distances, tree = np.empty(TILE, np.float32), 0, search.target.tree
    for tile in range(first, last):
        n_distances += traverse(
            tree, 0, len(tree.skip), _VISITOR, search, rdists, tile, search.border[tile]
        )[0]
    return n_distances


@inlined
def _candidates(
    search: BorderSearch, rdists: NDArray[np.float32], tile: int, rows: int, node: int
) -> int:
    if search.min_cluster[node] == NO_CLUSTER:
        return 0
    return rows_near(search.query, tile, search.target, node, rdists) & rows


@inlined
def _visit(
    search: BorderSearch, rdists: NDArray[np.float32], tile: int, rows: int, node: int
) -> tuple[int, int]:
    n_distances, target_tile = count_bits(rows) * TILE, search.target.tree.tile[node]
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        slot = tile * TILE + i
        if search.assigned[slot] <= search.min_cluster[node]:
            continue
        near = rows_within(search.query, tile, i, search.target, target_tile, rdists)
        near &= search.core[target_tile]
        while near:
            cluster = search.cluster[target_tile * TILE + lowest_bit(near)]
            search.assigned[slot] = min(search.assigned[slot], cluster)
            near = clear_lowest_bit(near)
    return n_distances, 0


_VISITOR = Visitor(_candidates, _visit)
