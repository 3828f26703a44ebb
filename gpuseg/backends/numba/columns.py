"""Column kernels on the CPU: allocates results and calls the compiled kernels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.digest import digest_factors
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.numba.arguments import read_only
from gpuseg.backends.numba.kmeans import exact_distances
from gpuseg.backends.numba.preprocessing import summary as summary_kernels
from gpuseg.backends.numba.preprocessing import transform_rows
from gpuseg.backends.numpy.columns import NumpyColumns

_NO_WEIGHT = np.empty(0)


class NumbaColumns:
    """See `backends.protocols.ColumnKernels`."""

    key_histogram = staticmethod(NumpyColumns().key_histogram)  # bincount needs no kernel

    def summarize(
        self, x: NDArray[np.float32], transform: NDArray[np.int64], first_row: int
    ) -> ColumnSummary:
        summary = ColumnSummary.empty(x.shape[1])
        summary.rows = x.shape[0]
        arrays = summary_kernels.SummaryArrays(
            summary.counts,
            summary.firsts,
            summary.minimum,
            summary.maximum,
            summary.moments.first,
            summary.moments.second_high,
            summary.moments.second_low,
        )
        summary_kernels.summarize(x, transform, first_row, arrays)
        return summary

    def digest(
        self, x: NDArray[np.float32], weight: NDArray[np.float64] | None, first_row: int
    ) -> int:
        bits = read_only(x.view(np.uint32))
        weight_bits = read_only((_NO_WEIGHT if weight is None else weight).view(np.uint64))
        factors = digest_factors(x.shape[1])
        return int(summary_kernels.digest(bits, weight_bits, factors, first_row))

    def prepare(self, x: NDArray[np.float32], transform: FeatureTransform) -> NDArray[np.float32]:
        t = transform
        shift = read_only(np.ascontiguousarray(t.shift))
        scale = read_only(np.ascontiguousarray(t.scale))
        if t.only_scales:
            flat = x.view()
            flat.shape = (-1,)  # unlike reshape, refuses rows that it would have to copy
            transform_rows.scale(flat, shift, scale)
        else:
            fill, bounds = read_only(t.fill), read_only(t.bounds())
            codes, powers = read_only(t.transform), read_only(t.powers())
            transform_rows.transform(x, fill, bounds, codes, powers, shift, scale)
        if t.projection is not None:
            projected = np.empty((len(x), t.n_columns), np.float32)
            by_feature = np.ascontiguousarray(t.projection.components.T)
            transform_rows.project(x, t.projection.mean, by_feature, projected)
            x = projected
        if t.unit:
            exact_distances.normalize(x)
        return x

    def gram(
        self, x: Any, mean: NDArray[np.float64], grids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        sums = np.zeros(grids.shape)
        transform_rows.gram(x, mean, grids[0], grids[1], sums)
        return sums

    def power_sums(
        self,
        x: Any,
        feature: int,
        powers: NDArray[np.float64],
        origin: NDArray[np.float64],
        grids: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        sums = np.zeros(grids.shape)
        transform_rows.power_sums(x, feature, powers, origin, grids, sums)
        return sums
