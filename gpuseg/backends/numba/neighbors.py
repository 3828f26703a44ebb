"""DBSCAN's kernels on the CPU: tiles, a tree of boxes, threads.

Rows of one or two features may be in a grid of cells, which answers queries within one index.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.neighbors import NO_CLUSTER, assigning_rows
from gpuseg.backends.numba.dbscan import (
    border_assignment,
    connect_core,
    core_counts,
    grid_connect,
    grid_queries,
    knn,
)
from gpuseg.backends.numba.dbscan.cell_grid import over_lines
from gpuseg.backends.numba.dbscan.index import LazyIndex, TileIndex
from gpuseg.backends.numba.dbscan.tile_distances import TILE
from gpuseg.backends.numba.dbscan.union_find import find
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.eps_bounds import EpsBounds

_TILES_PER_TASK = 32


class NumbaNeighbors:
    """See `backends.protocols.NeighborKernels`.

    Parameters
    ----------
    may_use_grid : bool
        Whether rows of one or two features may be in a grid of cells.
    """

    name = "numba"

    def __init__(self, may_use_grid: bool = True) -> None:
        self._may_use_grid = may_use_grid

    def build_index(
        self, points: NDArray[Any], eps_bounds: EpsBounds, parallel_map: ParallelMap
    ) -> LazyIndex:
        return LazyIndex(points, eps_bounds, self._may_use_grid)

    def uses_grid(self, index: LazyIndex, parallel_map: ParallelMap) -> bool:
        return index.grid(parallel_map) is not None

    def count_neighbors(
        self,
        query: LazyIndex,
        target: LazyIndex,
        weight: NDArray[np.int64] | None,
        max_count: int,
        counts: NDArray[Any],
        parallel_map: ParallelMap,
    ) -> int:
        if query is target and (grid := query.grid(parallel_map)) is not None:
            by_cell = None if weight is None else weight[grid.order]
            count = partial(grid_queries.count, grid, by_cell, max_count)
            return over_lines(grid, parallel_map, lambda i, j: count(i, j, counts))
        tiles, target_tiles = query.tiles(parallel_map), target.tiles(parallel_map)
        a, b = tiles.space, target_tiles.space
        if a is None or b is None:
            return 0
        weights = np.empty(0, np.int64) if weight is None else target_tiles.by_place(weight, 0)
        by_slot = tiles.by_place(counts.astype(np.int64), max_count)

        def count_tiles(i: int, j: int) -> int:
            if query is target:
                return core_counts.count_own(a, weights, max_count, i, j, by_slot)
            return core_counts.count_other(a, b, weights, max_count, i, j, by_slot)

        n_distances = _over_tiles(tiles, parallel_map, count_tiles, report=query is target)
        tiles.by_row(by_slot, counts)
        return n_distances

    def connect_core(
        self, index: LazyIndex, core: NDArray[np.bool_], parallel_map: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        lowest = np.full(index.n, -1, np.int32)
        if (grid := index.grid(parallel_map)) is not None:
            return lowest, grid_connect.link(grid, core, parallel_map, lowest)
        tiles = index.tiles(parallel_map)
        if tiles.space is None:
            return lowest, 0
        group = np.arange(len(tiles.places))
        rows, parent = _core_rows(tiles, core, group), group.copy()
        n_distances = _over_tiles(
            tiles, parallel_map, lambda i, j: connect_core.link_inside(rows, parent, i, j)
        )
        n_distances += _over_tiles(
            tiles,
            parallel_map,
            lambda i, j: connect_core.link_own(rows, parent, i, j),
            report=True,
        )
        lowest_rows(tiles.places, tiles.by_place(core, False), parent, lowest)
        return lowest, n_distances

    def connect_groups(
        self,
        query: LazyIndex,
        query_group: NDArray[np.int64],
        target: LazyIndex,
        target_group: NDArray[np.int64],
        n_groups: int,
        parallel_map: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        parent, n_distances = np.arange(n_groups), 0
        tiles, target_tiles = query.tiles(parallel_map), target.tiles(parallel_map)
        if query.n and target.n:
            a = _core_rows(tiles, query_group >= 0, tiles.by_place(query_group, -1))
            b = _core_rows(target_tiles, target_group >= 0, target_tiles.by_place(target_group, -1))
            connect_core.note_tokens(a, parent)
            connect_core.note_tokens(b, parent)
            n_distances = _over_tiles(
                tiles, parallel_map, lambda i, j: connect_core.link_other(a, b, parent, i, j)
            )
        return roots(parent), n_distances

    def assign_border(
        self,
        query: LazyIndex,
        border: NDArray[np.bool_],
        target: LazyIndex,
        cluster: NDArray[np.uint32],
        lowest: NDArray[np.uint32],
        parallel_map: ParallelMap,
    ) -> int:
        if query is target and (grid := query.grid(parallel_map)) is not None:
            assign = partial(grid_queries.claim, grid, border, cluster)
            return over_lines(grid, parallel_map, lambda i, j: assign(i, j, lowest))
        tiles, target_tiles = query.tiles(parallel_map), target.tiles(parallel_map)
        a, b = tiles.space, target_tiles.space
        if a is None or b is None:
            return 0
        rows = tiles.as_bits(border)
        core = target_tiles.as_bits(assigning_rows(query, border, target, cluster))
        clusters = target_tiles.by_place(cluster, NO_CLUSTER)
        by_slot = tiles.by_place(lowest, NO_CLUSTER)
        min_cluster = border_assignment.lowest_clusters(b.tiles, core, clusters)
        n_distances = _over_tiles(
            tiles,
            parallel_map,
            lambda i, j: border_assignment.claim(
                a, rows, b, core, clusters, min_cluster, i, j, by_slot
            ),
            report=query is target,
        )
        tiles.by_row(by_slot, lowest)
        return n_distances

    def find_nearest(
        self,
        query: LazyIndex,
        requested: NDArray[np.bool_],
        target: LazyIndex,
        core: NDArray[np.bool_],
        rdist: NDArray[np.float64],
        row: NDArray[np.int64],
        parallel_map: ParallelMap,
    ) -> int:
        tiles, target_tiles = query.tiles(parallel_map), target.tiles(parallel_map)
        a, b, k = tiles.space, target_tiles.space, rdist.shape[1]
        if a is None or b is None:
            return 0
        rows, core_rows = tiles.as_bits(requested), target_tiles.as_bits(core)
        rdist_by_slot, row_by_slot = tiles.by_place(rdist, np.inf), tiles.by_place(row, -1)
        n_distances = _over_tiles(
            tiles,
            parallel_map,
            lambda i, j: knn.find_nearest(
                a, rows, b, core_rows, k, i, j, rdist_by_slot, row_by_slot
            ),
            report=query is target,
        )
        tiles.by_row(rdist_by_slot, rdist)
        tiles.by_row(row_by_slot, row)
        return n_distances


def _core_rows(
    index: TileIndex, core: NDArray[np.bool_], group: NDArray[np.int64]
) -> connect_core.Side:
    assert index.space is not None
    hint = np.full(len(index.space.tiles.skip), connect_core.MIXED, np.int64)
    return connect_core.Side(index.space, index.as_bits(core), group, hint)


def _over_tiles(
    index: TileIndex,
    parallel_map: ParallelMap,
    function: Callable[[int, int], int],
    report: bool = False,
) -> int:
    """Call a function on runs of tiles; return the sum of its results.

    `report` reports rows as progress: for queries within one index.
    """
    n_tiles = len(index.places) // TILE
    runs = [(i, min(i + _TILES_PER_TASK, n_tiles)) for i in range(0, n_tiles, _TILES_PER_TASK)]
    return sum(parallel_map(lambda run: function(*run), runs, index.n if report else 0))


@njit(nogil=True, cache=True)
def lowest_rows(
    rows: NDArray[np.int64],
    core: NDArray[np.bool_],
    parent: NDArray[np.int64],
    lowest: NDArray[np.int32],
) -> None:
    """Write the lowest row of the set of each core row; all but `lowest` are by slot."""
    lowest_of_root = np.full(len(rows), len(rows))
    for slot in range(len(rows)):
        if core[slot]:
            root = find(parent, slot)
            lowest_of_root[root] = min(lowest_of_root[root], rows[slot])
    for slot in range(len(rows)):
        if core[slot]:
            lowest[rows[slot]] = lowest_of_root[find(parent, slot)]


@njit(nogil=True, cache=True)
def roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the root of every member."""
    roots = np.empty_like(parent)
    for i in range(len(parent)):
        roots[i] = find(parent, i)
    return roots
