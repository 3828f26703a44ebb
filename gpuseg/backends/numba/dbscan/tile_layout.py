"""Rows in tiles, so that the rows of a tile are near each other.

The rows are halved again and again at the median of the feature with the largest variance, always
at a whole number of tiles, until each part is one tile (Bentley, "Multidimensional binary search
trees", CACM 1975). The parts of tiles a … b − 1 are the
tiles a … m − 1 and m … b − 1, with m = `split(a, b)`.

An order by k-means cell, and by the first principal axis within a cell, needed 3.2, 2.8, 1.6 and
1.6 times as many distances on 200,000 rows of 4, 8, 16 and 32 features.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import inlined
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.protocols import ParallelMap

TILE = 64
"""Rows of a tile: the bits of an int64."""

_MAX_SAMPLE = 256
"""Rows of a part from which the variances are estimated."""

_N_PARTS = 16
"""Parts into which the rows are halved before each thread takes whole parts."""


class TileLayout(NamedTuple):
    """Rows in tiles, as kernels take them; row i of tile t is in slot t·TILE + i.

    Attributes
    ----------
    x : float32 (n_tiles·d·TILE,)
        Feature f of row i of tile t is at (t·d + f)·TILE + i.
    order : int64 (n_tiles·TILE,)
        The row in each slot; -1 in the empty slots at the end of the last tile.
    rows : int64 (n_tiles,)
        The slots of each tile that hold a row, as bits.
    """

    x: NDArray[np.float32]
    order: NDArray[np.int64]
    rows: NDArray[np.int64]


def build_layout(z: NDArray[np.float32], parallel_map: ParallelMap) -> TileLayout:
    """Put rows z, float32 (n, d), n > 0, into tiles."""
    n, d = z.shape
    n_tiles = -(-n // TILE)
    order = np.full(n_tiles * TILE, -1, np.int64)
    order[:n] = np.arange(n)
    parts = [(0, n_tiles)]
    while len(parts) < min(_N_PARTS, n_tiles):
        halved = list(parallel_map(lambda part: _halve(z, order[:n], *part), parts))
        parts = [half for a, m, b in halved for half in ((a, m), (m, b)) if half[0] < half[1]]
    list(parallel_map(lambda part: _sort(z, order[:n], *part), parts))
    x = np.zeros(n_tiles * d * TILE, np.float32)
    list(parallel_map(lambda part: _fill(z, order[:n], x, *part), parts))
    rows = np.full(n_tiles, -1, np.int64)
    if n % TILE:
        rows[-1] = (1 << n % TILE) - 1
    return TileLayout(x, order, rows)


@inlined
def split(a: int, b: int) -> int:
    """Return the first tile of the second half of tiles a … b − 1."""
    return (a + b + 1) // 2


@kernel
def _halve(
    z: NDArray[np.float32], order: NDArray[np.int64], a: int, b: int
) -> tuple[int, int, int]:
    """Partition the rows of tiles a … b − 1 at the median; return a, the split, and b."""
    m = split(a, b)
    start, stop, middle = a * TILE, min(b * TILE, len(order)), m * TILE
    if b - a < 2:
        return a, b, b
    feature = _widest(z, order[start:stop])
    keys = np.empty(stop - start, np.float32)
    for i in range(start, stop):
        keys[i - start] = z[order[i], feature]
    _select(keys, order[start:stop], middle - start)
    return a, m, b


@kernel
def _sort(z: NDArray[np.float32], order: NDArray[np.int64], a: int, b: int) -> None:
    """Halve tiles a … b − 1 until every part is one tile."""
    stack = [(a, b)]
    while len(stack):
        a, b = stack.pop()
        if b - a > 1:
            a, m, b = _halve(z, order, a, b)
            stack.append((a, m))
            stack.append((m, b))


@kernel
def _widest(z: NDArray[np.float32], order: NDArray[np.int64]) -> int:
    """Return the feature with the largest variance in a sample of the rows."""
    step = max(1, len(order) // _MAX_SAMPLE)
    widest, max_variance = 0, -1.0
    for f in range(z.shape[1]):
        total, squares, count = 0.0, 0.0, 0
        first = np.float64(z[order[0], f])
        for i in range(0, len(order), step):
            t = z[order[i], f] - first
            total, squares, count = total + t, squares + t * t, count + 1
        variance = squares - total * total / count
        if variance > max_variance:
            widest, max_variance = f, variance
    return widest


@kernel
def _select(keys: NDArray[np.float32], order: NDArray[np.int64], middle: int) -> None:
    """Partition both arrays: no key before `middle` is larger than one from there on (Hoare)."""
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


@kernel
def _fill(
    z: NDArray[np.float32], order: NDArray[np.int64], x: NDArray[np.float32], a: int, b: int
) -> None:
    """Write the rows of tiles a … b − 1, feature by feature."""
    d = z.shape[1]
    for i in range(a * TILE, min(b * TILE, len(order))):
        base = i // TILE * d * TILE + i % TILE
        for f in range(d):
            x[base + f * TILE] = z[order[i], f]
