"""Centroid kernels on the CPU: allocates results and calls the compiled kernels."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.arguments import read_only
from gpuseg.backends.numba.kmeans import distance_sums, exact_distances, lloyd, nearest_center
from gpuseg.backends.numba.kmeans.accumulate import GridSums
from gpuseg.backends.numba.kmeans.centroid_scores import GROUP
from gpuseg.backends.numpy.centroids import NumpyCentroids, assignment_sums
from gpuseg.backends.types import Centers, PackedCenters, PackedRun
from gpuseg.numerics.sum_grid import AssignmentSums, LloydSums, SumGrid

_NO_WEIGHT = read_only(np.empty(0))

_SPEC = NumpyCentroids()


class NumbaCentroids:
    """See `backends.protocols.CentroidKernels`."""

    # Bounds are kept in the specification's arrays.
    slack_rounding = _SPEC.slack_rounding
    bounds_budget = staticmethod(_SPEC.bounds_budget)
    bounds_bytes_per_row = staticmethod(_SPEC.bounds_bytes_per_row)
    new_bounds = staticmethod(_SPEC.new_bounds)
    reset_slack = staticmethod(_SPEC.reset_slack)

    def pack(self, centers: Centers) -> PackedCenters:
        packed = PackedCenters.pack(centers, GROUP)
        return packed._replace(exact=read_only(packed.exact), shift=read_only(packed.shift))

    def lloyd(
        self, x: Any, weight: Any, runs: Sequence[PackedRun], grid: SumGrid
    ) -> list[LloydSums]:
        flat = read_only(x.reshape(-1))
        weights = _NO_WEIGHT if weight is None else read_only(weight)
        grids = GridSums(grid.sums.reshape(-1), grid.weight)
        changes = []
        for centers, bounds in runs:
            start_time = time.perf_counter()
            change = LloydSums.zeros(len(grid.weight), *centers.exact.shape)
            change.n_rows_scored = lloyd.lloyd(
                flat,
                weights,
                centers,
                grids,
                lloyd.BoundArrays(bounds.label, bounds.slack, bounds.drift, bounds.fresh),
                GridSums(change.sums.reshape(-1), change.weight.reshape(-1)),
            )
            change.seconds = time.perf_counter() - start_time
            changes.append(change)
        return changes

    def nearest(
        self, x: NDArray[np.float32], centers: PackedCenters
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        labels, squares = np.empty(x.shape[0], np.int32), np.empty(x.shape[0])
        nearest_center.nearest(read_only(x.reshape(-1)), centers, labels, squares)
        return labels, squares

    def assign(
        self, x: Any, weight: Any, centers: PackedCenters, grids: Sequence[float]
    ) -> tuple[Any, Any, AssignmentSums]:
        labels, squares = self.nearest(x, centers)
        return labels, squares, assignment_sums(labels, squares, weight, centers.k, grids)

    def distance_sums(
        self, x: Any, starts: NDArray[np.int64], points: NDArray[np.float32], magic: float
    ) -> NDArray[np.float64]:
        (m, d), n_cells = points.shape, len(starts) - 1
        padded = np.zeros((d, -(-m // distance_sums.STEP) * distance_sums.STEP), np.float32)
        padded[:, :m] = points.T
        sums = np.zeros((n_cells, padded.shape[1]))
        distance_sums.distance_sums(
            read_only(x.reshape(-1)), d, starts, padded.reshape(-1), magic, sums.reshape(-1)
        )
        return sums[:, :m]

    def squared_distances(
        self, x: NDArray[np.float32], centers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        distances = np.empty((x.shape[0], centers.shape[0]))
        exact_distances.squared_distances(read_only(x), read_only(centers), distances)
        return distances

    def runner_up(
        self, x: NDArray[np.float32], centers: NDArray[np.float64], segment: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
        label, near, far = np.empty(len(x), np.int32), np.empty(len(x)), np.empty(len(x))
        exact_distances.runner_up(
            read_only(x), read_only(centers), read_only(segment), label, near, far
        )
        return label, near, far
