"""Clusters: core rows within eps of each other belong together, and so on from row to row.

No list of neighbours is kept: each pair found is joined at once (`union_find`). `group[place]`
is the member of the forest that stands for a row. Most pairs need no look, because the rows
belong together already: `token[node]` is the group of a core row under the node where all core
rows under it are in one set, and a subtree whose token is in the set of those who look is passed
over. Sets only grow, so a token stays true whichever thread reads it.
"""

from typing import NamedTuple

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
from gpuseg.backends.numba.dbscan.tile_tree import Tiles
from gpuseg.backends.numba.dbscan.union_find import find, unite
from gpuseg.backends.numba.simd.bitset import clear_lowest_bit
from gpuseg.backends.numba.simd.float32 import lowest_bit

NONE, MIXED = -1, -2
"""Tokens of nodes without core rows, and of nodes whose core rows are not known to be one set."""


class Side(NamedTuple):
    """Core rows of a space, as what they stand for in the forest.

    Attributes
    ----------
    space : Space
    core : int64 (n_tiles,)
        Core rows of each tile, as bits.
    group : int64 (n_tiles·TILE,)
        By place.
    token : int64 (n_nodes,)
    """

    space: Space
    core: NDArray[np.int64]
    group: NDArray[np.int64]
    token: NDArray[np.int64]


@njit(nogil=True, cache=True)
def link_inside(own: Side, parent: NDArray[np.int64], first: int, last: int) -> int:
    """Join the core rows inside each of tiles first … last, and note the tokens of the tiles.

    Returns
    -------
    int
        Pairs of rows whose distance was computed.
    """
    out, looked = np.empty(TILE, np.float32), 0
    for a in range(first, last):
        rows, leaf = own.core[a], own.space.tiles.leaf[a]
        own.token[leaf] = NONE
        if rows == 0:
            continue
        if is_dense(own.space, a):
            _unite_all(own, parent, own.group[a * TILE + lowest_bit(rows)], a, rows)
        else:
            while rows:
                i = lowest_bit(rows)
                rows = clear_lowest_bit(rows)
                looked += TILE
                near = rows_within(own.space, a, i, own.space, a, out) & rows
                _unite_all(own, parent, own.group[a * TILE + i], a, near)
        own.token[leaf] = _token_of_tile(own, parent, a)
    return looked


@njit(nogil=True, cache=True)
def link_own(own: Side, parent: NDArray[np.int64], first: int, last: int) -> int:
    """Join the core rows of tiles first … last with those of tiles after them."""
    tiles, out, looked = own.space.tiles, np.empty(TILE, np.float32), 0
    starts, ends = np.empty(MAX_LEVELS, np.int64), np.empty(MAX_LEVELS, np.int64)
    for a in range(first, last):
        if own.core[a] == 0:
            continue
        leaf = tiles.leaf[a]
        level = ways_up(tiles, a, starts, ends)
        while level > 0:
            level -= 1
            if starts[level] > leaf:
                looked += _link_under(own, a, own, starts[level], ends[level], parent, out)
            if own.token[leaf] == MIXED:
                own.token[leaf] = _token_of_tile(own, parent, a)
    return looked


@njit(nogil=True, cache=True)
def link_other(own: Side, other: Side, parent: NDArray[np.int64], first: int, last: int) -> int:
    """Join the core rows of tiles first … last with those of another space."""
    out, looked = np.empty(TILE, np.float32), 0
    for a in range(first, last):
        if own.core[a]:
            end = len(other.space.tiles.skip)
            looked += _link_under(own, a, other, 0, end, parent, out)
    return looked


@njit(nogil=True, cache=True)
def note_tokens(side: Side, parent: NDArray[np.int64]) -> None:
    """Write the tokens of all nodes, children before their parents."""
    tiles = side.space.tiles
    for node in range(len(side.token) - 1, -1, -1):
        if tiles.tile[node] >= 0:
            side.token[node] = NONE
            if side.core[tiles.tile[node]]:
                side.token[node] = _token_of_tile(side, parent, tiles.tile[node])
        else:
            side.token[node] = MIXED
            _token_of(tiles, side.token, parent, node)


@njit(nogil=True, cache=True, forceinline=True)
def _link_under(
    own: Side,
    a: int,
    other: Side,
    node: int,
    end: int,
    parent: NDArray[np.int64],
    out: NDArray[np.float32],
) -> int:
    """Join the core rows of tile a with those under nodes node … end; return pairs looked at."""
    looked, tiles, leaf = 0, other.space.tiles, own.space.tiles.leaf[a]
    while node < end:
        token = _token_of(tiles, other.token, parent, node)
        near = 0
        if token != NONE and not _are_one(parent, token, own.token[leaf]):
            near = rows_near(own.space, a, other.space, node, out) & own.core[a]
        if near == 0:
            node = tiles.skip[node]
            continue
        if tiles.tile[node] >= 0:
            looked += _link(own, a, near, other, tiles.tile[node], parent, token, out)
        node += 1
    return looked


@njit(nogil=True, cache=True, forceinline=True)
def _link(
    own: Side,
    a: int,
    rows: int,
    other: Side,
    b: int,
    parent: NDArray[np.int64],
    token: int,
    out: NDArray[np.float32],
) -> int:
    """Join rows of tile a with the core rows of tile b; return pairs looked at."""
    looked = 0
    while rows:
        i = lowest_bit(rows)
        rows = clear_lowest_bit(rows)
        group = own.group[a * TILE + i]
        if _are_one(parent, token, group):
            continue
        looked += TILE
        near = rows_within(own.space, a, i, other.space, b, out) & other.core[b]
        if token == MIXED:
            _unite_all(other, parent, group, b, near)
        elif near:
            unite(parent, group, token)
    return looked


@njit(nogil=True, cache=True, forceinline=True)
def _token_of(tiles: Tiles, token: NDArray[np.int64], parent: NDArray[np.int64], node: int) -> int:
    """Return the token of a node; where it is mixed, its children may have become one set."""
    if token[node] == MIXED and tiles.tile[node] < 0:
        left, right = token[node + 1], token[tiles.skip[node + 1]]
        if left == NONE:
            token[node] = right
        elif right == NONE or _are_one(parent, left, right):
            token[node] = left
    own: int = token[node]
    return own


@njit(nogil=True, cache=True, forceinline=True)
def _token_of_tile(side: Side, parent: NDArray[np.int64], a: int) -> int:
    """Return the group of a core row of a tile, or MIXED where they are in several sets."""
    rows = side.core[a]
    group: int = side.group[a * TILE + lowest_bit(rows)]
    root = find(parent, group)
    while rows:
        if find(parent, side.group[a * TILE + lowest_bit(rows)]) != root:
            return MIXED
        rows = clear_lowest_bit(rows)
    return group


@njit(nogil=True, cache=True, forceinline=True)
def _are_one(parent: NDArray[np.int64], i: int, j: int) -> bool:
    """Whether two groups, or tokens of nodes, are known to be in one set."""
    return i >= 0 and j >= 0 and find(parent, i) == find(parent, j)


@njit(nogil=True, cache=True, forceinline=True)
def _unite_all(side: Side, parent: NDArray[np.int64], group: int, b: int, rows: int) -> None:
    while rows:
        unite(parent, group, side.group[b * TILE + lowest_bit(rows)])
        rows = clear_lowest_bit(rows)
