"""Nearest centre in float32, certified; in float64 where float32 cannot tell.

With z = x - s and a = c - s measured from the shift s,

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
apart, the float32 winner is the exact one. The margin asked for is
2.1·E + (d + 8)·2^-50·(A² + |z|²): the rest is room for the float64 formula's own rounding, so
that the winner is also the one the specification names, and TINY covers what underflows. A
score that overflows makes E infinite, and a comparison with NaN is false: both count as
"cannot tell".

The same margin bounds distances: |x - c|² = |z|² + 2·score, off by at most 2E from the score
and (d + 8)·u·|z|² from |z|². So the gap, by how much another centre is farther than the own
one, is at least √(|z|² + 2·second - e) - √(|z|² + 2·best + e), e the sum of both.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.base import LARGEST_GAP
from gpuseg.backends.numba.kmeans.centroid_scores import (
    BEST,
    N_WORK,
    SECOND,
    SQUARES,
    TILE,
    load_tile,
    score_tile,
)
from gpuseg.backends.numba.kmeans.exact_distances import nearest_exactly, own_distances
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    every,
    load,
    multiply,
    multiply_add,
    not_above,
    square_root,
    store,
    subtract,
    where_less,
)

TINY = np.float32(1e-36)

UNCERTAIN = np.float32(-1)
"""Instead of a gap: float32 cannot tell which centre is nearest."""

_UNIT = 2.0**-24
_DOWN, _UP = np.float32(1 - 2.0**-21), np.float32(1 + 2.0**-21)


@njit(nogil=True, cache=True)
def tile_space(n_features: int) -> Any:
    """Return what a tile needs: itself, scratch, places of rows, labels and gaps."""
    return (
        np.empty(n_features * TILE, np.float32),
        np.empty(N_WORK, np.float32),
        np.empty(TILE, np.int64),
        np.empty(TILE, np.int32),
        np.empty(TILE, np.float32),
    )


@njit(nogil=True, cache=True)
def certify_tile(
    work: NDArray[np.float32],
    largest_norm: np.float32,
    n_features: int,
    gaps: NDArray[np.float32],
) -> bool:
    """Write the gap of each row, or UNCERTAIN; return whether there may be uncertain ones."""
    scale = n_features + 8
    relative = every(np.float32(2.1 * scale * _UNIT) * largest_norm)
    half, tiny = every(np.float32(0.5) * largest_norm), every(TINY)
    exact, own = every(np.float32(scale * 2.0**-53)), every(np.float32(1.1 * scale * _UNIT))
    largest_square = every(largest_norm * largest_norm)
    zero, two = every(np.float32(0)), every(np.float32(2))
    doubtful = 0
    for i in range(0, TILE, LANES):
        best, second = load(work, BEST + i), load(work, SECOND + i)
        squares = load(work, SQUARES + i)
        margin = multiply_add(relative, add(half, square_root(squares)), tiny)
        # Eight first: where |x - c|², at most twice the sum, overflows, so does the margin.
        eightfold = multiply(every(np.float32(8)), add(largest_square, squares))
        margin = multiply_add(exact, eightfold, margin)
        error = multiply_add(own, squares, margin)
        near = add(multiply_add(two, best, squares), error)
        far = subtract(multiply_add(two, second, squares), error)
        near = multiply(square_root(where_less(near, zero, zero, near)), every(_UP))
        far = multiply(square_root(where_less(far, zero, zero, far)), every(_DOWN))
        gap = subtract(far, near)
        gap = where_less(gap, every(LARGEST_GAP), gap, every(LARGEST_GAP))
        gap = where_less(margin, subtract(second, best), gap, every(UNCERTAIN))
        store(gaps, i, gap)
        doubtful |= not_above(gap, every(UNCERTAIN))
    return doubtful != 0


@njit(nogil=True, cache=True)
def label_tile(
    x: NDArray[np.float32],
    places: NDArray[np.int64],
    rows: int,
    exact: NDArray[np.float64],
    shift: NDArray[np.float32],
    negated: NDArray[np.float32],
    half_norms: NDArray[np.float32],
    largest_norm: np.float32,
    tile: NDArray[np.float32],
    work: NDArray[np.float32],
    labels: NDArray[np.int32],
    gaps: NDArray[np.float32],
) -> None:
    """Write nearest centres and gaps of the first `rows` rows of a tile, both (TILE,).

    x is flat; `places` (TILE,) are the offsets of the rows' first features, beyond `rows` those
    of any row. tile (d·TILE,) and work (N_WORK,) are scratch space.
    """
    load_tile(x, places, shift, tile, work)
    score_tile(tile, negated, half_norms, work, labels)
    if certify_tile(work, largest_norm, shift.size, gaps):
        for i in range(rows):
            if gaps[i] == UNCERTAIN:
                labels[i] = nearest_exactly(x, places[i], exact)


@njit(nogil=True, cache=True)
def nearest(
    x: NDArray[np.float32],
    exact: NDArray[np.float64],
    shift: NDArray[np.float32],
    negated: NDArray[np.float32],
    half_norms: NDArray[np.float32],
    largest_norm: np.float32,
    labels: NDArray[np.int32],
    distances: NDArray[np.float64],
) -> None:
    """Write the nearest centre of every row of x (flat) and its squared distance."""
    tile, work, places, found, gaps = tile_space(shift.size)
    for start in range(0, labels.size, TILE):
        rows = min(TILE, labels.size - start)
        for i in range(TILE):
            places[i] = (start + min(i, rows - 1)) * shift.size
        label_tile(
            x, places, rows,
            exact, shift, negated, half_norms, largest_norm, tile, work, found, gaps,
        )  # fmt: skip
        labels[start : start + rows] = found[:rows]
        own_distances(x, places, rows, exact, found, distances[start : start + rows])
