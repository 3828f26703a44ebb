"""The specification of seeding, and of whole runs of k-means."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numpy.cell_seeding import choose_in_cells
from gpuseg.backends.numpy.centroids import NumpyCentroids
from gpuseg.backends.numpy.distances import squared_distances
from gpuseg.backends.protocols import ParallelMap
from gpuseg.backends.types import Centers, IteratedRun, PackedRun, StopRule
from gpuseg.numerics.sum_grid import AssignmentSums, SumGrid

SquaredDistances = Callable[[Any, NDArray[np.float64]], NDArray[np.float64]]
"""Squared distances of rows to points, float64 (n, k)."""

_SPEC = NumpyCentroids()


class NumpyRuns:
    """See `backends.protocols.RunKernels`."""

    def plus_plus(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64],
        draws: NDArray[np.float64],
        parallel_map: ParallelMap,
    ) -> list[NDArray[np.int64]]:
        return choose_seeds(squared_distances, x, x, weight, draws, parallel_map)

    def choose_in_cells(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64],
        first: Sequence[NDArray[np.int64]],
        draws: NDArray[np.float64],
        parallel_map: ParallelMap,
    ) -> list[NDArray[np.int64]]:
        def choose(run: int) -> NDArray[np.int64]:
            return choose_in_cells(x, weight, first[run], draws[run])

        return list(parallel_map(choose, range(len(first))))

    def iterate(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64] | None,
        starts: Sequence[Centers],
        grid: SumGrid,
        stop: StopRule,
        parallel_map: ParallelMap,
    ) -> list[IteratedRun]:
        return list(
            parallel_map(lambda centers: _iterate_run(x, weight, centers, grid, stop), starts)
        )

    def sum_assignments(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64] | None,
        models: Sequence[tuple[Centers, tuple[float, ...]]],
        parallel_map: ParallelMap,
    ) -> list[AssignmentSums]:
        return [_SPEC.assign(x, weight, _SPEC.pack(centers), grids)[2] for centers, grids in models]


def _iterate_run(
    x: NDArray[np.float32],
    weight: NDArray[np.float64] | None,
    centers: Centers,
    grid: SumGrid,
    stop: StopRule,
) -> IteratedRun:
    start_time, cluster_weight = time.perf_counter(), np.zeros(centers.k)
    n_iter, n_rows_scored, converged = 0, 0, False
    while n_iter < stop.max_iter and not converged:
        fresh = PackedRun(_SPEC.pack(centers), _SPEC.new_bounds(len(x), centers.k))
        (sums,) = _SPEC.lloyd(x, weight, [fresh], grid)
        if not sums.weight.sum(axis=0).all():
            break
        cluster_weight = sums.weight.sum(axis=0)
        moved = centers.move(sums)
        converged = moved.squared_change(centers) <= stop.max_change
        centers, n_iter = moved, n_iter + 1
        n_rows_scored += len(x)
    seconds = time.perf_counter() - start_time
    return IteratedRun(centers.values, cluster_weight, n_iter, converged, n_rows_scored, seconds)


def choose_seeds(
    distances: SquaredDistances,
    x: Any,
    rows: NDArray[np.float32],
    weight: NDArray[np.float64],
    draws: NDArray[np.float64],
    parallel_map: ParallelMap,
) -> list[NDArray[np.int64]]:
    """Choose rows by greedy k-means++; `x` are the rows where `distances` takes them."""

    def choose(draws: NDArray[np.float64]) -> NDArray[np.int64]:
        seeds = [_rows_at(weight, draws[0, :1])[0]]
        nearest = distances(x, rows[seeds].astype(np.float64))[:, 0]
        for candidate_draws in draws[1:]:
            potential = weight * nearest
            if not potential.any():
                break
            candidates = _rows_at(potential, candidate_draws)
            squares = distances(x, rows[candidates].astype(np.float64))
            closer = np.minimum(nearest[:, None], squares)
            # Not weight @ closer: the order of a BLAS's additions depends on the processor.
            best = int((weight[:, None] * closer).sum(axis=0).argmin())
            seeds.append(candidates[best])
            nearest = closer[:, best]
        return np.array(seeds, np.int64)

    return list(parallel_map(choose, list(draws)))


def _rows_at(mass: NDArray[np.float64], draws: NDArray[np.float64]) -> list[int]:
    """Return the rows at draws in [0, 1) on the axis of cumulated mass."""
    ends = np.cumsum(mass)
    index = np.searchsorted(ends, draws * ends[-1], side="right")
    last = int(np.flatnonzero(mass)[-1])
    rows: list[int] = np.minimum(index, last).tolist()
    return rows
