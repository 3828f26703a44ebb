"""DBSCAN's primitives on the CPU: tiles, a tree of boxes, threads; see `backends.neighbors`.

Between rows and the places of a layout: `order[place]` is the row, -1 where there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.neighbors import NO_CLUSTER, Each
from gpuseg.backends.numba_ import claims, cores, links, nearest_rows
from gpuseg.backends.numba_.forest import find
from gpuseg.backends.numba_.space import Space, space_of
from gpuseg.backends.numba_.within import TILE
from gpuseg.backends.reach import Reach

_TILES_A_TASK = 32


@dataclass(frozen=True)
class Layout:
    """Rows in tiles.

    Attributes
    ----------
    space : Space or None
        None without rows.
    n : int
        Number of rows.
    """

    space: Space | None
    n: int

    @property
    def places(self) -> NDArray[np.int64]:
        """The row at each place, int64 (n_tiles·TILE,)."""
        assert self.space is not None
        return self.space.tiles.order

    def by_place(self, values: NDArray[Any], missing: Any) -> NDArray[Any]:
        """Return values of rows as values of places."""
        placed: NDArray[Any] = values[self.places]  # -1 is the last row: mended below
        placed[self.places < 0] = missing
        return placed

    def as_bits(self, flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return flags of rows as bits of tiles."""
        packed = np.packbits(self.by_place(flags, False), bitorder="little")
        return packed.view(np.int64)

    def by_row(self, placed: NDArray[Any], values: NDArray[Any]) -> None:
        """Write values of places to those of rows."""
        there = self.places >= 0
        values[self.places[there]] = placed[there]


class NumbaNeighbors:
    """See `backends.neighbors.Neighbors`."""

    name = "numba"

    def lay_out(self, points: NDArray[Any], reach: Reach, each: Each) -> Layout:
        return Layout(space_of(points, reach, each) if len(points) else None, len(points))

    def count_within(
        self,
        own: Layout,
        other: Layout,
        weight: NDArray[np.int64] | None,
        least: int,
        found: NDArray[np.int64],
        each: Each,
    ) -> int:
        if own.space is None or other.space is None:
            return 0
        a, b, placed = own.space, other.space, own.by_place(found, least)
        heavy = np.empty(0, np.int64) if weight is None else other.by_place(weight, 0)
        if own is other:
            looked = _over_tiles(
                own, each, lambda i, j: cores.count_own(a, heavy, least, i, j, placed)
            )
        else:
            looked = _over_tiles(
                own, each, lambda i, j: cores.count_other(a, b, heavy, least, i, j, placed)
            )
        own.by_row(placed, found)
        return looked

    def link(
        self, own: Layout, core: NDArray[np.bool_], each: Each
    ) -> tuple[NDArray[np.int64], int]:
        lowest = np.full(own.n, -1, np.int64)
        if own.space is None:
            return lowest, 0
        group = np.arange(len(own.places))
        side, parent = _side(own, core, group), group.copy()
        looked = _over_tiles(own, each, lambda i, j: links.link_inside(side, parent, i, j))
        looked += _over_tiles(own, each, lambda i, j: links.link_own(side, parent, i, j))
        lowest_rows(own.places, own.by_place(core, False), parent, lowest)
        return lowest, looked

    def link_across(
        self,
        own: Layout,
        group: NDArray[np.int64],
        other: Layout,
        other_group: NDArray[np.int64],
        n_groups: int,
        each: Each,
    ) -> tuple[NDArray[np.int64], int]:
        parent, looked = np.arange(n_groups), 0
        if own.space is not None and other.space is not None:
            a = _side(own, group >= 0, own.by_place(group, -1))
            b = _side(other, other_group >= 0, other.by_place(other_group, -1))
            links.note_tokens(a, parent)
            links.note_tokens(b, parent)
            looked = _over_tiles(own, each, lambda i, j: links.link_other(a, b, parent, i, j))
        return roots(parent), looked

    def claim(
        self,
        own: Layout,
        asked: NDArray[np.bool_],
        other: Layout,
        cluster: NDArray[np.int64],
        claimed: NDArray[np.int64],
        each: Each,
    ) -> int:
        if own.space is None or other.space is None:
            return 0
        a, b = own.space, other.space
        rows, core = own.as_bits(asked), other.as_bits(cluster != NO_CLUSTER)
        theirs, placed = other.by_place(cluster, NO_CLUSTER), own.by_place(claimed, NO_CLUSTER)
        lowest = claims.lowest_clusters(b.tiles, core, theirs)
        looked = _over_tiles(
            own, each, lambda i, j: claims.claim(a, rows, b, core, theirs, lowest, i, j, placed)
        )
        own.by_row(placed, claimed)
        return looked

    def find_nearest(
        self,
        own: Layout,
        asked: NDArray[np.bool_],
        other: Layout,
        core: NDArray[np.bool_],
        best: NDArray[np.float64],
        row: NDArray[np.int64],
        each: Each,
    ) -> int:
        if own.space is None or other.space is None:
            return 0
        a, b, k = own.space, other.space, best.shape[1]
        rows, there = own.as_bits(asked), other.as_bits(core)
        sizes, found = own.by_place(best, np.inf), own.by_place(row, -1)
        looked = _over_tiles(
            own, each,
            lambda i, j: nearest_rows.find_nearest(a, rows, b, there, k, i, j, sizes, found),
        )  # fmt: skip
        own.by_row(sizes, best)
        own.by_row(found, row)
        return looked


def _side(layout: Layout, core: NDArray[np.bool_], group: NDArray[np.int64]) -> links.Side:
    assert layout.space is not None
    token = np.full(len(layout.space.tiles.skip), links.MIXED, np.int64)
    return links.Side(layout.space, layout.as_bits(core), group, token)


def _over_tiles(layout: Layout, each: Each, function: Callable[[int, int], int]) -> int:
    """Call a function on runs of tiles; return the sum of its results."""
    n_tiles = len(layout.places) // TILE
    runs = [(i, min(i + _TILES_A_TASK, n_tiles)) for i in range(0, n_tiles, _TILES_A_TASK)]
    return sum(each(lambda run: function(*run), runs))


@njit(nogil=True, cache=True)
def lowest_rows(
    places: NDArray[np.int64],
    core: NDArray[np.bool_],
    parent: NDArray[np.int64],
    lowest: NDArray[np.int64],
) -> None:
    """Write the lowest row of the set of each core row."""
    of_root = np.full(len(places), NO_CLUSTER, np.int64)
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
