"""Add rows to the sums of their centers, on a grid.

The term of a row is w·(x - shift), in float64, rounded to the grid: (v + M) - M; the
rounding error goes to a second, finer grid. No fast-math here: it would cancel M. As M is
an even multiple of the grid's spacing, -v is rounded to minus what v is rounded to: a row is
subtracted exactly as it was added.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    load,
    multiply,
    store,
    subtract,
    widen,
)

_DOUBLES = LANES // 2


class GridSums(NamedTuple):
    """Values for the sums of features and of weights, level by level: magic numbers, or totals.

    Attributes
    ----------
    features : float64 (levels·d,) or (levels·k·d,)
    weight : float64 (levels,) or (levels·k,)
    """

    features: NDArray[np.float64]
    weight: NDArray[np.float64]


class WeightedRows(NamedTuple):
    """Rows that are added to sums, in arrays with room for more.

    Attributes
    ----------
    offsets : int64 (n,)
        The position of each row's first feature.
    weight : float64 (n,)
    label : int32 (n,)
    """

    offsets: NDArray[np.int64]
    weight: NDArray[np.float64]
    label: NDArray[np.int32]


@uncounted
def add_rows(
    x: NDArray[np.float32],
    rows: WeightedRows,
    count: int,
    sign: float,
    shift: NDArray[np.float32],
    grids: GridSums,
    totals: GridSums,
) -> None:
    """Add the first `count` rows to the sums of their labels, or subtract them; x is flat."""
    sum_grid, weight_grid = grids
    sums, weights = totals
    levels, d = weight_grid.size, shift.size
    n_centers = weights.size // levels
    n_full = d - d % _DOUBLES
    for i in range(count):
        offset, k = rows.offsets[i], rows.label[i]
        weight = sign * rows.weight[i]
        rest = weight
        for level in range(levels):
            part = (rest + weight_grid[level]) - weight_grid[level]
            weights[level * n_centers + k] += part
            rest -= part
        weight_lanes = broadcast(weight)
        for f in range(0, n_full, _DOUBLES):
            term = multiply(weight_lanes, subtract(widen(x, offset + f), widen(shift, f)))
            for level in range(levels):
                at = (level * n_centers + k) * d + f
                magic = load(sum_grid, level * d + f)
                rounded = subtract(add(term, magic), magic)
                store(sums, at, add(load(sums, at), rounded))
                term = subtract(term, rounded)
        for f in range(n_full, d):
            rest = weight * (np.float64(x[offset + f]) - np.float64(shift[f]))
            for level in range(levels):
                scalar_magic = sum_grid[level * d + f]
                part = (rest + scalar_magic) - scalar_magic
                sums[(level * n_centers + k) * d + f] += part
                rest -= part
