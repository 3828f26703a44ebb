"""The specification of every primitive: short, obvious, the oracle of the tests. Never clever."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import LARGEST_GAP, Centers, RowBounds, digest_factors
from gpuseg.backends.column_summary import NO_ROW, ColumnSummary
from gpuseg.backends.feature_transform import LOG1P, YEO_JOHNSON, FeatureTransform, Projection
from gpuseg.numerics.hashing import splitmix64
from gpuseg.numerics.log1p import log1p
from gpuseg.numerics.moments import HALF_BITS, Moments
from gpuseg.numerics.sum_grid import AssignmentSums, LloydSums, SumGrid, on_grid
from gpuseg.numerics.yeo_johnson import yeo_johnson

_ROWS_AT_A_TIME = 8192


class NumpyBackend:
    """See `backends.base.Backend` for what each primitive does."""

    name = "numpy"
    slack_rounding = 2.0**-23

    def summarize(
        self, x: NDArray[np.float32], transform: NDArray[np.int64], first_row: int
    ) -> ColumnSummary:
        summary = ColumnSummary.empty(x.shape[1])
        summary.rows = x.shape[0]
        for f, code in enumerate(transform.tolist()):
            column = x[:, f]
            missing, infinite = np.isnan(column), np.isinf(column)
            outside = (column <= -1) & ~infinite if code == LOG1P else np.zeros_like(missing)
            for kind, found in enumerate((missing, infinite, outside)):
                rows = np.flatnonzero(found)
                summary.counts[kind, f] = rows.size
                summary.firsts[kind, f] = first_row + rows[0] if rows.size else NO_ROW
            values = _transformed(column[~(missing | infinite | outside)], code)
            if values.size:
                summary.minimum[f] = values.min() + np.float32(0)
                summary.maximum[f] = values.max() + np.float32(0)
            _add_moments(summary.moments, f, values)
        return summary

    def digest(
        self, x: NDArray[np.float32], weight: NDArray[np.float64] | None, first_row: int
    ) -> int:
        place = splitmix64(np.arange(first_row, first_row + len(x), dtype=np.uint64))
        with np.errstate(over="ignore"):
            bits = x.view(np.uint32).astype(np.uint64) * digest_factors(x.shape[1])
            rows = splitmix64(bits.sum(axis=1, dtype=np.uint64))
            if weight is not None:
                rows = splitmix64(rows ^ weight.view(np.uint64))
            return int(splitmix64(rows ^ place).sum(dtype=np.uint64))

    def prepare(self, x: NDArray[np.float32], preparation: FeatureTransform) -> NDArray[np.float32]:
        (low, high), powers = preparation.bounds(), preparation.powers()
        for f, code in enumerate(preparation.transform.tolist()):
            column = np.where(np.isnan(x[:, f]), preparation.fill[f], x[:, f])
            column = np.where(column < low[f], low[f], column)
            column = np.where(column > high[f], high[f], column)
            values = _transformed(column, code).astype(np.float64)
            if code == YEO_JOHNSON:
                values = yeo_johnson(values, powers[f])
            with np.errstate(over="ignore"):
                x[:, f] = (values - preparation.shift[f]) / preparation.scale[f]
        if preparation.projection is not None:
            x = _projected(x, preparation.projection)
        if preparation.unit:
            squares = self.squared_distances(x, np.zeros((1, x.shape[1])))
            with np.errstate(invalid="ignore"):
                x[:] = x / np.sqrt(squares)
        return x

    def gram(
        self, x: Any, mean: NDArray[np.float64], grids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        sums = np.zeros(grids.shape)
        offset = x - mean
        for i in range(x.shape[1]):
            products = offset[:, i, None] * offset[:, i:]
            sums[:, i, i:] = SumGrid.split(products, grids[:, i, i:]).sum(axis=1)
        return sums

    def power_sums(
        self,
        x: Any,
        feature: int,
        powers: NDArray[np.float64],
        origin: NDArray[np.float64],
        grids: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        column = x[:, feature].astype(np.float64)
        rows = [yeo_johnson(column, power) for power in powers.tolist()]
        values = np.array(rows).reshape(len(powers), -1) - origin[:, None]
        logs = np.where(column < 0, -1.0, 1.0) * log1p(np.abs(column))
        terms = np.concatenate([values, values * values, logs[None]])
        sums: NDArray[np.float64] = SumGrid.split(terms, grids[:, :, None]).sum(axis=2)
        return sums

    def key_histogram(
        self, x: NDArray[np.float32], feature: int, prefixes: Sequence[int] | None
    ) -> NDArray[np.int64]:
        column = np.ascontiguousarray(x[:, feature])
        bits = column[~np.isnan(column)].view(np.uint32)
        negative = bits >> np.uint32(31) == 1
        keys = np.where(negative, ~bits, bits | np.uint32(0x80000000))
        high, low = keys >> np.uint32(16), keys & np.uint32(0xFFFF)
        if prefixes is None:
            return np.bincount(high, minlength=65536)
        counts = [np.bincount(low[high == prefix], minlength=65536) for prefix in prefixes]
        return np.array(counts, dtype=np.int64)

    def fits(self, n_rows: int, n_features: int) -> bool:
        return True

    def block_rows(self, n_values: int) -> int | None:
        return None

    def to_device(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def from_foreign(self, array: Any, dtype: Any) -> Any:
        return np.ascontiguousarray(array, dtype)

    def to_host(self, array: NDArray[Any], rows: Any = slice(None)) -> NDArray[Any]:
        some: NDArray[Any] = array[rows]
        return some

    def pack(self, centers: Centers) -> Any:
        return centers

    def bounds_budget(self, asked: int, held: int) -> int:
        return asked

    def remembered_bytes(self, k: int) -> int:
        return 8

    def new_bounds(self, n_rows: int, k: int) -> RowBounds:
        return RowBounds.empty(n_rows, k)

    def forget_slack(self, memory: RowBounds) -> None:
        memory.slack[:] = 0

    def lloyd(
        self, x: Any, weight: Any, runs: Sequence[tuple[Any, RowBounds]], grid: SumGrid
    ) -> list[LloydSums]:
        partials = []
        for centers, memory in runs:
            started = time.perf_counter()
            partials.append(self._lloyd(x, weight, centers, grid, memory))
            partials[-1].seconds = time.perf_counter() - started
        return partials

    def _lloyd(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64] | None,
        centers: Any,
        grid: SumGrid,
        memory: RowBounds,
    ) -> LloydSums:
        k = centers.values.shape[0]
        known = (memory.slack > memory.drift[memory.label]) & (not memory.fresh)
        rows = np.flatnonzero(~known)
        w = np.ones(len(rows)) if weight is None else weight[rows]
        old, new = memory.label[rows], np.empty(len(rows), np.int32)
        gap = np.full(len(rows), np.float64(LARGEST_GAP))
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            some = slice(start, start + _ROWS_AT_A_TIME)
            squares = self.squared_distances(x[rows[some]], centers.values)
            new[some] = squares.argmin(axis=1)
            if k > 1:
                near, far = np.sqrt(np.partition(squares, 1, axis=1)[:, :2]).T
                gap[some] = np.minimum(far - near - 1e-9 * far, LARGEST_GAP)
        drift = memory.drift[new].astype(np.float64)
        slack = gap + drift - 2.0**-21 * (np.abs(gap) + drift)
        memory.label[rows], memory.slack[rows] = new, slack
        partial = LloydSums.zeros(len(grid.weight), k, x.shape[1])
        partial.n_rows_scored = len(rows)
        moved = memory.fresh | (old != new)
        terms = w[:, None] * (x[rows].astype(np.float64) - centers.shift.astype(np.float64))
        for labels, sign in ((new, 1), (old, -1 + memory.fresh)):
            for level, part in enumerate(grid.split(terms[moved], grid.sums)):
                np.add.at(partial.sums[level], labels[moved], sign * part)
            for level, part in enumerate(grid.split(w[moved], grid.weight)):
                np.add.at(partial.weight[level], labels[moved], sign * part)
        return partial

    def nearest(
        self, x: NDArray[np.float32], centers: Any
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        labels = np.empty(x.shape[0], np.int32)
        distances = np.empty(x.shape[0])
        for start in range(0, x.shape[0], _ROWS_AT_A_TIME):
            rows = slice(start, start + _ROWS_AT_A_TIME)
            block = self.squared_distances(x[rows], centers.values)
            labels[rows] = block.argmin(axis=1)
            distances[rows] = block.min(axis=1)
        return labels, distances

    def assign(
        self, x: Any, weight: Any, centers: Any, grids: Sequence[float]
    ) -> tuple[Any, Any, AssignmentSums]:
        labels, squares = self.nearest(x, centers)
        terms = squares if weight is None else weight * squares
        parts = []
        for magic in grids:
            part = on_grid(terms, magic)
            parts.append(part.sum())
            terms = terms - part
        sizes = np.bincount(labels, minlength=centers.k).astype(np.int64)
        return labels, squares, AssignmentSums(np.array(parts), sizes)

    def distance_sums(
        self, x: Any, starts: NDArray[np.int64], points: NDArray[np.float32], magic: float
    ) -> NDArray[np.float64]:
        sums = np.zeros((len(starts) - 1, len(points)))
        for cell, (start, end) in enumerate(pairwise(starts.tolist())):
            for first in range(start, end, _ROWS_AT_A_TIME):
                rows = x[first : min(first + _ROWS_AT_A_TIME, end)]
                square = np.zeros((len(rows), len(points)), np.float32)
                for f in range(x.shape[1]):
                    difference = rows[:, f, None] - points[:, f]
                    square += difference * difference
                sums[cell] += on_grid(np.sqrt(square).astype(np.float64), magic).sum(axis=0)
        return sums

    def squared_distances(
        self, x: NDArray[np.float32], centers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        total = np.zeros((x.shape[0], centers.shape[0]))
        for f in range(x.shape[1]):
            difference = x[:, f].astype(np.float64)[:, None] - centers[:, f]
            total += difference * difference
        return total


def _transformed(values: NDArray[np.float32], code: int) -> NDArray[np.float32]:
    if code == LOG1P:
        return log1p(values.astype(np.float64)).astype(np.float32)
    return values


def _projected(x: NDArray[np.float32], projection: Projection) -> NDArray[np.float32]:
    total = np.zeros((len(x), len(projection.components)))
    for f, mean in enumerate(projection.mean.tolist()):
        total += (x[:, f].astype(np.float64) - mean)[:, None] * projection.components[:, f]
    return total.astype(np.float32)


def _add_moments(moments: Moments, f: int, values: NDArray[np.float32]) -> None:
    bits = values.view(np.uint32).astype(np.int64)
    field = (bits >> 23) & 0xFF
    exponent = np.maximum(field, 1)
    significand = (bits & 0x7FFFFF) | ((field > 0).astype(np.int64) << 23)
    signed = np.where(bits >> 31 == 1, -significand, significand)
    square = significand * significand
    terms = (
        (moments.first, signed),
        (moments.second_high, square >> HALF_BITS),
        (moments.second_low, square & ((1 << HALF_BITS) - 1)),
    )
    for table, term in terms:
        np.add.at(table[f], exponent, term)
