"""A row into the sums of its centre, on the grid.

The term of a row is w·(x - shift), in float64, rounded to the grid: (v + M) - M; what that
rounds off goes to a second, finer grid. No fast-math here: it would cancel M. As M is
an even multiple of the grid's spacing, -v is rounded to minus what v is rounded to: a row is
subtracted exactly as it was added.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    every,
    load,
    multiply,
    store,
    subtract,
    widen,
)

_DOUBLES = LANES // 2


@njit(nogil=True, cache=True)
def add_rows(
    x: NDArray[np.float32],
    places: NDArray[np.int64],
    count: int,
    sign: float,
    row_weights: NDArray[np.float64],
    labels: NDArray[np.int32],
    shift: NDArray[np.float32],
    grids: tuple[NDArray[np.float64], NDArray[np.float64]],
    totals: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Add the first `count` rows at `places` to the sums of their labels, or subtract them.

    places, row_weights and labels hold at least `count` values. The grids are (levels·d,) for the
    sums and (levels,) for the weights; the totals (levels·K·d,) and (levels·K,).
    """
    sum_grid, weight_grid = grids
    sums, weights = totals
    levels, d = weight_grid.size, shift.size
    n_centers = weights.size // levels
    whole = d - d % _DOUBLES
    for i in range(count):
        place, k = places[i], labels[i]
        weight = sign * row_weights[i]
        rest = weight
        for level in range(levels):
            part = (rest + weight_grid[level]) - weight_grid[level]
            weights[level * n_centers + k] += part
            rest -= part
        heavy = every(weight)
        for f in range(0, whole, _DOUBLES):
            term = multiply(heavy, subtract(widen(x, place + f), widen(shift, f)))
            for level in range(levels):
                at = (level * n_centers + k) * d + f
                magic = load(sum_grid, level * d + f)
                rounded = subtract(add(term, magic), magic)
                store(sums, at, add(load(sums, at), rounded))
                term = subtract(term, rounded)
        for f in range(whole, d):
            left = weight * (np.float64(x[place + f]) - np.float64(shift[f]))
            for level in range(levels):
                magnitude = sum_grid[level * d + f]
                piece = (left + magnitude) - magnitude
                sums[(level * n_centers + k) * d + f] += piece
                left -= piece
