"""A tree of boxes over tiles.

A node of the tree covers consecutive tiles a … b − 1, and its children the tiles a … m − 1 and
m … b − 1, with m = `tile_layout.split(a, b)`. Nodes are numbered in depth-first order, a parent
before its children: so the left child of node i is i + 1, the right one is skip[i + 1], and the
descendants of i end before skip[i].
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_layout import TILE, TileLayout, split
from gpuseg.backends.numba.kernel import kernel

MAX_LEVELS = 64
"""Maximum levels of a tree: 64 halvings leave one tile of any int64 number of tiles."""


class TileTree(NamedTuple):
    """The nodes of a tree, as kernels take it.

    Attributes
    ----------
    boxes : float32 (n_nodes·2·d,)
        Lower corner and upper corner of each node.
    skip : int64 (n_nodes,)
        The first node after the descendants of each node.
    tile : int64 (n_nodes,)
        The tile of each leaf; -1 for inner nodes.
    leaf : int64 (n_tiles,)
        The node of each tile.
    """

    boxes: NDArray[np.float32]
    skip: NDArray[np.int64]
    tile: NDArray[np.int64]
    leaf: NDArray[np.int64]


def build_tree(layout: TileLayout) -> TileTree:
    """Build the tree over the tiles."""
    n_tiles = len(layout.rows)
    skip, tile, leaf = _number_nodes(n_tiles)
    d = len(layout.x) // (n_tiles * TILE)
    boxes = np.empty(len(skip) * 2 * d, np.float32)
    _write_boxes(layout, skip, tile, boxes)
    return TileTree(boxes, skip, tile, leaf)


@kernel
def find_siblings(tree: TileTree, tile: int, siblings: NDArray[np.int64]) -> int:
    """List the siblings of the nodes on the path from a tile to the root, the nearest first.

    Together their subtrees cover all other tiles.

    Parameters
    ----------
    siblings : int64 (MAX_LEVELS, 2)
        Written from its end: the subtree of a sibling is the nodes from siblings[i, 0] up to, but
        not including, siblings[i, 1].

    Returns
    -------
    int
        The first entry of `siblings` that is written.
    """
    node, a, b, i = 0, 0, len(tree.leaf), MAX_LEVELS
    while b - a > 1:
        middle = split(a, b)
        right = node + 2 * (middle - a)
        i -= 1
        if tile < middle:
            siblings[i, 0], siblings[i, 1] = right, tree.skip[node]
            node, b = node + 1, middle
        else:
            siblings[i, 0], siblings[i, 1] = node + 1, right
            node, a = right, middle
    return i


@kernel
def _number_nodes(n_tiles: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number the nodes; return skip, tile and leaf."""
    n_nodes = 2 * n_tiles - 1
    skip, tile = np.empty(n_nodes, np.int64), np.full(n_nodes, -1, np.int64)
    leaf = np.empty(n_tiles, np.int64)
    stack = [(0, 0, n_tiles)]
    while len(stack):
        node, a, b = stack.pop()
        skip[node] = node + 2 * (b - a) - 1
        if b - a == 1:
            tile[node], leaf[a] = a, node
            continue
        m = split(a, b)
        stack.append((node + 1, a, m))
        stack.append((node + 2 * (m - a), m, b))
    return skip, tile, leaf


@kernel
def _write_boxes(
    layout: TileLayout,
    skip: NDArray[np.int64],
    tile: NDArray[np.int64],
    boxes: NDArray[np.float32],
) -> None:
    """Write the corners of every node, children before their parents."""
    n_nodes = len(skip)
    d = len(boxes) // n_nodes // 2
    for node in range(n_nodes - 1, -1, -1):
        box = node * 2 * d
        if tile[node] < 0:
            left, right = box + 2 * d, skip[node + 1] * 2 * d
            for f in range(d):
                boxes[box + f] = min(boxes[left + f], boxes[right + f])
                boxes[box + d + f] = max(boxes[left + d + f], boxes[right + d + f])
            continue
        rows = layout.rows[tile[node]]
        for f in range(d):
            start = (tile[node] * d + f) * TILE
            low = high = layout.x[start]
            for i in range(1, TILE):
                if rows >> i & 1:
                    low, high = min(low, layout.x[start + i]), max(high, layout.x[start + i])
            boxes[box + f], boxes[box + d + f] = low, high
