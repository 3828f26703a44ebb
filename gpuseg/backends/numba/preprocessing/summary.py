"""Kernels that read the columns once: digest and summary."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import NO_ROW
from gpuseg.backends.numba.arguments import read_only
from gpuseg.backends.numba.inline import uncounted
from gpuseg.backends.numba.kernel import kernel
from gpuseg.backends.numba.preprocessing.moments import (
    TILE,
    Lanes,
    Tile,
    add_moments,
    empty_lanes,
    find_bounds,
)
from gpuseg.backends.numba.preprocessing.yeo_johnson import log1p
from gpuseg.backends.numba.simd.float32 import LANES, load, store
from gpuseg.numerics.hashing import GOLDEN, MIX_1, MIX_2


class SummaryArrays(NamedTuple):
    """The arrays of a `ColumnSummary`: kinds (3, d), bounds (d,), moments (d, 256)."""

    counts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    first: NDArray[np.int64]
    second_high: NDArray[np.int64]
    second_low: NDArray[np.int64]


@uncounted
def _row_of(tile: Tile, lane: int, missing: bool) -> int:
    """Return the row of the lane's first NaN, or else of its first infinite value."""
    row = tile.first_row + int(tile.row[lane])
    for i in range(tile.rows):
        x = tile.x[tile.start + i * tile.stride + lane]
        if np.isnan(x) if missing else np.isinf(x):
            return row + i * tile.period
    return NO_ROW


@uncounted
def _count(tile: Tile, lane: int, lanes: Lanes, summary: SummaryArrays) -> None:
    """Count missing and infinite values of one lane."""
    f = tile.feature[lane]
    numbers, finite = np.int64(lanes.numbers[lane]), np.int64(lanes.finite[lane])
    for kind, count in enumerate((tile.rows - numbers, numbers - finite)):
        summary.counts[kind, f] += count
        if count > 0 and summary.firsts[kind, f] > tile.first_row + tile.row[lane]:
            row = _row_of(tile, lane, kind == 0)
            summary.firsts[kind, f] = min(summary.firsts[kind, f], row)


@uncounted
def _add_tile(
    tile: Tile, transform: NDArray[np.int64], lanes: Lanes, summary: SummaryArrays
) -> None:
    """Add a tile of transformed values; NaN and infinity only where there is no transform."""
    find_bounds(tile, lanes)
    for lane in range(LANES):
        f = tile.feature[lane]
        if f < 0:
            continue
        # + 0.0: no negative zero, since which of two zeros is less is undefined.
        minimum, maximum = np.float64(lanes.minimum[lane]), np.float64(lanes.maximum[lane])
        summary.minimum[f] = min(summary.minimum[f], minimum + 0.0)
        summary.maximum[f] = max(summary.maximum[f], maximum + 0.0)
        if lanes.finite[lane] < tile.rows and transform[f] == 0:
            _count(tile, lane, lanes, summary)
    add_moments(tile, lanes, summary.first, summary.second_high, summary.second_low)


@partial(uncounted, error_model="numpy")
def _log_lane(tile: Tile, lane: int, values: NDArray[np.float32], summary: SummaryArrays) -> None:
    """Transform one lane of a tile, whose copy in `values` is written.

    Values without a logarithm are counted, and become NaN.
    """
    f = tile.feature[lane]
    for i in range(tile.rows):
        at = i * LANES + lane
        x = values[at]
        kind = 0 if np.isnan(x) else 1 if np.isinf(x) else 2
        if kind == 2 and x > -1:
            values[at] = log1p(np.float64(x))
        else:
            row = tile.first_row + tile.row[lane] + i * tile.period
            summary.counts[kind, f] += 1
            summary.firsts[kind, f] = min(summary.firsts[kind, f], row)
            values[at] = np.nan


@uncounted
def _has_logs(tile: Tile, transform: NDArray[np.int64]) -> bool:
    """Return whether any feature of the tile is to be transformed."""
    has_logs = False
    for f in tile.feature:
        has_logs |= f >= 0 and transform[f] != 0
    return has_logs


class _TileCopy(NamedTuple):
    """Memory for a copy of a tile, float32 (TILE·LANES,), under two types.

    `values` is written. `view` is the same memory, read-only as rows are: so numba compiles the
    sums over a tile once, for rows and for copies.
    """

    values: NDArray[np.float32]
    view: NDArray[np.float32]


@kernel
def _logged(
    tile: Tile, transform: NDArray[np.int64], copy: _TileCopy, summary: SummaryArrays
) -> Tile:
    """Return the tile after its transforms, as a tile of the copy."""
    x, view = copy
    for i in range(tile.rows):
        store(x, i * LANES, load(tile.x, tile.start + i * tile.stride))
    for lane in range(LANES):
        if tile.feature[lane] >= 0 and transform[tile.feature[lane]] != 0:
            _log_lane(tile, lane, x, summary)
    return Tile(view, 0, LANES, tile.rows, tile.feature, tile.first_row, tile.row, tile.period)


@kernel
def _add_rows(
    x: NDArray[np.float32],
    columns: int,
    width: int,
    first_row: int,
    transform: NDArray[np.int64],
    copy: _TileCopy,
    summary: SummaryArrays,
) -> None:
    """Add rows of `width` values, flat in x, that hold the d features again and again.

    Only the first `columns` values of a row are counted.
    """
    d = transform.size
    feature, row = np.full(width, -1), np.zeros(width, np.int64)
    for column in range(columns):
        feature[column], row[column] = column % d, column // d
    lanes = empty_lanes()
    for start in range(0, x.size, TILE * width):
        rows = min(TILE, (x.size - start) // width)
        for at in range(0, columns, LANES):
            tile = Tile(
                x=x,
                start=start + at,
                stride=width,
                rows=rows,
                feature=feature[at : at + LANES],
                first_row=first_row + start // d,
                row=row[at : at + LANES],
                period=width // d,
            )
            if _has_logs(tile, transform):
                _add_tile(_logged(tile, transform, copy, summary), transform, lanes, summary)
            else:
                _add_tile(tile, transform, lanes, summary)


def summarize(
    x: NDArray[np.float32], transform: NDArray[np.int64], first_row: int, summary: SummaryArrays
) -> None:
    """Add a block of rows to a summary.

    After LANES / gcd(d, LANES) rows a register holds the same features again. So the block is
    read as if that many rows were one, with separate sums for each column: no lane is idle, and
    nothing is transposed. The remaining rows become one of that width, padded with zeros.
    """
    if x.size == 0:
        return
    flat, d = read_only(x.reshape(-1)), x.shape[1]
    width = LANES // math.gcd(d, LANES) * d
    rest = flat.size % width
    n_full = flat.size - rest
    values = np.empty(TILE * LANES, np.float32)
    copy = _TileCopy(values, read_only(values))
    _add_rows(flat[:n_full], width, width, first_row, transform, copy, summary)
    if rest > 0:
        last = np.zeros(width, np.float32)
        last[:rest] = flat[n_full:]
        first_of_rest = first_row + n_full // d
        _add_rows(read_only(last), rest, width, first_of_rest, transform, copy, summary)


@uncounted
def splitmix64(value: np.uint64) -> np.uint64:
    """Scramble one integer, operation for operation as `numerics.hashing.splitmix64`."""
    z = value + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@kernel
def digest(
    bits: NDArray[np.uint32],
    weight_bits: NDArray[np.uint64],
    factors: NDArray[np.uint64],
    first_row: int,
) -> np.uint64:
    """Return `ColumnKernels.digest` of the bits of rows; empty `weight_bits` means no weights."""
    total, digests = np.uint64(0), np.empty(TILE, np.uint64)
    for start in range(0, bits.shape[0], TILE):
        n_rows = min(TILE, bits.shape[0] - start)
        for i in range(n_rows):
            row_digest = np.uint64(0)
            for f in range(bits.shape[1]):
                row_digest += np.uint64(bits[start + i, f]) * factors[f]
            digests[i] = row_digest
        if weight_bits.size > 0:
            for i in range(n_rows):
                digests[i] = splitmix64(digests[i]) ^ weight_bits[start + i]
        for i in range(n_rows):  # a loop of its own, which the compiler can vectorise
            position = splitmix64(np.uint64(first_row + start + i))
            total += splitmix64(splitmix64(digests[i]) ^ position)
    return total
