"""Seeding, and whole runs of k-means, on the CPU: allocates results and calls compiled kernels."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.numba.arguments import read_only
from gpuseg.backends.numba.kmeans import assignment_sums, iterate, plus_plus
from gpuseg.backends.numba.kmeans.accumulate import GridSums
from gpuseg.backends.protocols import ParallelMap
from gpuseg.backends.types import Centers, IteratedRun, StopRule
from gpuseg.numerics.sum_grid import AssignmentSums, SumGrid

R = TypeVar("R")

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
                    flat, weights, values[runs], read_only(shift), grids, stop,
                    weight_of_runs[runs], results[runs],
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
                    flat, weights, values[runs], shift, grids[runs], parts[runs], sizes[runs]
                )

            _map_runs(sum_some, len(values), x.size * values[..., 0].size, parallel_map)
            return list(map(AssignmentSums, parts, sizes))

        return _map_by_k(sum_together, [centers.k for centers, _ in models])


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
