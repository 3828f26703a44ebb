"""Find nearest centers in float32 with a certificate, in float64 where it fails.

With z = x - s and a = c - s measured from the shift s,

    ½|x - c|² = ½|z|² + (½|a|² - z·a),

and ½|z|² is the same for every center, so the least score ½|a|² - z·a wins. The certificate:
with u = 2^-24 the unit roundoff of float32, A = max |a| and d features,

* z and a are each rounded once: relative error u a component;
* ½|a|² is evaluated in float64 and rounded once: relative error u;
* ½|a|² - z·a takes d products and d additions in some order, fused or not: relative error of
  each term at most (d + 1)·u/(1 - (d + 1)·u) (Higham, Accuracy and Stability, §3.1).

By Cauchy and Schwarz Σ|z_f·a_f| <= |z|·A, so a score is off by at most
E = (d + 8)·u·(½A² + |z|·A): the 8 covers the roundings of z and a, of |z| itself and of E,
and the products of two errors while d < 2^16. Where the two least scores are more than 2E
apart, the float32 winner is the exact one. The required margin is
2.1·E + (d + 8)·2^-50·(A² + |z|²): the rest covers the rounding of the float64 formula, so
that the winner is also that of the specification, and TINY covers underflow. A score that
overflows makes E infinite, and a comparison with NaN is false: both count as uncertain.

The same margin bounds distances: |x - c|² = |z|² + 2·score, off by at most 2E from the score
and (d + 8)·u·|z|² from |z|². So the gap, by how much another center is farther than the nearest
one, is at least √(|z|² + 2·second - e) - √(|z|² + 2·best + e), e the sum of both.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.kmeans.centroid_scores import (
    BEST,
    N_WORK,
    SECOND,
    SQUARES,
    TILE,
    load_tile,
    score_tile,
)
from gpuseg.backends.numba.kmeans.exact_distances import exact_nearest, label_distances
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    load,
    multiply,
    multiply_add,
    not_gt_mask,
    select_lt,
    square_root,
    store,
    subtract,
)
from gpuseg.backends.types import MAX_GAP, PackedCenters

TINY = np.float32(1e-36)

UNCERTAIN = np.float32(-1)
"""In place of a gap: the float32 scores do not decide which center is nearest."""

_UNIT = 2.0**-24
_DOWN, _UP = np.float32(1 - 2.0**-21), np.float32(1 + 2.0**-21)


class TileScratch(NamedTuple):
    """Memory for a tile of rows.

    Attributes
    ----------
    tile : float32 (d·TILE,)
        Rows minus the shift, feature by feature.
    work : float32 (N_WORK,)
    offsets : int64 (TILE,)
        The positions of the rows' first features.
    labels : int32 (TILE,)
    gaps : float32 (TILE,)
    """

    tile: NDArray[np.float32]
    work: NDArray[np.float32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int32]
    gaps: NDArray[np.float32]


@kernel
def new_scratch(n_features: int) -> TileScratch:
    """Return memory for a tile."""
    return TileScratch(
        np.empty(n_features * TILE, np.float32),
        np.empty(N_WORK, np.float32),
        np.empty(TILE, np.int64),
        np.empty(TILE, np.int32),
        np.empty(TILE, np.float32),
    )


@uncounted
def certify_tile(
    work: NDArray[np.float32],
    max_norm: np.float32,
    n_features: int,
    gaps: NDArray[np.float32],
) -> bool:
    """Write the gap of each row, or UNCERTAIN; return whether any row may be uncertain."""
    scale = n_features + 8
    relative = broadcast(np.float32(2.1 * scale * _UNIT) * max_norm)
    half, tiny = broadcast(np.float32(0.5) * max_norm), broadcast(TINY)
    exact, row_error = (
        broadcast(np.float32(scale * 2.0**-53)),
        broadcast(np.float32(1.1 * scale * _UNIT)),
    )
    max_square = broadcast(max_norm * max_norm)
    zero, two = broadcast(np.float32(0)), broadcast(np.float32(2))
    uncertain = 0
    for i in range(0, TILE, LANES):
        best, second = load(work, BEST + i), load(work, SECOND + i)
        squares = load(work, SQUARES + i)
        margin = multiply_add(relative, add(half, square_root(squares)), tiny)
        # Times eight first: where |x - c|², at most twice the sum, overflows, the margin does too.
        eightfold = multiply(broadcast(np.float32(8)), add(max_square, squares))
        margin = multiply_add(exact, eightfold, margin)
        error = multiply_add(row_error, squares, margin)
        near = add(multiply_add(two, best, squares), error)
        far = subtract(multiply_add(two, second, squares), error)
        near = multiply(square_root(select_lt(near, zero, zero, near)), broadcast(_UP))
        far = multiply(square_root(select_lt(far, zero, zero, far)), broadcast(_DOWN))
        gap = subtract(far, near)
        gap = select_lt(gap, broadcast(MAX_GAP), gap, broadcast(MAX_GAP))
        gap = select_lt(margin, subtract(second, best), gap, broadcast(UNCERTAIN))
        store(gaps, i, gap)
        uncertain |= not_gt_mask(gap, broadcast(UNCERTAIN))
    return uncertain != 0


@uncounted
def label_tile(
    x: NDArray[np.float32], n_rows: int, centers: PackedCenters, scratch: TileScratch
) -> None:
    """Write nearest centers and gaps of the first `n_rows` rows at `scratch.offsets`; x is flat.

    All offsets of the tile must be those of some row.
    """
    load_tile(x, scratch.offsets, centers.shift, scratch.tile, scratch.work)
    score_tile(scratch.tile, centers.negated, centers.half_norms, scratch.work, scratch.labels)
    if certify_tile(scratch.work, centers.max_norm, centers.shift.size, scratch.gaps):
        for i in range(n_rows):
            if scratch.gaps[i] == UNCERTAIN:
                scratch.labels[i] = exact_nearest(x, scratch.offsets[i], centers.exact)


@kernel
def nearest(
    x: NDArray[np.float32],
    centers: PackedCenters,
    labels: NDArray[np.int32],
    squares: NDArray[np.float64],
) -> None:
    """Write the nearest center of every row of x (flat) and its squared distance."""
    d, exact = centers.shift.size, centers.exact
    scratch = new_scratch(d)
    offsets, tile_labels = scratch.offsets, scratch.labels
    for start in range(0, labels.size, TILE):
        n_rows = min(TILE, labels.size - start)
        for i in range(TILE):
            offsets[i] = (start + min(i, n_rows - 1)) * d
        label_tile(x, n_rows, centers, scratch)
        labels[start : start + n_rows] = tile_labels[:n_rows]
        label_distances(x, offsets, n_rows, exact, tile_labels, squares[start : start + n_rows])
