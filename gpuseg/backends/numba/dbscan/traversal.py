"""The walk down the tree of tiles that all queries share.

A query is a visitor: a pair of compiled functions, and a named tuple `search` with the arrays
that both work on. numba resolves the functions when it compiles a kernel: no call is dynamic.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_tree import MAX_LEVELS, TileTree, find_siblings


class Visitor(NamedTuple):
    """Two compiled functions (`inlined`); `rows` are rows of the query tile, as bits.

    Attributes
    ----------
    candidates : function (search, scratch, tile, rows, node) → rows
        Those of the rows that need the tiles below a node.
    visit : function (search, scratch, tile, rows, node) → n_distances, done
        Handle the target tile of a leaf for some rows. Returns the number of distances that were
        computed, and the rows that need no more tiles.
    """

    candidates: Callable[[Any, Any, int, int, int], int]
    visit: Callable[[Any, Any, int, int, int], tuple[int, int]]


# Inlined by numba itself: as a compiled function of its own it would be optimized once more for
# each kernel, and the compilation would take longer.
@njit(inline="always")
def traverse(
    tree: TileTree,
    node: int,
    last: int,
    visitor: Visitor,
    search: Any,
    scratch: Any,
    tile: int,
    rows: int,
) -> tuple[int, int]:
    """Visit the tiles below the nodes from `node` up to, but not including, `last`, depth first.

    Parameters
    ----------
    tree : TileTree
        Of the target.
    search : NamedTuple
        What threads share.
    scratch : array or NamedTuple of arrays
        What a thread works on.
    tile : int
        Of the query.
    rows : int
        The rows of the tile that look for something, as bits.

    Returns
    -------
    n_distances : int
        Number of computed distances.
    rows : int
        The rows that need more tiles.
    """
    n_distances = 0
    while rows and node < last:
        candidates = visitor.candidates(search, scratch, tile, rows, node)
        if candidates == 0:
            node = tree.skip[node]
            continue
        if tree.tile[node] >= 0:
            n, done = visitor.visit(search, scratch, tile, candidates, node)
            n_distances += n
            rows ^= done
        node += 1
    return n_distances, rows


@njit(inline="always")
def traverse_outward(
    tree: TileTree,
    start: int,
    siblings: NDArray[np.int64],
    visitor: Visitor,
    search: Any,
    scratch: Any,
    tile: int,
    rows: int,
) -> tuple[int, int]:
    """Visit all tiles but `start`, first those near it in the tree; see `traverse`.

    `siblings`, int64 (MAX_LEVELS, 2), is overwritten.
    """
    n_distances = 0
    for i in range(find_siblings(tree, start, siblings), MAX_LEVELS):
        n, rows = traverse(
            tree, siblings[i, 0], siblings[i, 1], visitor, search, scratch, tile, rows
        )
        n_distances += n
    return n_distances, rows
