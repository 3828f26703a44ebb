"""The numba backend: checks nothing, allocates results, calls the kernels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Centers, RowBounds, digest_factors
from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.numba.columns import prepare
from gpuseg.backends.numba.columns import summary as columns
from gpuseg.backends.numba.kmeans import distance_sums, lloyd
from gpuseg.backends.numba.kmeans import exact_distances as exact
from gpuseg.backends.numba.kmeans import nearest_center as nearest
from gpuseg.backends.numba.kmeans.centroid_scores import GROUP
from gpuseg.backends.numpy.backend import NumpyBackend
from gpuseg.backends.packed_centers import PackedCenters
from gpuseg.numerics.sum_grid import LloydSums, SumGrid

_NO_WEIGHT = np.empty(0)


class NumbaBackend(NumpyBackend):
    """See `backends.base.Backend`; `key_histogram` is the specification's own."""

    name = "numba"

    def summarize(
        self, x: NDArray[np.float32], transform: NDArray[np.int64], first_row: int
    ) -> ColumnSummary:
        summary = ColumnSummary.empty(x.shape[1])
        summary.rows = x.shape[0]
        moments = summary.moments
        columns.summarize(
            x, transform, first_row,
            summary.counts, summary.firsts, summary.minimum, summary.maximum,
            moments.first, moments.second_high, moments.second_low,
        )  # fmt: skip
        return summary

    def digest(
        self, x: NDArray[np.float32], weight: NDArray[np.float64] | None, first_row: int
    ) -> int:
        weight_bits = (_NO_WEIGHT if weight is None else weight).view(np.uint64)
        factors = digest_factors(x.shape[1])
        return int(columns.digest(x.view(np.uint32), weight_bits, factors, first_row))

    def prepare(self, x: NDArray[np.float32], preparation: FeatureTransform) -> NDArray[np.float32]:
        p = preparation
        prepare.prepare(x, p.fill, p.bounds(), p.transform, p.powers(), p.shift, p.scale)
        if p.projection is not None:
            projected = np.empty((len(x), p.n_columns), np.float32)
            by_feature = np.ascontiguousarray(p.projection.components.T)
            prepare.project(x, p.projection.mean, by_feature, projected)
            x = projected
        if p.unit:
            exact.normalize(x)
        return x

    def gram(
        self, x: Any, mean: NDArray[np.float64], grids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        sums = np.zeros(grids.shape)
        prepare.gram(x, mean, grids[0], grids[1], sums)
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
        prepare.power_sums(x, feature, powers, origin, grids, sums)
        return sums

    def pack(self, centers: Centers) -> PackedCenters:
        return PackedCenters(centers, GROUP)

    def _lloyd(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64] | None,
        centers: PackedCenters,
        grid: SumGrid,
        memory: RowBounds,
    ) -> LloydSums:
        c = centers
        partial = LloydSums.zeros(len(grid.weight), *c.exact.shape)
        partial.n_rows_scored = lloyd.lloyd(
            x.reshape(-1), _NO_WEIGHT if weight is None else weight,
            c.exact, c.shift, c.negated, c.half_norms, c.largest_norm,
            grid.sums.reshape(-1), grid.weight,
            memory.fresh, memory.drift, memory.label, memory.slack,
            partial.sums.reshape(-1), partial.weight.reshape(-1),
        )  # fmt: skip
        return partial

    def nearest(
        self, x: NDArray[np.float32], centers: PackedCenters
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        c = centers
        labels, distances = np.empty(x.shape[0], np.int32), np.empty(x.shape[0])
        nearest.nearest(
            x.reshape(-1), c.exact, c.shift, c.negated, c.half_norms, c.largest_norm,
            labels, distances,
        )  # fmt: skip
        return labels, distances

    def distance_sums(
        self, x: Any, starts: NDArray[np.int64], points: NDArray[np.float32], magic: float
    ) -> NDArray[np.float64]:
        (m, d), cells = points.shape, len(starts) - 1
        padded = np.zeros((d, -(-m // distance_sums.STEP) * distance_sums.STEP), np.float32)
        padded[:, :m] = points.T
        sums = np.zeros((cells, padded.shape[1]))
        distance_sums.distance_sums(
            x.reshape(-1), d, starts, padded.reshape(-1), magic, sums.reshape(-1)
        )
        return sums[:, :m]

    def squared_distances(
        self, x: NDArray[np.float32], centers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        distances = np.empty((x.shape[0], centers.shape[0]))
        exact.squared_distances(x, centers, distances)
        return distances
