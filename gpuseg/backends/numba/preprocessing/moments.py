"""Exact Σx and Σx² of the columns of a tile, in float64 registers.

A tile is up to `TILE` = 2^t values of each of `LANES` columns side by side; each lane has its
sums. In one window of exponents float64 adds without rounding. Let u be the unit of the
window's largest exponent E (`Moments`) and R = `RANGE`. Where all exponents are between E - R
and E, every x is a multiple of 2^-R·u below 2^24·u, and

* Σ|x| < 2^(t + 24)·u is at most 2^53 of the units 2^-R·u where t + R <= 29;
* x² is exact, a multiple of 2^-2R·u², and 2^24·u² or more below 2^48·u². The squares are added
  to M = 2^(t + 48)·u². The sum, roundings and all, stays below 2M, so each addition rounds to a
  multiple of q = 2^-52·M = 2^(t - 4)·u². What it rounds off, at most q/2, is computed exactly and
  added up separately: a sum of multiples of 2^-2R·u² that is at most 2^t·q/2 = 2^(2t - 5)·u², hence
  2^53 of the multiples, where t + R <= 29.

Values with smaller exponents are left to another window, of at most thirteen; few tiles have any.
The sums go into the tables of `Moments` as integers: multiples of u and u² at E, finer parts
at E - R. That is up to 2^24 per row, and only the exponent R + 1 may belong to two windows.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.simd.float32 import (
    LANES,
    add,
    broadcast,
    load,
    prefetch,
    select_lt,
    store,
    subtract,
)
from gpuseg.backends.numba.simd.float64 import HALF, halves, magnitude, square_plus
from gpuseg.numerics.moments import HALF_BITS, N_EXPONENTS

_LOG_TILE = 9
TILE = 1 << _LOG_TILE
"""Values per lane of a tile: those of 16 lanes fill 32 KiB, and are read twice."""

RANGE = 29 - _LOG_TILE
"""Exponents per window, minus one."""

_UNITS = 2.0 ** (np.arange(N_EXPONENTS) - 150)
"""The unit of a significand per exponent: 2^-23 of the exponent's smallest number."""

_MAGIC = 2.0 ** (_LOG_TILE + 48)
_LOW_HALF = (1 << HALF_BITS) - 1
_LOW_RANGE = (1 << RANGE) - 1


class Tile(NamedTuple):
    """Up to `TILE` values of each lane; value i of a lane is x[start + i·stride + lane].

    Attributes
    ----------
    x : float32 (m,)
    start, stride, rows : int
    feature : int64 (LANES,)
        The feature of each lane; -1 for an unused lane, which is full of zeros.
    first_row, row, period : int, int64 (LANES,), int
        Value i of a lane is from row first_row + row[lane] + i·period.
    """

    x: NDArray[np.float32]
    start: int
    stride: int
    rows: int
    feature: NDArray[np.int64]
    first_row: int
    row: NDArray[np.int64]
    period: int


class Lanes(NamedTuple):
    """Statistics of each lane of a tile; all (LANES,).

    Attributes
    ----------
    minimum, maximum : float32
        Bounds of the finite values; inf and -inf where there is none.
    numbers, finite : float32
        Counts of the values that are not NaN, and of those that are finite.
    rest : float32
        The largest |x| that is in no sum yet; 0 where there is none.
    top, low : float32
        The window: low <= |x| < top.
    exponent : int64
        The window's largest exponent; 0 where there is nothing to add.
    magic : float64
        M, to which the squares are added.
    total, squares, lost : float64
        Σx, M + Σx² as rounded, and the sum of the rounding errors.
    rest_bits : int32
        The same memory as rest.
    """

    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]
    numbers: NDArray[np.float32]
    finite: NDArray[np.float32]
    rest: NDArray[np.float32]
    top: NDArray[np.float32]
    low: NDArray[np.float32]
    exponent: NDArray[np.int64]
    magic: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    lost: NDArray[np.float64]
    rest_bits: NDArray[np.int32]


@kernel
def empty_lanes() -> Lanes:
    """Return memory for the statistics of a tile."""
    rest = np.empty(LANES, np.float32)
    return Lanes(
        minimum=np.empty(LANES, np.float32),
        maximum=np.empty(LANES, np.float32),
        numbers=np.empty(LANES, np.float32),
        finite=np.empty(LANES, np.float32),
        rest=rest,
        top=np.empty(LANES, np.float32),
        low=np.empty(LANES, np.float32),
        exponent=np.empty(LANES, np.int64),
        magic=np.empty(LANES),
        total=np.empty(LANES),
        squares=np.empty(LANES),
        lost=np.empty(LANES),
        rest_bits=rest.view(np.int32),
    )


@njit(inline="always")
def _min(a: Any, b: Any) -> Any:
    """Return the smaller of a and b; b where a is NaN."""
    return select_lt(a, b, a, b)


@njit(inline="always")
def _max(a: Any, b: Any) -> Any:
    """Return the larger of a and b; b where a is NaN."""
    return select_lt(b, a, a, b)


@uncounted
def find_bounds(tile: Tile, lanes: Lanes) -> None:
    """Compute minimum, maximum, numbers and finite."""
    zero, minus_one = broadcast(np.float32(0)), broadcast(np.float32(-1))
    infinity, minus_infinity = broadcast(np.float32(np.inf)), broadcast(np.float32(-np.inf))
    minimum, maximum = infinity, minus_infinity
    numbers = finite = zero
    at = tile.start
    for _ in range(tile.rows):
        x = load(tile.x, at)
        absolute = magnitude(x)
        # In this order only the minimum and the maximum depend on the row before.
        minimum = _min(select_lt(absolute, infinity, x, infinity), minimum)
        maximum = _max(select_lt(absolute, infinity, x, minus_infinity), maximum)
        finite = select_lt(absolute, infinity, subtract(finite, minus_one), finite)
        numbers = select_lt(minus_one, absolute, subtract(numbers, minus_one), numbers)
        at += tile.stride
    store(lanes.minimum, 0, minimum)
    store(lanes.maximum, 0, maximum)
    store(lanes.numbers, 0, numbers)
    store(lanes.finite, 0, finite)


@uncounted
def _set_window(lanes: Lanes) -> bool:
    """Set top, low, exponent and magic from rest; return whether any lane has a rest."""
    has_rest = False
    for lane in range(LANES):
        # The last window spans the exponents from RANGE + 1 down to all subnormal numbers.
        exponent = max(int(lanes.rest_bits[lane]) >> 23, RANGE + 1)
        unit, finest = _UNITS[exponent], _UNITS[exponent - RANGE]
        lanes.top[lane] = lanes.low[lane]
        lanes.low[lane] = 2.0**23 * finest if exponent > RANGE + 1 else 0.0
        lanes.magic[lane] = _MAGIC * unit * unit
        lanes.exponent[lane] = exponent if lanes.rest[lane] > 0 else 0
        has_rest |= lanes.rest[lane] > 0
    return has_rest


@njit(inline="always")
def _add_square(x: Any, squares: Any, lost: Any) -> tuple[Any, Any]:
    """Return squares + x² as rounded, and lost plus the rounding error."""
    rounded = square_plus(x, squares)
    return rounded, add(lost, square_plus(x, subtract(squares, rounded)))


@uncounted
def _sum_window(tile: Tile, lanes: Lanes) -> None:
    """Compute total, squares and lost of the window, and the rest below it."""
    top, low = load(lanes.top, 0), load(lanes.low, 0)
    zero = rest = broadcast(np.float32(0))
    squares_0, squares_1 = load(lanes.magic, 0), load(lanes.magic, HALF)
    total_0 = total_1 = lost_0 = lost_1 = broadcast(0.0)
    at = tile.start
    for _ in range(tile.rows):
        x = load(tile.x, at)
        prefetch(tile.x, at + TILE * tile.stride)  # the next tile; may be past the end
        absolute = magnitude(x)
        rest = _max(select_lt(absolute, low, absolute, zero), rest)
        # NaN is not less than top, and neither is infinity.
        inside = select_lt(absolute, top, select_lt(absolute, low, zero, x), zero)
        x_0, x_1 = halves(inside)
        total_0, total_1 = add(total_0, x_0), add(total_1, x_1)
        squares_0, lost_0 = _add_square(x_0, squares_0, lost_0)
        squares_1, lost_1 = _add_square(x_1, squares_1, lost_1)
        at += tile.stride
    store(lanes.rest, 0, rest)
    store(lanes.total, 0, total_0)
    store(lanes.total, HALF, total_1)
    store(lanes.squares, 0, squares_0)
    store(lanes.squares, HALF, squares_1)
    store(lanes.lost, 0, lost_0)
    store(lanes.lost, HALF, lost_1)


@partial(uncounted, error_model="numpy")
def add_moments(
    tile: Tile,
    lanes: Lanes,
    first: NDArray[np.int64],
    second_high: NDArray[np.int64],
    second_low: NDArray[np.int64],
) -> None:
    """Add Σx and Σx² of the finite values to the tables (d, 256), after `find_bounds`."""
    for lane in range(LANES):
        lanes.rest[lane] = max(-lanes.minimum[lane], lanes.maximum[lane], np.float32(0))
        lanes.low[lane] = np.inf
    while _set_window(lanes):
        _sum_window(tile, lanes)
        for lane in range(LANES):
            if lanes.exponent[lane] == 0:
                continue
            f, high, low = tile.feature[lane], lanes.exponent[lane], lanes.exponent[lane] - RANGE
            unit, finest = _UNITS[high], _UNITS[low]
            # All three divisions are exact, and give integers up to 2^53, 2^57 and 2^53.
            total = np.int64(lanes.total[lane] / finest)
            squares = np.int64((lanes.squares[lane] - lanes.magic[lane]) / (unit * unit))
            lost = np.int64(lanes.lost[lane] / (finest * finest))
            first[f, high] += total >> RANGE
            first[f, low] += total & _LOW_RANGE
            second_high[f, high] += squares >> HALF_BITS
            second_low[f, high] += squares & _LOW_HALF
            second_high[f, low] += lost >> HALF_BITS
            second_low[f, low] += lost & _LOW_HALF
