"""DBSCAN's primitives on the CPU: tiles, a tree of boxes, threads; see `backends.neighbors`.

Rows of one or two features answer questions among themselves in a grid, where one suits them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.neighbors import NO_CLUSTER, ParallelMap, claimants
from gpuseg.backends.numba.dbscan import border_assignment as claims
from gpuseg.backends.numba.dbscan import connect_core as links
from gpuseg.backends.numba.dbscan import core_counts as cores
from gpuseg.backends.numba.dbscan import grid_connect as grid_links
from gpuseg.backends.numba.dbscan import grid_queries as grid_counts
from gpuseg.backends.numba.dbscan import knn as nearest_rows
from gpuseg.backends.numba.dbscan.cell_grid import over_lines
from gpuseg.backends.numba.dbscan.index import LazyIndex, TileIndex
from gpuseg.backends.numba.dbscan.tile_distances import TILE
from gpuseg.backends.numba.dbscan.union_find import find
from gpuseg.numerics.eps_bounds import EpsBounds

_TILES_PER_TASK = 32


class NumbaNeighbors:
    """See `backends.neighbors.Neighbors`.

    Parameters
    ----------
    gridded : bool
        Whether rows of one or two features may lie in a grid, for questions among themselves.
    """

    name = "numba"

    def __init__(self, gridded: bool = True) -> None:
        self._gridded = gridded

    def lay_out(self, points: NDArray[Any], reach: EpsBounds, each: ParallelMap) -> LazyIndex:
        return LazyIndex(points, reach, self._gridded)

    def in_grid(self, own: LazyIndex, each: ParallelMap) -> bool:
        return own.grid(each) is not None

    def count_within(
        self,
        own: LazyIndex,
        other: LazyIndex,
        weight: NDArray[np.int64] | None,
        least: int,
        found: NDArray[Any],
        each: ParallelMap,
    ) -> int:
        if own is other and (grid := own.grid(each)) is not None:
            count = partial(
                grid_counts.count, grid, None if weight is None else weight[grid.order], least
            )
            return over_lines(grid, each, lambda i, j: count(i, j, found))
        tiles, others = own.tiles(each), other.tiles(each)
        a, b = tiles.space, others.space
        if a is None or b is None:
            return 0
        heavy = np.empty(0, np.int64) if weight is None else others.by_place(weight, 0)
        placed = tiles.by_place(found.astype(np.int64), least)
        if own is other:
            looked = _over_tiles(
                tiles, each, lambda i, j: cores.count_own(a, heavy, least, i, j, placed), sweep=True
            )
        else:
            looked = _over_tiles(
                tiles, each, lambda i, j: cores.count_other(a, b, heavy, least, i, j, placed)
            )
        tiles.by_row(placed, found)
        return looked

    def link(
        self, own: LazyIndex, core: NDArray[np.bool_], each: ParallelMap
    ) -> tuple[NDArray[np.int32], int]:
        lowest = np.full(own.n, -1, np.int32)
        if (grid := own.grid(each)) is not None:
            return lowest, grid_links.link(grid, core, each, lowest)
        tiles = own.tiles(each)
        if tiles.space is None:
            return lowest, 0
        group = np.arange(len(tiles.places))
        side, parent = _side(tiles, core, group), group.copy()
        looked = _over_tiles(tiles, each, lambda i, j: links.link_inside(side, parent, i, j))
        looked += _over_tiles(
            tiles, each, lambda i, j: links.link_own(side, parent, i, j), sweep=True
        )
        lowest_rows(tiles.places, tiles.by_place(core, False), parent, lowest)
        return lowest, looked

    def link_across(
        self,
        own: LazyIndex,
        group: NDArray[np.int64],
        other: LazyIndex,
        other_group: NDArray[np.int64],
        n_groups: int,
        each: ParallelMap,
    ) -> tuple[NDArray[np.int64], int]:
        parent, looked = np.arange(n_groups), 0
        tiles, others = own.tiles(each), other.tiles(each)
        if own.n and other.n:
            a = _side(tiles, group >= 0, tiles.by_place(group, -1))
            b = _side(others, other_group >= 0, others.by_place(other_group, -1))
            links.note_tokens(a, parent)
            links.note_tokens(b, parent)
            looked = _over_tiles(tiles, each, lambda i, j: links.link_other(a, b, parent, i, j))
        return roots(parent), looked

    def claim(
        self,
        own: LazyIndex,
        asked: NDArray[np.bool_],
        other: LazyIndex,
        cluster: NDArray[np.uint32],
        claimed: NDArray[np.uint32],
        each: ParallelMap,
    ) -> int:
        if own is other and (grid := own.grid(each)) is not None:
            ask = partial(grid_counts.claim, grid, asked, cluster)
            return over_lines(grid, each, lambda i, j: ask(i, j, claimed))
        tiles, others = own.tiles(each), other.tiles(each)
        a, b = tiles.space, others.space
        if a is None or b is None:
            return 0
        rows, core = tiles.as_bits(asked), others.as_bits(claimants(own, asked, other, cluster))
        theirs, placed = others.by_place(cluster, NO_CLUSTER), tiles.by_place(claimed, NO_CLUSTER)
        lowest = claims.lowest_clusters(b.tiles, core, theirs)
        looked = _over_tiles(
            tiles,
            each,
            lambda i, j: claims.claim(a, rows, b, core, theirs, lowest, i, j, placed),
            sweep=own is other,
        )
        tiles.by_row(placed, claimed)
        return looked

    def find_nearest(
        self,
        own: LazyIndex,
        asked: NDArray[np.bool_],
        other: LazyIndex,
        core: NDArray[np.bool_],
        best: NDArray[np.float64],
        row: NDArray[np.int64],
        each: ParallelMap,
    ) -> int:
        tiles, others = own.tiles(each), other.tiles(each)
        a, b, k = tiles.space, others.space, best.shape[1]
        if a is None or b is None:
            return 0
        rows, there = tiles.as_bits(asked), others.as_bits(core)
        sizes, found = tiles.by_place(best, np.inf), tiles.by_place(row, -1)
        looked = _over_tiles(
            tiles, each,
            lambda i, j: nearest_rows.find_nearest(a, rows, b, there, k, i, j, sizes, found),
            sweep=own is other,
        )  # fmt: skip
        tiles.by_row(sizes, best)
        tiles.by_row(found, row)
        return looked


def _side(layout: TileIndex, core: NDArray[np.bool_], group: NDArray[np.int64]) -> links.Side:
    assert layout.space is not None
    token = np.full(len(layout.space.tiles.skip), links.MIXED, np.int64)
    return links.Side(layout.space, layout.as_bits(core), group, token)


def _over_tiles(
    layout: TileIndex, each: ParallelMap, function: Callable[[int, int], int], sweep: bool = False
) -> int:
    """Call a function on runs of tiles; return the sum of its results.

    A sweep lets rows look at others of the same layout: rows done are told.
    """
    n_tiles = len(layout.places) // TILE
    runs = [(i, min(i + _TILES_PER_TASK, n_tiles)) for i in range(0, n_tiles, _TILES_PER_TASK)]
    return sum(each(lambda run: function(*run), runs, layout.n if sweep else 0))


@njit(nogil=True, cache=True)
def lowest_rows(
    places: NDArray[np.int64],
    core: NDArray[np.bool_],
    parent: NDArray[np.int64],
    lowest: NDArray[np.int32],
) -> None:
    """Write the lowest row of the set of each core row."""
    of_root = np.full(len(places), len(places))
    for place in range(len(places)):
        if core[place]:
            root = find(parent, place)
            of_root[root] = min(of_root[root], places[place])
    for place in range(len(places)):
        if core[place]:
            lowest[places[place]] = of_root[find(parent, place)]


@njit(nogil=True, cache=True)
def roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the root of every member."""
    roots = np.empty_like(parent)
    for i in range(len(parent)):
        roots[i] = find(parent, i)
    return roots
