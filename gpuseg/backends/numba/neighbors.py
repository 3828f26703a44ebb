"""DBSCAN's kernels on the CPU: tiles, a tree of boxes, threads.

Rows of one or two features may be in a grid of cells, which answers queries within one index.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
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
from gpuseg.backends.numba.dbscan.cell_grid import sum_over_lines
from gpuseg.backends.numba.dbscan.index import LazyIndex, TileIndex
from gpuseg.backends.numba.dbscan.tile_layout import TILE
from gpuseg.backends.numba.dbscan.union_find import find
from gpuseg.backends.numba.kernel import kernel
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
            in_grid = grid_queries.GridCountSearch(grid, by_cell, max_count, counts)
            return sum_over_lines(
                grid, parallel_map, partial(grid_queries.count_neighbors, in_grid)
            )
        tiles, target_tiles = query.tiles(parallel_map), target.tiles(parallel_map)
        if tiles.space is None or target_tiles.space is None:
            return 0
        weights = np.empty(0, np.int64) if weight is None else target_tiles.to_slots(weight, 0)
        by_slot = tiles.to_slots(counts.astype(np.int64), max_count)
        search = core_counts.CountSearch(
            tiles.space, target_tiles.space, weights, max_count, by_slot
        )
        count = core_counts.count_across_spaces
        if query is target:
            count = core_counts.count_within_space
        n_distances = _sum_over_tiles(
            tiles, parallel_map, partial(count, search), report=query is target
        )
        tiles.from_slots(by_slot, counts)
        return n_distances

    def connect_core(
        self, index: LazyIndex, core: NDArray[np.bool_], parallel_map: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        lowest = np.full(index.n, -1, np.int32)
        if (grid := index.grid(parallel_map)) is not None:
            return lowest, grid_connect.connect_core(grid, core, parallel_map, lowest)
        tiles = index.tiles(parallel_map)
        if tiles.space is None:
            return lowest, 0
        element = np.arange(len(tiles.order))
        rows, parent = _core_rows(tiles, core, element), element.copy()
        search = connect_core.ConnectSearch(rows, rows, parent)
        n_distances = _sum_over_tiles(
            tiles, parallel_map, partial(connect_core.connect_in_tiles, rows, parent)
        )
        n_distances += _sum_over_tiles(
            tiles, parallel_map, partial(connect_core.connect_within_space, search), report=True
        )
        lowest_rows(tiles.order, tiles.to_slots(core, False), parent, lowest)
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
            search = connect_core.ConnectSearch(
                _core_rows(tiles, query_group >= 0, tiles.to_slots(query_group, -1)),
                _core_rows(
                    target_tiles, target_group >= 0, target_tiles.to_slots(target_group, -1)
                ),
                parent,
            )
            connect_core.write_hints(search.query, parent)
            connect_core.write_hints(search.target, parent)
            n_distances = _sum_over_tiles(
                tiles, parallel_map, partial(connect_core.connect_across_spaces, search)
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
            in_grid = grid_queries.GridBorderSearch(grid, border, cluster, lowest)
            return sum_over_lines(grid, parallel_map, partial(grid_queries.assign_border, in_grid))
        tiles, target_tiles = query.tiles(parallel_map), target.tiles(parallel_map)
        if tiles.space is None or target_tiles.space is None:
            return 0
        core = target_tiles.to_bits(assigning_rows(query, border, target, cluster))
        clusters = target_tiles.to_slots(cluster, NO_CLUSTER)
        search = border_assignment.BorderSearch(
            tiles.space,
            tiles.to_bits(border),
            target_tiles.space,
            core,
            clusters,
            border_assignment.lowest_clusters(target_tiles.space.tree, core, clusters),
            tiles.to_slots(lowest, NO_CLUSTER),
        )
        assign = partial(border_assignment.assign_border, search)
        n_distances = _sum_over_tiles(tiles, parallel_map, assign, report=query is target)
        tiles.from_slots(search.assigned, lowest)
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
        if tiles.space is None or target_tiles.space is None:
            return 0
        search = knn.NearestSearch(
            tiles.space,
            tiles.to_bits(requested),
            target_tiles.space,
            target_tiles.to_bits(core),
            tiles.to_slots(rdist, np.inf),
            tiles.to_slots(row, -1),
        )
        find_nearest = partial(knn.find_nearest, search)
        n_distances = _sum_over_tiles(tiles, parallel_map, find_nearest, report=query is target)
        tiles.from_slots(search.rdist, rdist)
        tiles.from_slots(search.row, row)
        return n_distances


def _core_rows(
    index: TileIndex, core: NDArray[np.bool_], element: NDArray[np.int64]
) -> connect_core.CoreRows:
    """Return core rows; `element`, by slot, is that of the union-find."""
    assert index.space is not None
    hint = np.full(len(index.space.tree.skip), connect_core.MIXED, np.int64)
    return connect_core.CoreRows(index.space, index.to_bits(core), element, hint)


def _sum_over_tiles(
    index: TileIndex,
    parallel_map: ParallelMap,
    function: Callable[[int, int], int],
    report: bool = False,
) -> int:
    """Call a function on runs of tiles; return the sum of its results.

    `report` reports rows as progress: for queries within one index.
    """
    n_tiles = len(index.order) // TILE
    runs = [(i, min(i + _TILES_PER_TASK, n_tiles)) for i in range(0, n_tiles, _TILES_PER_TASK)]
    return sum(parallel_map(lambda run: function(*run), runs, index.n if report else 0))


@kernel
def lowest_rows(
    order: NDArray[np.int64],
    core: NDArray[np.bool_],
    parent: NDArray[np.int64],
    lowest: NDArray[np.int32],
) -> None:
    """Write the lowest row of each core row's component; all arrays but `lowest` are by slot."""
    lowest_of_root = np.full(len(order), len(order))
    for slot in range(len(order)):
        if core[slot]:
            root = find(parent, slot)
            lowest_of_root[root] = min(lowest_of_root[root], order[slot])
    for slot in range(len(order)):
        if core[slot]:
            lowest[order[slot]] = lowest_of_root[find(parent, slot)]


@kernel
def roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the root of every element."""
    roots = np.empty_like(parent)
    for i in range(len(parent)):
        roots[i] = find(parent, i)
    return roots
