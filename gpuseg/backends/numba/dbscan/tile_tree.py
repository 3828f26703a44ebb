"""Rows in tiles of neighbours, and a tree of boxes over the tiles.

The rows are halved again and again at the median of the feature that varies most, always at a
whole number of tiles, until a part is one tile (Bentley, "Multidimensional binary search trees",
CACM 1975). A node of the tree stands for consecutive tiles a … b; its halves are those below and
from (a + b + 1) // 2 on. Nodes are numbered as they are met from left to right, a parent before
its children: so the first child of node i is i + 1, and what is under i ends before skip[i].

Ordered by k-means cell instead, and in a cell along its first principal axis, 200,000 rows of 4,
8, 16 and 32 features looked at 3.2, 2.8, 1.6 and 1.6 times the pairs.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.dbscan.tile_distances import TILE
from gpuseg.backends.protocols import ParallelMap

_SAMPLE = 256
"""Rows of a part whose variance is looked at."""

_PARTS = 16
"""Into so many the rows are halved before threads take one each."""


class Tiles(NamedTuple):
    """Rows in tiles; kernels take it as it is.

    Attributes
    ----------
    x : float32 (n_tiles·d·TILE,)
        Feature f of row i of tile t is at (t·d + f)·TILE + i.
    order : int64 (n_tiles·TILE,)
        Which row it is; -1 at the end of the last tile, where there is none.
    rows : int64 (n_tiles,)
        The places of a tile that hold a row, as bits.
    boxes : float32 (n_nodes·2·d,)
        Lower corner and upper corner of each node.
    skip : int64 (n_nodes,)
        The first node that is not under this one.
    tile : int64 (n_nodes,)
        The tile that the node is; -1 where it is several.
    leaf : int64 (n_tiles,)
        The node that the tile is.
    """

    x: NDArray[np.float32]
    order: NDArray[np.int64]
    rows: NDArray[np.int64]
    boxes: NDArray[np.float32]
    skip: NDArray[np.int64]
    tile: NDArray[np.int64]
    leaf: NDArray[np.int64]


def lay_out(z: NDArray[np.float32], each: ParallelMap) -> Tiles:
    """Lay out rows z, float32 (n, d), n > 0, in tiles."""
    n, d = z.shape
    n_tiles = -(-n // TILE)
    order = np.full(n_tiles * TILE, -1, np.int64)
    order[:n] = np.arange(n)
    parts = [(0, n_tiles)]
    while len(parts) < min(_PARTS, n_tiles):
        halved = list(each(lambda part: _halve(z, order[:n], *part), parts))
        parts = [half for a, m, b in halved for half in ((a, m), (m, b)) if half[0] < half[1]]
    list(each(lambda part: _sort(z, order[:n], *part), parts))
    x = np.zeros(n_tiles * d * TILE, np.float32)
    list(each(lambda part: _fill(z, order[:n], x, *part), parts))
    rows = np.full(n_tiles, -1, np.int64)
    if n % TILE:
        rows[-1] = (1 << n % TILE) - 1
    skip, tile, leaf = _tree(n_tiles)
    boxes = np.empty(len(skip) * 2 * d, np.float32)
    _bound(x, rows, skip, tile, boxes)
    return Tiles(x, order, rows, boxes, skip, tile, leaf)


@njit(nogil=True, cache=True)
def _halve(
    z: NDArray[np.float32], order: NDArray[np.int64], a: int, b: int
) -> tuple[int, int, int]:
    """Part the rows of tiles a … b at the median; return a, where the second half begins, b."""
    m = (a + b + 1) // 2
    start, stop, middle = a * TILE, min(b * TILE, len(order)), m * TILE
    if b - a < 2:
        return a, b, b
    feature = _widest(z, order[start:stop])
    keys = np.empty(stop - start, np.float32)
    for i in range(start, stop):
        keys[i - start] = z[order[i], feature]
    _select(keys, order[start:stop], middle - start)
    return a, m, b


@njit(nogil=True, cache=True)
def _sort(z: NDArray[np.float32], order: NDArray[np.int64], a: int, b: int) -> None:
    """Halve tiles a … b until every part is one tile."""
    todo = [(a, b)]
    while len(todo):
        a, b = todo.pop()
        if b - a > 1:
            a, m, b = _halve(z, order, a, b)
            todo.append((a, m))
            todo.append((m, b))


@njit(nogil=True, cache=True)
def _widest(z: NDArray[np.float32], order: NDArray[np.int64]) -> int:
    """Return the feature with the largest variance in a sample of the rows."""
    step = max(1, len(order) // _SAMPLE)
    widest, most = 0, -1.0
    for f in range(z.shape[1]):
        total, squares, count = 0.0, 0.0, 0
        first = np.float64(z[order[0], f])
        for i in range(0, len(order), step):
            t = z[order[i], f] - first
            total, squares, count = total + t, squares + t * t, count + 1
        variance = squares - total * total / count
        if variance > most:
            widest, most = f, variance
    return widest


@njit(nogil=True, cache=True)
def _select(keys: NDArray[np.float32], order: NDArray[np.int64], middle: int) -> None:
    """Order both so that no key before `middle` is larger than one from there on (Hoare)."""
    low, high = 0, len(keys) - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@njit(nogil=True, cache=True)
def _fill(
    z: NDArray[np.float32], order: NDArray[np.int64], x: NDArray[np.float32], a: int, b: int
) -> None:
    """Write the rows of tiles a … b, feature by feature."""
    d = z.shape[1]
    for i in range(a * TILE, min(b * TILE, len(order))):
        base = i // TILE * d * TILE + i % TILE
        for f in range(d):
            x[base + f * TILE] = z[order[i], f]


@njit(nogil=True, cache=True)
def _tree(n_tiles: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number the nodes; return skip, tile and leaf."""
    n_nodes = 2 * n_tiles - 1
    skip, tile = np.empty(n_nodes, np.int64), np.full(n_nodes, -1, np.int64)
    leaf = np.empty(n_tiles, np.int64)
    todo = [(0, 0, n_tiles)]
    while len(todo):
        node, a, b = todo.pop()
        skip[node] = node + 2 * (b - a) - 1
        if b - a == 1:
            tile[node], leaf[a] = a, node
            continue
        m = (a + b + 1) // 2
        todo.append((node + 1, a, m))
        todo.append((node + 2 * (m - a), m, b))
    return skip, tile, leaf


@njit(nogil=True, cache=True)
def _bound(
    x: NDArray[np.float32],
    rows: NDArray[np.int64],
    skip: NDArray[np.int64],
    tile: NDArray[np.int64],
    boxes: NDArray[np.float32],
) -> None:
    """Write the corners of every node, children before their parents."""
    n_nodes = len(skip)
    d = len(boxes) // n_nodes // 2
    for node in range(n_nodes - 1, -1, -1):
        own = node * 2 * d
        if tile[node] < 0:
            left, right = own + 2 * d, skip[node + 1] * 2 * d
            for f in range(d):
                boxes[own + f] = min(boxes[left + f], boxes[right + f])
                boxes[own + d + f] = max(boxes[left + d + f], boxes[right + d + f])
            continue
        for f in range(d):
            at = (tile[node] * d + f) * TILE
            low = high = x[at]
            for i in range(1, TILE):
                if rows[tile[node]] >> i & 1:
                    low, high = min(low, x[at + i]), max(high, x[at + i])
            boxes[own + f], boxes[own + d + f] = low, high
