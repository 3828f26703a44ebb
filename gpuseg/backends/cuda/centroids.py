"""Centroid kernels on a GPU."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cuda import lloyd
from gpuseg.backends.cuda.launch_plans import plan_assign, plan_simple
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.lloyd import LloydPasses, PassKind
from gpuseg.backends.cuda.shapes import GROUP, alignment
from gpuseg.backends.cuda.stream import on_stream
from gpuseg.backends.cuda.upload import upload
from gpuseg.backends.numba.centroids import NumbaCentroids
from gpuseg.backends.numpy.centroids import runner_up_in_blocks
from gpuseg.backends.types import Centers, PackedCenters, PackedRun, RowBounds
from gpuseg.numerics.sum_grid import STEPS, AssignmentSums, LloydSums, SumGrid


class CudaCentroids:
    """See `backends.protocols.CentroidKernels`.

    Parameters
    ----------
    launcher : Launcher
    passes : {"auto", "full", "late"}
        How Lloyd passes read the rows, see `lloyd.LloydPasses`.
    """

    slack_rounding = 2.0**-7

    def __init__(self, launcher: Launcher, passes: PassKind = "auto") -> None:
        self._launcher = launcher
        self._passes = LloydPasses(launcher, passes)
        self._host = NumbaCentroids()

    def pack(self, centers: Centers) -> PackedCenters:
        return PackedCenters.pack(centers, GROUP)

    def bounds_budget(self, requested: int, used: int) -> int:
        return (self._launcher.free_bytes() + used) // 2

    def bounds_bytes_per_row(self, k: int) -> int:
        return lloyd.bounds_bytes_per_row(k)

    @on_stream
    def new_bounds(self, n_rows: int, k: int) -> RowBounds:
        return lloyd.new_bounds(self._launcher, n_rows, k)

    @on_stream
    def reset_slack(self, bounds: RowBounds) -> None:
        bounds.slack[:] = 0

    @on_stream
    def lloyd(
        self, x: Any, weight: Any, runs: Sequence[PackedRun], grid: SumGrid
    ) -> list[LloydSums]:
        if not len(x):
            return [LloydSums.zeros(len(grid.weight), run.centers.k, x.shape[1]) for run in runs]
        x, weight = self._to_device(x), self._to_device(weight)
        groups = _by_label_width(runs)
        if len(groups) == 1:
            return self._pass(x, weight, runs, grid)
        changes: dict[int, LloydSums] = {}
        for group in groups:
            parts = self._pass(x, weight, [runs[i] for i in group], grid)
            changes.update(zip(group, parts, strict=True))
        return [changes[i] for i in range(len(runs))]

    def _pass(
        self, x: Any, weight: Any, runs: Sequence[PackedRun], grid: SumGrid
    ) -> list[LloydSums]:
        """Make a Lloyd pass for runs with labels of one dtype."""
        start_time = time.perf_counter()
        steps, n_scored = self._passes.run(x, weight, runs, grid.columns)
        sums = steps.astype(np.float64)
        sums *= grid.steps
        seconds_per_center = (time.perf_counter() - start_time) / sums.shape[1]
        changes, start = [], 0
        for centers, _ in runs:
            part = sums[:, start : start + centers.k]
            start += centers.k
            seconds = seconds_per_center * centers.k
            changes.append(LloydSums(part[..., :-1], part[..., -1], n_scored, seconds))
        return changes

    def nearest(self, x: Any, centers: Any) -> tuple[Any, Any]:
        labels, squares, _ = self.assign(x, None, centers, ())
        return labels, squares

    @on_stream
    def assign(
        self, x: Any, weight: Any, centers: Any, grids: Sequence[float]
    ) -> tuple[Any, Any, AssignmentSums]:
        launcher, (n, d), k = self._launcher, x.shape, centers.k
        if not n:
            empty = np.empty(0, np.int32), np.empty(0)
            return *empty, AssignmentSums(np.zeros(len(grids)), np.zeros(k, np.int64))
        is_on_host = isinstance(x, np.ndarray)
        x, weight = self._to_device(x), self._to_device(weight)
        aligned = alignment(launcher.address(x)) == 16
        plan = plan_assign(n, d, k, aligned, launcher.limits)
        arrays = upload(
            launcher,
            {
                "exact": centers.exact,
                "shift": centers.shift,
                "negated": centers.negated,
                "half_norms": centers.half_norms,
                "magic": np.array(grids),
            },
        )
        labels, squares = launcher.xp.empty(n, np.int32), launcher.xp.empty(n)
        sums = launcher.xp.zeros(len(grids) + k, np.uint64)
        arguments = [
            x,
            weight,
            np.int64(n),
            np.int32(d),
            np.int32(k),
            arrays["exact"],
            arrays["shift"],
            arrays["negated"],
            arrays["half_norms"],
            centers.max_norm,
            arrays["magic"],
            np.int32(len(grids)),
            labels,
            squares,
            sums[: len(grids)],
            sums[len(grids) :],
            np.int32(plan.tiling.features),
            np.int32(plan.tiling.resident),
            np.int32(plan.private),
        ]
        launcher.launch(plan.kernel, plan.blocks, arguments, plan.shared_bytes)
        counts = launcher.to_host(sums).view(np.int64)
        parts = counts[: len(grids)] * (np.array(grids) / STEPS)
        if is_on_host:
            labels, squares = launcher.to_host(labels), launcher.to_host(squares)
        return labels, squares, AssignmentSums(parts, counts[len(grids) :].copy())

    @on_stream
    def distance_sums(
        self, x: Any, starts: NDArray[np.int64], points: NDArray[np.float32], magic: float
    ) -> NDArray[np.float64]:
        if isinstance(x, np.ndarray):
            return self._host.distance_sums(x, starts, points, magic)
        launcher, (n, d) = self._launcher, x.shape
        m, n_cells = len(points), len(starts) - 1
        steps = launcher.xp.zeros((n_cells, m), np.uint64)
        cell = np.repeat(np.arange(n_cells, dtype=np.int32), np.diff(starts))
        arrays = upload(launcher, {"cell": cell, "points": np.ascontiguousarray(points.T)})
        kernel, blocks = plan_simple("distance_sums", n, launcher.limits)
        arguments = [
            x,
            np.int64(n),
            np.int32(d),
            *arrays.values(),
            np.int32(m),
            np.float64(magic),
            steps,
        ]
        launcher.launch(kernel, blocks, arguments)
        counts: NDArray[np.int64] = launcher.to_host(steps).view(np.int64)
        sums: NDArray[np.float64] = counts * np.float64(magic / STEPS)
        return sums

    @on_stream
    def squared_distances(self, x: Any, centers: NDArray[np.float64]) -> Any:
        launcher, (n, d), k = self._launcher, x.shape, len(centers)
        if not n:
            return np.empty((0, k))
        is_on_host, x = isinstance(x, np.ndarray), self._to_device(x)
        squares = launcher.xp.empty((n, k))
        kernel, blocks = plan_simple("distances", n * k, launcher.limits)
        exact = launcher.to_device(np.ascontiguousarray(centers))
        launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(d), exact, np.int32(k), squares])
        return launcher.to_host(squares) if is_on_host else squares

    def runner_up(
        self, x: Any, centers: NDArray[np.float64], segment: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
        def squares_of(rows: slice) -> NDArray[np.float64]:
            squares: NDArray[np.float64] = self._launcher.to_host(
                self.squared_distances(x[rows], centers)
            )
            return squares

        return runner_up_in_blocks(squares_of, len(x), segment)

    def _to_device(self, array: Any) -> Any:
        """Return an array on the device; None stays None."""
        return None if array is None else self._launcher.to_device(array)


def _by_label_width(runs: Sequence[PackedRun]) -> list[list[int]]:
    """Return the numbers of the runs, grouped by the number of bytes of their labels."""
    groups: dict[int, list[int]] = {}
    for i, run in enumerate(runs):
        groups.setdefault(run.bounds.label.dtype.itemsize, []).append(i)
    return list(groups.values())
