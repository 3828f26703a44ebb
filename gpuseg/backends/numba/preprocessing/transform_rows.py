"""Kernels that transform rows, and sums from which transforms are fitted."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.feature_transform import LOG1P, YEO_JOHNSON
from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.preprocessing.yeo_johnson import box_cox, log1p, yeo_johnson
from gpuseg.backends.numba.simd.float32 import load, subtract, widen
from gpuseg.backends.numba.simd.float64 import HALF, divide, store_rounded


@partial(kernel, error_model="numpy")
def transform(
    x: NDArray[np.float32],
    fill: NDArray[np.float32],
    bounds: NDArray[np.float32],
    codes: NDArray[np.int64],
    powers: NDArray[np.float64],
    shift: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> None:
    """Replace x by (transform(clip(fill(x))) - shift) / scale, in float64, rounded to float32."""
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            v = fill[f] if np.isnan(x[row, f]) else x[row, f]
            v = bounds[0, f] if v < bounds[0, f] else v
            v = bounds[1, f] if v > bounds[1, f] else v
            value = float(v)
            if codes[f] == LOG1P:
                value = float(np.float32(log1p(value)))
            elif codes[f] == YEO_JOHNSON:
                value = yeo_johnson(value, powers[f])
            x[row, f] = (value - shift[f]) / scale[f]


@partial(kernel, error_model="numpy")
def scale(x: NDArray[np.float32], shift: NDArray[np.float64], divisor: NDArray[np.float64]) -> None:
    """Replace x, flat, by (x - shift) / divisor, as `transform` does."""
    d = shift.size
    n_full = d - d % HALF
    for start in range(0, x.size, d):
        for f in range(0, n_full, HALF):
            value = subtract(widen(x, start + f), load(shift, f))
            store_rounded(x, start + f, divide(value, load(divisor, f)))
        for f in range(n_full, d):
            x[start + f] = (np.float64(x[start + f]) - shift[f]) / divisor[f]


@kernel
def project(
    x: NDArray[np.float32],
    mean: NDArray[np.float64],
    columns: NDArray[np.float64],
    projected: NDArray[np.float32],
) -> None:
    """Write Σ_f (x_f - mean_f)·columns_fj, the features in order, into `projected` (n, p).

    `columns` (d, p) are the components, transposed: the sums of a row are adjacent.
    """
    total = np.empty(columns.shape[1])
    for row in range(x.shape[0]):
        total[:] = 0.0
        for f in range(x.shape[1]):
            offset = np.float64(x[row, f]) - mean[f]
            for j in range(total.size):
                total[j] += offset * columns[f, j]
        for j in range(total.size):
            projected[row, j] = total[j]


@kernel
def gram(
    x: NDArray[np.float32],
    mean: NDArray[np.float64],
    coarse: NDArray[np.float64],
    fine: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Add `ColumnKernels.gram` on two levels with grids (d, d) to `sums` (2, d, d)."""
    d = x.shape[1]
    offset = np.empty(d)
    for row in range(x.shape[0]):
        for f in range(d):
            offset[f] = np.float64(x[row, f]) - mean[f]
        for i in range(d):
            # With one-dimensional views the compiler vectorises the products.
            left, right = offset[i], offset[i:]
            magic, fine_magic = coarse[i, i:], fine[i, i:]
            total, fine_total = sums[0, i, i:], sums[1, i, i:]
            for j in range(right.size):
                term = left * right[j]
                part = (term + magic[j]) - magic[j]
                total[j] += part
                fine_total[j] += ((term - part) + fine_magic[j]) - fine_magic[j]


@uncounted
def _add(value: float, grids: NDArray[np.float64], column: int, sums: NDArray[np.float64]) -> None:
    """Add a value to a column of the sums, level by level."""
    for level in range(grids.shape[0]):
        part = (value + grids[level, column]) - grids[level, column]
        sums[level, column] += part
        value -= part


@partial(kernel, error_model="numpy")
def power_sums(
    x: NDArray[np.float32],
    feature: int,
    powers: NDArray[np.float64],
    origin: NDArray[np.float64],
    grids: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Add `ColumnKernels.power_sums` to `sums` (levels, 2·m + 1)."""
    m = powers.size
    for row in range(x.shape[0]):
        v = np.float64(x[row, feature])
        log = log1p(abs(v))
        for i in range(m):
            t = -box_cox(log, 2.0 - powers[i]) if v < 0.0 else box_cox(log, powers[i])
            t -= origin[i]
            _add(t, grids, i, sums)
            _add(t * t, grids, m + i, sums)
        _add(-log if v < 0.0 else log, grids, 2 * m, sums)
