"""Seeding, and whole runs of k-means, on the CPU: allocates results and calls compiled kernels."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.arguments import read_only
from gpuseg.backends.numba.centroids import NumbaCentroids
from gpuseg.backends.numba.kmeans import assignment_sums, cell_seeding, iterate, plus_plus
from gpuseg.backends.numba.kmeans.accumulate import GridSums
from gpuseg.backends.protocols import ParallelMap
from gpuseg.backends.types import Centers, IteratedRun, StopRule
from gpuseg.numerics.sum_grid import AssignmentSums, SumGrid

R = TypeVar("R")

_CENTROIDS = NumbaCentroids()

_NO_WEIGHT = read_only(np.empty(0))

_WORK_FOR_A_THREAD = 2**22
"""Products that a call needs before a second thread takes a share of its runs."""


class NumbaRuns:
    """See `backends.protocols.RunKernels`."""

    def plus_plus(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64],
        draws: NDArray[np.float64],
        parallel_map: ParallelMap,
    ) -> list[NDArray[np.int64]]:
        n_rows, n_features = x.shape
        columns = np.zeros((n_features, -(-n_rows // plus_plus.STEP) * plus_plus.STEP), np.float32)
        columns[:, :n_rows] = x.T
        seeds = np.empty(draws.shape[:2], np.int64)
        counts = np.empty(len(draws), np.int64)

        def choose(runs: slice) -> None:
            plus_plus.plus_plus(columns, weight, draws[runs], seeds[runs], counts[runs])

        _map_runs(choose, len(draws), x.size * draws[..., 0].size, parallel_map)
        return [rows[:count] for rows, count in zip(seeds, counts.tolist(), strict=True)]

    def choose_in_cells(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64],
        first: Sequence[NDArray[np.int64]],
        draws: NDArray[np.float64],
        parallel_map: ParallelMap,
    ) -> list[NDArray[np.int64]]:
        def choose(run: int) -> NDArray[np.int64]:
            rows, order = _divide(x, weight, first[run])
            seeds = np.empty(draws.shape[1], np.int64)
            count = cell_seeding.choose_in_cells(rows, draws[run], seeds)
            return order[seeds[:count]]

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
        flat = read_only(x.reshape(-1))
        weights = _NO_WEIGHT if weight is None else read_only(weight)
        grids = GridSums(grid.sums.reshape(-1), grid.weight)

        def iterate_together(numbers: list[int]) -> list[IteratedRun]:
            """Iterate runs of as many centers."""
            shift, values = starts[numbers[0]].shift, np.array([starts[i].values for i in numbers])
            weight_of_runs = np.zeros(values.shape[:2])
            results, seconds = np.empty((len(values), 3), np.int64), np.empty(len(values))

            def iterate_some(runs: slice) -> None:
                start_time = time.perf_counter()
                iterate.iterate(
                    flat, weights, values[runs], read_only(values[runs]), read_only(shift), grids,
                    stop, weight_of_runs[runs], results[runs],
                )  # fmt: skip
                seconds[runs] = time.perf_counter() - start_time
                seconds[runs] *= results[runs, 2] / max(results[runs, 2].sum(), 1)

            _map_runs(iterate_some, len(values), x.size * values[..., 0].size, parallel_map)
            return [
                IteratedRun(centers, center_weight, n_iter, bool(converged), n_scored, share)
                for centers, center_weight, (n_iter, converged, n_scored), share in zip(
                    values, weight_of_runs, results.tolist(), seconds.tolist(), strict=True
                )
            ]

        return _map_by_k(iterate_together, [centers.k for centers in starts])

    def sum_assignments(
        self,
        x: NDArray[np.float32],
        weight: NDArray[np.float64] | None,
        models: Sequence[tuple[Centers, tuple[float, ...]]],
        parallel_map: ParallelMap,
    ) -> list[AssignmentSums]:
        flat = read_only(x.reshape(-1))
        weights = _NO_WEIGHT if weight is None else read_only(weight)

        def sum_together(numbers: list[int]) -> list[AssignmentSums]:
            """Sum assignments to as many centers."""
            shift = read_only(models[numbers[0]][0].shift)
            values = np.array([models[i][0].values for i in numbers])
            grids = np.array([models[i][1] for i in numbers])
            parts, sizes = np.zeros(grids.shape), np.zeros(values.shape[:2], np.int64)

            def sum_some(runs: slice) -> None:
                assignment_sums.assignment_sums(
                    flat,
                    weights,
                    read_only(values[runs]),
                    shift,
                    grids[runs],
                    parts[runs],
                    sizes[runs],
                )

            _map_runs(sum_some, len(values), x.size * values[..., 0].size, parallel_map)
            return list(map(AssignmentSums, parts, sizes))

        return _map_by_k(sum_together, [centers.k for centers, _ in models])


def _divide(
    x: NDArray[np.float32], weight: NDArray[np.float64], first: NDArray[np.int64]
) -> tuple[cell_seeding.CellRows, NDArray[np.int64]]:
    """Divide rows into the cells of the first ones; return the row of each position, too."""
    points, step = x[first], cell_seeding.STEP
    values = points.astype(np.float64)
    cell, nearest = _CENTROIDS.nearest(x, _CENTROIDS.pack(Centers(values, points[0])))
    order, sizes = np.argsort(cell, kind="stable"), np.bincount(cell, minlength=len(first))
    ends = np.append(0, np.cumsum(sizes))
    starts = np.append(0, np.cumsum(-(-sizes // step) * step))
    columns = np.zeros(starts[-1] * x.shape[1], np.float32)
    at = np.arange(len(x)) + np.repeat(starts[:-1] - ends[:-1], sizes)
    for c, (start, end) in enumerate(pairwise((starts * x.shape[1]).tolist())):
        by_feature = columns[start:end].reshape(x.shape[1], -1)
        by_feature[:, : sizes[c]] = x[order[ends[c] : ends[c + 1]]].T
    padded = np.zeros((3, starts[-1]))
    padded[0, at], padded[1, at], padded[2, at] = weight[order], nearest[order], order
    point_columns = np.zeros((x.shape[1], -(-len(first) // step) * step), np.float32)
    point_columns[:, : len(first)] = points.T
    between = _CENTROIDS.squared_distances(points, values)
    rows = cell_seeding.CellRows(
        columns, padded[0], padded[1], starts, point_columns.reshape(-1), between
    )
    return rows, padded[2].astype(np.int64)


def _map_by_k(function: Callable[[list[int]], list[R]], counts: Sequence[int]) -> list[R]:
    """Call `function` on the numbers of the runs with as many centers; results in their order."""
    numbers_by_k = defaultdict[int, list[int]](list)
    for i, k in enumerate(counts):
        numbers_by_k[k].append(i)
    results: dict[int, R] = {}
    for numbers in numbers_by_k.values():
        results.update(zip(numbers, function(numbers), strict=True))
    return [results[i] for i in range(len(counts))]


def _map_runs(
    function: Callable[[slice], None], n_runs: int, work: int, parallel_map: ParallelMap
) -> None:
    """Call `function` on slices that cover the runs; the less work there is, the fewer slices."""
    n_slices = min(max(work // _WORK_FOR_A_THREAD, 1), n_runs)
    ends = [n_runs * i // n_slices for i in range(n_slices + 1)]
    for _ in parallel_map(function, [slice(a, b) for a, b in pairwise(ends)]):
        pass
