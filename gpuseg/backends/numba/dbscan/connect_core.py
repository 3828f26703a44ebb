"""Connect core rows that are within eps of each other, and so the components they are in.

No list of neighbors is kept: each pair is united at once (`union_find`). Most pairs need no
distance, because their rows are in one component already. `hint[node]` is an element of the
component that holds all core rows below a node, where they are known to be in one; subtrees with
a hint in the component of the query rows are skipped. Components only grow, so a hint stays true
whichever thread reads it.
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
from gpuseg.backends.numba.dbscan.tile_tree import MAX_LEVELS, find_siblings
from gpuseg.backends.numba.dbscan.traversal import Visitor, traverse
from gpuseg.backends.numba.dbscan.union_find import find, unite
from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.bitset import clear_lowest_bit
from gpuseg.backends.numba.simd.float32 import lowest_bit

NO_CORE, MIXED = -1, -2
"""Hints of nodes without core rows, and of nodes with core rows of several components so far."""


class CoreRows(NamedTuple):
    """The core rows of a space as elements of the union-find.

    Attributes
    ----------
    space : TileSpace
    core : int64 (n_tiles,)
        Core rows of each tile, as bits.
    component : int64 (n_slots,)
        The element of the row in each slot.
    hint : int64 (n_nodes,)
    """

    space: TileSpace
    core: NDArray[np.int64]
    component: NDArray[np.int64]
    hint: NDArray[np.int64]


class ConnectSearch(NamedTuple):
    """Connect the core rows of two spaces, or of one with itself.

    Attributes
    ----------
    query, target : CoreRows
    parent : int64 (n_elements,)
        See `union_find`.
    """

    query: CoreRows
    target: CoreRows
    parent: NDArray[np.int64]


@kernel
def connect_in_tiles(rows: CoreRows, parent: NDArray[np.int64], first: int, last: int) -> int:
    """Connect the core rows in each of some tiles, and write the hints of the tiles.

    The tiles are those from `first` up to, but not including, `last`.

    Returns
    -------
    int
        Number of computed distances.
    """
    rdists, n_distances = np.empty(TILE, np.float32), 0
    for tile in range(first, last):
        core, leaf = rows.core[tile], rows.space.tree.leaf[tile]
        rows.hint[leaf] = NO_CORE
        if core == 0:
            continue
        if is_dense(rows.space, tile):
            element = rows.component[tile * TILE + lowest_bit(core)]
            _unite_all(rows, parent, element, tile, core)
        else:
            while core:
                i = lowest_bit(core)
                core = clear_lowest_bit(core)
                n_distances += TILE
                near = rows_within(rows.space, tile, i, rows.space, tile, rdists) & core
                _unite_all(rows, parent, rows.component[tile * TILE + i], tile, near)
        rows.hint[leaf] = _hint_of_tile(rows, parent, tile)
    return n_distances


@kernel
def connect_within_space(search: ConnectSearch, first: int, last: int) -> int:
    """Connect the core rows of some tiles with those of later tiles of the same space.

    The tiles are those from `first` up to, but not including, `last`.
    """
    rows, tree, n_distances = search.query, search.query.space.tree, 0
    rdists, siblings = np.empty(TILE, np.float32), np.empty((MAX_LEVELS, 2), np.int64)
    for tile in range(first, last):
        if rows.core[tile] == 0:
            continue
        leaf = tree.leaf[tile]
        for i in range(find_siblings(tree, tile, siblings), MAX_LEVELS):
            if siblings[i, 0] > leaf:
                n_distances += _connect_below(search, tile, siblings[i, 0], siblings[i, 1], rdists)
            if rows.hint[leaf] == MIXED:
                rows.hint[leaf] = _hint_of_tile(rows, search.parent, tile)
    return n_distances


@kernel
def connect_across_spaces(search: ConnectSearch, first: int, last: int) -> int:
    """Connect the core rows of some query tiles with those of another space.

    The tiles are those from `first` up to, but not including, `last`.
    """
    rdists, n_distances = np.empty(TILE, np.float32), 0
    n_nodes = len(search.target.hint)
    for tile in range(first, last):
        n_distances += _connect_below(search, tile, 0, n_nodes, rdists)
    return n_distances


@kernel
def write_hints(rows: CoreRows, parent: NDArray[np.int64]) -> None:
    """Write the hints of all nodes, children before their parents."""
    tree = rows.space.tree
    for node in range(len(rows.hint) - 1, -1, -1):
        tile = tree.tile[node]
        if tile >= 0:
            rows.hint[node] = _hint_of_tile(rows, parent, tile) if rows.core[tile] else NO_CORE
        else:
            rows.hint[node] = MIXED
            _hint_of_node(rows, parent, node)


@inlined
def _candidates(
    search: ConnectSearch, rdists: NDArray[np.float32], tile: int, rows: int, node: int
) -> int:
    query = search.query
    hint = _hint_of_node(search.target, search.parent, node)
    if hint == NO_CORE:
        return 0
    if _same_component(search.parent, hint, query.hint[query.space.tree.leaf[tile]]):
        return 0
    return rows_near(query.space, tile, search.target.space, node, rdists) & rows


@inlined
def _visit(
    search: ConnectSearch, rdists: NDArray[np.float32], tile: int, rows: int, node: int
) -> tuple[int, int]:
    query, target, parent, n_distances = search.query, search.target, search.parent, 0
    target_tile, hint = target.space.tree.tile[node], target.hint[node]
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        element = query.component[tile * TILE + i]
        if _same_component(parent, hint, element):
            continue
        n_distances += TILE
        near = rows_within(query.space, tile, i, target.space, target_tile, rdists)
        near &= target.core[target_tile]
        if hint == MIXED:
            _unite_all(target, parent, element, target_tile, near)
        elif near:
            unite(parent, element, hint)
    return n_distances, 0


_VISITOR = Visitor(_candidates, _visit)


@inlined
def _connect_below(
    search: ConnectSearch, tile: int, node: int, last: int, rdists: NDArray[np.float32]
) -> int:
    """Connect the core rows of a query tile with those below some nodes.

    The nodes are those from `node` up to, but not including, `last`.
    """
    tree, rows = search.target.space.tree, search.query.core[tile]
    return traverse(tree, node, last, _VISITOR, search, rdists, tile, rows)[0]


@inlined
def _hint_of_node(rows: CoreRows, parent: NDArray[np.int64], node: int) -> int:
    """Return the hint of a node. Where it was mixed, its children may be in one component now."""
    hint, tree = rows.hint, rows.space.tree
    if hint[node] == MIXED and tree.tile[node] < 0:
        left, right = hint[node + 1], hint[tree.skip[node + 1]]
        if left == NO_CORE:
            hint[node] = right
        elif right == NO_CORE or _same_component(parent, left, right):
            hint[node] = left
    element: int = hint[node]
    return element


@inlined
def _hint_of_tile(rows: CoreRows, parent: NDArray[np.int64], tile: int) -> int:
    """Return the element of a core row of a tile, or MIXED if there are several components."""
    core = rows.core[tile]
    element: int = rows.component[tile * TILE + lowest_bit(core)]
    root = find(parent, element)
    while core:
        if find(parent, rows.component[tile * TILE + lowest_bit(core)]) != root:
            return MIXED
        core = clear_lowest_bit(core)
    return element


@inlined
def _same_component(parent: NDArray[np.int64], i: int, j: int) -> bool:
    """Whether two elements, or hints, are known to be in one component."""
    return i >= 0 and j >= 0 and find(parent, i) == find(parent, j)


@inlined
def _unite_all(
    rows: CoreRows, parent: NDArray[np.int64], element: int, tile: int, mask: int
) -> None:
    """Unite an element with those of some rows of a tile."""
    while mask:
        unite(parent, element, rows.component[tile * TILE + lowest_bit(mask)])
        mask = clear_lowest_bit(mask)
