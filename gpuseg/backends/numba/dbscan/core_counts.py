"""Core rows: rows with enough weight within eps, their own included.

A row is compared until its count is high enough, first with its own tile, then with tiles ever
farther up the tree. So a row in a dense area is finished at once, and only rows that are not core
are compared with everything near them. In a tile smaller than eps all rows are neighbors, and no
distance is computed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_distances import (
    TileSpace,
    is_dense,
    rows_near,
    rows_within,
)
from gpuseg.backends.numba.dbscan.tile_layout import TILE
from gpuseg.backends.numba.dbscan.tile_tree import MAX_LEVELS
from gpuseg.backends.numba.dbscan.traversal import Visitor, traverse, traverse_outward
from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.bitset import bit, clear_lowest_bit, count_bits
from gpuseg.backends.numba.simd.float32 import lowest_bit


class CountSearch(NamedTuple):
    """Count the weight within eps of each query row, up to `max_count`.

    Attributes
    ----------
    query, target : TileSpace
    weight : int64 (n_target_slots,)
        At least 0; without entries if every row weighs 1.
    max_count : int
        Counting may stop here.
    counts : int64 (n_query_slots,)
        The weight is added to it.
    """

    query: TileSpace
    target: TileSpace
    weight: NDArray[np.int64]
    max_count: int
    counts: NDArray[np.int64]


@kernel
def count_within_space(search: CountSearch, first: int, last: int) -> int:
    """Count for the rows of query tiles from `first` up to, but not including, `last`.

    Query and target are the same space.

    Returns
    -------
    int
        Number of computed distances.
    """
    space, rdists, n_distances = search.query, np.empty(TILE, np.float32), 0
    siblings = np.empty((MAX_LEVELS, 2), np.int64)
    for tile in range(first, last):
        rows = _unfinished(search, tile, space.layout.rows[tile])
        if is_dense(space, tile):
            weight = _weight_of(search.weight, tile, space.layout.rows[tile])
            for i in range(TILE):
                search.counts[tile * TILE + i] += weight
            rows = _unfinished(search, tile, rows)
        else:
            n_distances += count_bits(rows) * TILE
            rows ^= _count_in_tile(search, rdists, tile, rows, tile)
        if rows:
            n, _ = traverse_outward(
                space.tree, tile, siblings, _VISITOR, search, rdists, tile, rows
            )
            n_distances += n
    return n_distances


@kernel
def count_across_spaces(search: CountSearch, first: int, last: int) -> int:
    """As `count_within_space`, for two different spaces."""
    rdists, n_distances, tree = np.empty(TILE, np.float32), 0, search.target.tree
    for tile in range(first, last):
        rows = _unfinished(search, tile, search.query.layout.rows[tile])
        n_distances += traverse(tree, 0, len(tree.skip), _VISITOR, search, rdists, tile, rows)[0]
    return n_distances


@inlined
def _candidates(
    search: CountSearch, rdists: NDArray[np.float32], tile: int, rows: int, node: int
) -> int:
    return rows_near(search.query, tile, search.target, node, rdists) & rows


@inlined
def _visit(
    search: CountSearch, rdists: NDArray[np.float32], tile: int, rows: int, node: int
) -> tuple[int, int]:
    done = _count_in_tile(search, rdists, tile, rows, search.target.tree.tile[node])
    return count_bits(rows) * TILE, done


_VISITOR = Visitor(_candidates, _visit)


@inlined
def _count_in_tile(
    search: CountSearch, rdists: NDArray[np.float32], tile: int, rows: int, target_tile: int
) -> int:
    """Add the weight in a target tile to the counts of rows; return those that have enough."""
    done = 0
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        near = rows_within(search.query, tile, i, search.target, target_tile, rdists)
        search.counts[tile * TILE + i] += _weight_of(search.weight, target_tile, near)
        if search.counts[tile * TILE + i] >= search.max_count:
            done |= bit(i)
    return done


@inlined
def _weight_of(weight: NDArray[np.int64], tile: int, rows: int) -> int:
    if len(weight) == 0:
        count: int = count_bits(rows)
        return count
    total = 0
    while rows:
        total += weight[tile * TILE + lowest_bit(rows)]
        rows = clear_lowest_bit(rows)
    return total


@inlined
def _unfinished(search: CountSearch, tile: int, rows: int) -> int:
    """Return the rows of a query tile with counts below `max_count`."""
    unfinished = rows
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        if search.counts[tile * TILE + i] >= search.max_count:
            unfinished ^= bit(i)
    return unfinished
