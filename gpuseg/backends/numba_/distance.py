"""Nearest centre in float32, certified; in float64 where float32 cannot tell.

Fast path, for a tile of rows at a time. With z = x - s and a = c - s measured from the shift s,

    ½|x - c|² = ½|z|² + (½|a|² - z·a),

and ½|z|² is the same for every centre, so the least score ½|a|² - z·a wins. The certificate:
with u = 2^-24 the unit roundoff of float32, A = max |a| and d features,

* z and a are each rounded once: relative error u a component;
* ½|a|² is evaluated in float64 and rounded once: relative error u;
* ½|a|² - z·a takes d products and d additions in some order, fused or not: relative error of
  each term at most (d + 1)·u/(1 - (d + 1)·u) (Higham, Accuracy and Stability, §3.1).

By Cauchy and Schwarz Σ|z_f·a_f| <= |z|·A, so a score is off by at most
E = (d + 8)·u·(½A² + |z|·A): the 8 covers the roundings of z and a, of |z| itself and of E,
and the products of two errors while d < 2^16. Where the two least scores are more than 2E
apart, the float32 winner is the exact one. The check asks for 2.1·E + (d + 8)·2^-50·(A² + |z|²):
the rest is room for the float64 formula's own rounding, so that the winner is also the one
the specification names, and TINY covers what underflows. A score that overflows makes E
infinite, and a comparison with NaN is false: both count as "cannot tell".
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.base import Centers

TILE = 64
"""Rows scored together: 64 floats a feature keep a tile of up to 64 features in the L1 cache."""

TINY = 1e-36

_SCORES_MAY_BE_REORDERED = {"contract", "reassoc", "nsz"}


class FastCenters:
    """Centres as the fast path wants them.

    Attributes
    ----------
    exact : float64 (k, d)
        The centres themselves.
    shift : float32 (d,)
    rounded : float32 (k, d4)
        c - shift; d4 is d rounded up to a multiple of four, filled with zeros.
    half_norms : float32 (k,)
        ½|c - shift|².
    largest_norm : float32
        max |c - shift|, rounded up.
    """

    def __init__(self, centers: Centers) -> None:
        k, d = centers.values.shape
        offset = centers.values - centers.shift.astype(np.float64)
        self.exact = centers.values
        self.shift = centers.shift
        self.rounded = np.zeros((k, -(-d // 4) * 4), np.float32)
        with np.errstate(over="ignore"):
            self.rounded[:, :d] = offset
            squares = (offset * offset).sum(axis=1)
            self.half_norms = (0.5 * squares).astype(np.float32)
            self.largest_norm = np.float32(np.sqrt(squares.max()) * (1 + 2.0**-20))


@njit(nogil=True, cache=True)
def load_tile(
    x: NDArray[np.float32],
    start: int,
    rows: int,
    shift: NDArray[np.float32],
    tile: NDArray[np.float32],
) -> None:
    """Write x - shift of `rows` rows into tile (d4, TILE), transposed; other entries stay 0."""
    for i in range(rows):
        for f in range(x.shape[1]):
            tile[f, i] = x[start + i, f] - shift[f]
    for i in range(rows, TILE):
        for f in range(x.shape[1]):
            tile[f, i] = np.float32(0)


@njit(nogil=True, cache=True, fastmath=_SCORES_MAY_BE_REORDERED)
def score_tile(
    tile: NDArray[np.float32],
    rounded: NDArray[np.float32],
    half_norms: NDArray[np.float32],
    scores: NDArray[np.float32],
    best: NDArray[np.float32],
    second: NDArray[np.float32],
    labels: NDArray[np.int32],
) -> None:
    """Find the least and the second least score of each row of the tile; all (TILE,)."""
    best[:] = np.float32(np.inf)
    second[:] = np.float32(np.inf)
    labels[:] = 0
    for k in range(rounded.shape[0]):
        scores[:] = half_norms[k]
        for f in range(0, rounded.shape[1], 4):
            c0, c1 = rounded[k, f], rounded[k, f + 1]
            c2, c3 = rounded[k, f + 2], rounded[k, f + 3]
            for i in range(TILE):
                scores[i] -= (c0 * tile[f, i] + c1 * tile[f + 1, i]) + (
                    c2 * tile[f + 2, i] + c3 * tile[f + 3, i]
                )
        for i in range(TILE):
            score, lead = scores[i], best[i]
            behind = lead if score < lead else score
            labels[i] = np.int32(k) if score < lead else labels[i]
            best[i] = score if score < lead else lead
            second[i] = behind if behind < second[i] else second[i]


@njit(nogil=True, cache=True, fastmath=_SCORES_MAY_BE_REORDERED)
def certify_tile(
    tile: NDArray[np.float32],
    largest_norm: np.float32,
    n_features: int,
    squares: NDArray[np.float32],
    margin: NDArray[np.float32],
) -> None:
    """Write into margin (TILE,) by how much the second score must exceed the least."""
    squares[:] = np.float32(0)
    for f in range(tile.shape[0]):
        for i in range(TILE):
            squares[i] += tile[f, i] * tile[f, i]
    relative = np.float32(2.1 * (n_features + 8) * 2.0**-24)
    exact = np.float32((n_features + 8) * 2.0**-50)
    for i in range(TILE):
        size = largest_norm * (np.float32(0.5) * largest_norm + np.sqrt(squares[i]))
        room = exact * (largest_norm * largest_norm + squares[i])
        margin[i] = relative * size + room + np.float32(TINY)


@njit(nogil=True, cache=True)
def squared_distance(
    x: NDArray[np.float32], row: int, centers: NDArray[np.float64], k: int
) -> float:
    """Return |x_row - c_k|² in float64, features in order: the specification's formula."""
    total = 0.0
    for f in range(x.shape[1]):
        difference = np.float64(x[row, f]) - centers[k, f]
        total += difference * difference
    return total


@njit(nogil=True, cache=True)
def nearest_exactly(x: NDArray[np.float32], row: int, centers: NDArray[np.float64]) -> int:
    """Return the nearest centre by the specification's formula, ties to the lowest index."""
    label, least = 0, squared_distance(x, row, centers, 0)
    for k in range(1, centers.shape[0]):
        distance = squared_distance(x, row, centers, k)
        if distance < least:
            label, least = k, distance
    return label


@njit(nogil=True, cache=True)
def label_tile(
    x: NDArray[np.float32],
    start: int,
    rows: int,
    exact: NDArray[np.float64],
    shift: NDArray[np.float32],
    rounded: NDArray[np.float32],
    half_norms: NDArray[np.float32],
    largest_norm: np.float32,
    tile: NDArray[np.float32],
    work: NDArray[np.float32],
    labels: NDArray[np.int32],
) -> None:
    """Write the nearest centre of rows start … start + rows - 1 into labels (TILE,).

    tile (d4, TILE) must be zero in its padding rows; work (5, TILE) is scratch space.
    """
    scores, best, second, squares, margin = work[0], work[1], work[2], work[3], work[4]
    load_tile(x, start, rows, shift, tile)
    score_tile(tile, rounded, half_norms, scores, best, second, labels)
    certify_tile(tile, largest_norm, x.shape[1], squares, margin)
    for i in range(rows):
        if not second[i] - best[i] > margin[i]:
            labels[i] = nearest_exactly(x, start + i, exact)


@njit(nogil=True, cache=True)
def nearest(
    x: NDArray[np.float32],
    exact: NDArray[np.float64],
    shift: NDArray[np.float32],
    rounded: NDArray[np.float32],
    half_norms: NDArray[np.float32],
    largest_norm: np.float32,
    labels: NDArray[np.int32],
    distances: NDArray[np.float64],
) -> None:
    """Write the nearest centre of every row and its squared distance."""
    tile = np.zeros((rounded.shape[1], TILE), np.float32)
    work = np.empty((5, TILE), np.float32)
    found = np.empty(TILE, np.int32)
    for start in range(0, x.shape[0], TILE):
        rows = min(TILE, x.shape[0] - start)
        label_tile(
            x, start, rows, exact, shift, rounded, half_norms, largest_norm, tile, work, found
        )
        for i in range(rows):
            labels[start + i] = found[i]
            distances[start + i] = squared_distance(x, start + i, exact, found[i])


@njit(nogil=True, cache=True)
def squared_distances(
    x: NDArray[np.float32], centers: NDArray[np.float64], distances: NDArray[np.float64]
) -> None:
    """Write the squared distance of every row to every centre into distances (n, k)."""
    for row in range(x.shape[0]):
        for k in range(centers.shape[0]):
            distances[row, k] = squared_distance(x, row, centers, k)
