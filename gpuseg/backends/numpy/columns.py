"""The specification of the column kernels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import NO_ROW, ColumnSummary
from gpuseg.backends.digest import digest_factors
from gpuseg.backends.feature_transform import LOG1P, YEO_JOHNSON, FeatureTransform, Projection
from gpuseg.backends.numpy.distances import squared_distances
from gpuseg.numerics.hashing import splitmix64
from gpuseg.numerics.log1p import log1p
from gpuseg.numerics.moments import HALF_BITS, Moments
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.numerics.yeo_johnson import yeo_johnson

_N_HALF_KEYS = 2**16
"""Values of half a sort key."""


class NumpyColumns:
    """See `backends.protocols.ColumnKernels`."""

    def summarize(
        self, x: NDArray[np.float32], transform: NDArray[np.int64], first_row: int
    ) -> ColumnSummary:
        summary = ColumnSummary.empty(x.shape[1])
        summary.rows = x.shape[0]
        for f, code in enumerate(transform.tolist()):
            column = x[:, f]
            missing, infinite = np.isnan(column), np.isinf(column)
            outside = (column <= -1) & ~infinite if code == LOG1P else np.zeros_like(missing)
            for kind, is_kind in enumerate((missing, infinite, outside)):
                rows = np.flatnonzero(is_kind)
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
        position = splitmix64(np.arange(first_row, first_row + len(x), dtype=np.uint64))
        with np.errstate(over="ignore"):
            bits = x.view(np.uint32).astype(np.uint64) * digest_factors(x.shape[1])
            rows = splitmix64(bits.sum(axis=1, dtype=np.uint64))
            if weight is not None:
                rows = splitmix64(rows ^ weight.view(np.uint64))
            return int(splitmix64(rows ^ position).sum(dtype=np.uint64))

    def prepare(self, x: NDArray[np.float32], transform: FeatureTransform) -> NDArray[np.float32]:
        (low, high), powers = transform.bounds(), transform.powers()
        for f, code in enumerate(transform.transform.tolist()):
            column = np.where(np.isnan(x[:, f]), transform.fill[f], x[:, f])
            column = np.where(column < low[f], low[f], column)
            column = np.where(column > high[f], high[f], column)
            values = _transformed(column, code).astype(np.float64)
            if code == YEO_JOHNSON:
                values = yeo_johnson(values, powers[f])
            with np.errstate(over="ignore"):
                x[:, f] = (values - transform.shift[f]) / transform.scale[f]
        if transform.projection is not None:
            x = _projected(x, transform.projection)
        if transform.unit:
            squared_norms = squared_distances(x, np.zeros((1, x.shape[1])))
            with np.errstate(invalid="ignore"):
                x[:] = x / np.sqrt(squared_norms)
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
            return np.bincount(high, minlength=_N_HALF_KEYS)
        counts = [np.bincount(low[high == prefix], minlength=_N_HALF_KEYS) for prefix in prefixes]
        return np.array(counts, dtype=np.int64)


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
