"""Kernels that go through the columns once: digest and summary."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.column_summary import NO_ROW
from gpuseg.backends.numba.columns.moments import (
    TILE,
    Lanes,
    Tile,
    add_moments,
    empty_lanes,
    find_bounds,
)  # fmt: skip
from gpuseg.backends.numba.columns.transforms import log1p
from gpuseg.backends.numba.simd.float32 import LANES, load, store
from gpuseg.numerics.hashing import GOLDEN, MIX_1, MIX_2


class Summed(NamedTuple):
    """The arrays of a `backends.base.Summary`: kinds (3, d), bounds (d,), moments (d, 256)."""

    counts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    first: NDArray[np.int64]
    second_high: NDArray[np.int64]
    second_low: NDArray[np.int64]


@njit(nogil=True, cache=True)
def _row_of(tile: Tile, lane: int, missing: bool) -> int:
    """Return the row of the lane's first NaN, or else of its first infinite value."""
    row = tile.first_row + int(tile.row[lane])
    for i in range(tile.rows):
        x = tile.x[tile.at + i * tile.stride + lane]
        if np.isnan(x) if missing else np.isinf(x):
            return row + i * tile.period
    return NO_ROW


@njit(nogil=True, cache=True)
def _count(tile: Tile, lane: int, lanes: Lanes, summed: Summed) -> None:
    """Count what is missing and what is infinite in one lane."""
    f = tile.feature[lane]
    numbers, finite = np.int64(lanes.numbers[lane]), np.int64(lanes.finite[lane])
    for kind, found in enumerate((tile.rows - numbers, numbers - finite)):
        summed.counts[kind, f] += found
        if found > 0 and summed.firsts[kind, f] > tile.first_row + tile.row[lane]:
            row = _row_of(tile, lane, kind == 0)
            summed.firsts[kind, f] = min(summed.firsts[kind, f], row)


@njit(nogil=True, cache=True)
def _add_tile(tile: Tile, transform: NDArray[np.int64], lanes: Lanes, summed: Summed) -> None:
    """Add a tile of transformed values; NaN and infinity only where there is no transform."""
    find_bounds(tile, lanes)
    for lane in range(LANES):
        f = tile.feature[lane]
        if f < 0:
            continue
        # + 0.0: no negative zero, since which of two zeros is less is undefined.
        least, greatest = np.float64(lanes.least[lane]), np.float64(lanes.greatest[lane])
        summed.minimum[f] = min(summed.minimum[f], least + 0.0)
        summed.maximum[f] = max(summed.maximum[f], greatest + 0.0)
        if lanes.finite[lane] < tile.rows and transform[f] == 0:
            _count(tile, lane, lanes, summed)
    add_moments(tile, lanes, summed.first, summed.second_high, summed.second_low)


@njit(nogil=True, cache=True, error_model="numpy")
def _log_lane(tile: Tile, lane: int, summed: Summed) -> None:
    """Transform one lane in place; count what has no logarithm, and leave NaN there."""
    f = tile.feature[lane]
    for i in range(tile.rows):
        at = tile.at + i * tile.stride + lane
        x = tile.x[at]
        kind = 0 if np.isnan(x) else 1 if np.isinf(x) else 2
        if kind == 2 and x > -1:
            tile.x[at] = log1p(np.float64(x))
        else:
            row = tile.first_row + tile.row[lane] + i * tile.period
            summed.counts[kind, f] += 1
            summed.firsts[kind, f] = min(summed.firsts[kind, f], row)
            tile.x[at] = np.nan


@njit(nogil=True, cache=True)
def _has_logs(tile: Tile, transform: NDArray[np.int64]) -> bool:
    """Return whether there is any feature to be transformed in the tile."""
    found = False
    for f in tile.feature:
        found |= f >= 0 and transform[f] != 0
    return found


@njit(nogil=True, cache=True)
def _logged(
    tile: Tile, transform: NDArray[np.int64], room: NDArray[np.float32], summed: Summed
) -> Tile:
    """Return the tile after its transforms, in `room`, (TILE·LANES,)."""
    for i in range(tile.rows):
        store(room, i * LANES, load(tile.x, tile.at + i * tile.stride))
    copy = Tile(room, 0, LANES, tile.rows, tile.feature, tile.first_row, tile.row, tile.period)
    for lane in range(LANES):
        if tile.feature[lane] >= 0 and transform[tile.feature[lane]] != 0:
            _log_lane(copy, lane, summed)
    return copy


@njit(nogil=True, cache=True)
def _add_rows(
    x: NDArray[np.float32],
    columns: int,
    width: int,
    first_row: int,
    transform: NDArray[np.int64],
    summed: Summed,
) -> None:
    """Add rows of `width` values, flat in x, that hold the d features over and over again.

    What comes after the first `columns` values of a row is not counted.
    """
    d = transform.size
    feature, row = np.full(width, -1), np.zeros(width, np.int64)
    for column in range(columns):
        feature[column], row[column] = column % d, column // d
    lanes, room = empty_lanes(), np.empty(TILE * LANES, np.float32)
    for start in range(0, x.size, TILE * width):
        rows = min(TILE, (x.size - start) // width)
        for at in range(0, columns, LANES):
            tile = Tile(
                x, start + at, width, rows, feature[at : at + LANES],
                first_row + start // d, row[at : at + LANES], width // d,
            )  # fmt: skip
            if _has_logs(tile, transform):
                _add_tile(_logged(tile, transform, room, summed), transform, lanes, summed)
            else:
                _add_tile(tile, transform, lanes, summed)


@njit(nogil=True, cache=True)
def summarize(
    x: NDArray[np.float32],
    transform: NDArray[np.int64],
    first_row: int,
    counts: NDArray[np.int64],
    firsts: NDArray[np.int64],
    minimum: NDArray[np.float64],
    maximum: NDArray[np.float64],
    first: NDArray[np.int64],
    second_high: NDArray[np.int64],
    second_low: NDArray[np.int64],
) -> None:
    """Add the block to a `backends.base.Summary`: counts and firsts (3, d), moments (d, 256).

    After LANES / gcd(d, LANES) rows a register holds the same features again. So the block is
    read as if so many rows were one, each column with sums of its own: no lane is idle, and
    nothing is transposed. Rows that are left over become one of that width, filled up.
    """
    summed = Summed(counts, firsts, minimum, maximum, first, second_high, second_low)
    if x.size == 0:
        return
    flat, d = x.reshape(-1), x.shape[1]
    width = LANES // math.gcd(d, LANES) * d
    left = flat.size % width
    whole = flat.size - left
    _add_rows(flat[:whole], width, width, first_row, transform, summed)
    if left > 0:
        last = np.zeros(width, np.float32)
        for i in range(left):
            last[i] = flat[whole + i]
        _add_rows(last, left, width, first_row + whole // d, transform, summed)


@njit(nogil=True, cache=True)
def mix(value: np.uint64) -> np.uint64:
    """Scramble one integer, operation for operation as `numerics.hashing.splitmix64`."""
    z = value + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def digest(
    bits: NDArray[np.uint32],
    weight_bits: NDArray[np.uint64],
    factors: NDArray[np.uint64],
    first_row: int,
) -> np.uint64:
    """Return `Backend.digest` of rows given as their bits; empty `weight_bits` means no weights."""
    total = np.uint64(0)
    for row in range(bits.shape[0]):
        own = np.uint64(0)
        for f in range(bits.shape[1]):
            own += np.uint64(bits[row, f]) * factors[f]
        own = mix(own)
        if weight_bits.size > 0:
            own = mix(own ^ weight_bits[row])
        total += mix(own ^ mix(np.uint64(first_row + row)))
    return total
