"""The CUDA backend: checks nothing, plans, launches the kernels, brings sums home.

Rows may lie on the device or in the memory of the host; the latter are copied for each call.
What k-means remembers of rows always lies on the device. Every call is over on the device, too,
when it returns.
"""

import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Centers, RowBounds
from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.cuda import columns, prepare
from gpuseg.backends.cuda.distance_sums import distance_sums
from gpuseg.backends.cuda.launch_plans import plan_assign, plan_simple
from gpuseg.backends.cuda.launcher import Launcher
from gpuseg.backends.cuda.lloyd import Choice, LloydPasses, remember, remembered_bytes
from gpuseg.backends.cuda.shapes import GROUP, alignment
from gpuseg.backends.cuda.upload import upload
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.backends.numba.backend import NumbaBackend
from gpuseg.backends.packed_centers import PackedCenters
from gpuseg.numerics.sum_grid import STEPS, AssignmentSums, LloydSums, SumGrid

P = ParamSpec("P")
R = TypeVar("R")

_SHARE = 0.9
"""Of the free memory of a device that rows may take."""

_BLOCK_BYTES = 2**25
"""Of rows that the host hands over at a time, with what is found of them: work for all
multiprocessors, and longer on the bus than the call takes in Python. With `pinned.PAIRS` of them
under way, that is 256 MiB of the device, and 64 MiB of page-locked memory."""

_BYTES_FOUND = 12
"""A label and a square."""

_BLOCK_STEP = 1024
"""A block has a multiple of so many rows, so that what is remembered of them begins aligned."""

_BYTES_PER_ROW = 48
"""What a row takes besides: a label and a slack; in the last pass label, square and distance."""


def _on_stream(
    method: "Callable[Concatenate[CudaBackend, P], R]",
) -> "Callable[Concatenate[CudaBackend, P], R]":
    """Run a method in a stream of the device, see `Launcher.stream`.

    So several threads overlap the copies of their rows with each other's kernels.
    """

    @wraps(method)
    def inside(self: "CudaBackend", /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._launcher.stream():
            return method(self, *args, **kwargs)

    return inside


class CudaBackend(NumbaBackend):
    """See `backends.base.Backend`; rows in the memory of the host are summarised and
    prepared there.

    Parameters
    ----------
    launcher : Launcher
    passes : {"auto", "full", "late"}
        How Lloyd passes go over the rows, see `lloyd.LloydPasses`.
    """

    name = "cuda"
    slack_rounding = 2.0**-7

    def __init__(self, launcher: Launcher, passes: Choice = "auto") -> None:
        self._launcher = launcher
        self._passes = LloydPasses(launcher, passes)

    @_on_stream
    def summarize(self, x: Any, transform: NDArray[np.int64], first_row: int) -> ColumnSummary:
        if isinstance(x, np.ndarray) or not len(x):
            return super().summarize(self.to_host(x), transform, first_row)
        return columns.summarize(self._launcher, x, transform, first_row)

    @_on_stream
    def digest(self, x: Any, weight: Any, first_row: int) -> int:
        if isinstance(x, np.ndarray):
            return super().digest(x, weight, first_row)
        return columns.digest(self._launcher, x, self._there(weight), first_row)

    @_on_stream
    def prepare(self, x: Any, preparation: FeatureTransform) -> Any:
        if isinstance(x, np.ndarray):
            return super().prepare(x, preparation)
        return prepare.prepare(self._launcher, x, preparation)

    @_on_stream
    def gram(
        self, x: Any, mean: NDArray[np.float64], grids: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        if isinstance(x, np.ndarray):
            return super().gram(x, mean, grids)
        return prepare.gram(self._launcher, x, mean, grids)

    @_on_stream
    def power_sums(
        self,
        x: Any,
        feature: int,
        powers: NDArray[np.float64],
        origin: NDArray[np.float64],
        grids: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        if isinstance(x, np.ndarray):
            return super().power_sums(x, feature, powers, origin, grids)
        return prepare.power_sums(self._launcher, x, feature, powers, origin, grids)

    @_on_stream
    def key_histogram(
        self, x: Any, feature: int, prefixes: Sequence[int] | None
    ) -> NDArray[np.int64]:
        if isinstance(x, np.ndarray):
            return super().key_histogram(x, feature, prefixes)
        return columns.key_histogram(self._launcher, x, feature, prefixes)

    def fits(self, n_rows: int, n_features: int) -> bool:
        needed = n_rows * (4 * n_features + 8 + _BYTES_PER_ROW)
        return needed <= _SHARE * self._launcher.free_bytes()

    def block_rows(self, n_values: int) -> int:
        rows = _BLOCK_BYTES // (4 * n_values + _BYTES_FOUND)
        return max(rows // _BLOCK_STEP, 1) * _BLOCK_STEP

    @_on_stream
    def to_device(self, array: Any) -> Any:
        try:
            return self._launcher.to_device(array)
        except MemoryError:  # another process was quicker
            return array

    def bounds_budget(self, asked: int, held: int) -> int:
        return (self._launcher.free_bytes() + held) // 2

    @_on_stream
    def from_foreign(self, array: Any, dtype: Any) -> Any:
        launcher, there = self._launcher, self._launcher.adopt(array)
        if there.dtype != np.float64 or dtype != np.float32 or not there.size:
            return there.astype(dtype, copy=False)
        narrowed = launcher.xp.empty(there.shape, np.float32)
        kernel, blocks = plan_simple("to_float32", there.size, launcher.limits)
        launcher.launch(kernel, blocks, [there, np.int64(there.size), narrowed])
        return narrowed

    @_on_stream
    def to_host(self, array: Any, rows: Any = slice(None)) -> NDArray[Any]:
        if isinstance(array, np.ndarray):
            return super().to_host(array, rows)
        rows = self._launcher.to_device(rows) if isinstance(rows, np.ndarray) else rows
        some: NDArray[Any] = self._launcher.to_host(array[rows])
        return some

    def pack(self, centers: Centers) -> PackedCenters:
        return PackedCenters(centers, GROUP)

    def remembered_bytes(self, k: int) -> int:
        return remembered_bytes(k)

    @_on_stream
    def new_bounds(self, n_rows: int, k: int) -> RowBounds:
        return remember(self._launcher, n_rows, k)

    @_on_stream
    def forget_slack(self, memory: RowBounds) -> None:
        super().forget_slack(memory)

    @_on_stream
    def lloyd(
        self, x: Any, weight: Any, runs: Sequence[tuple[Any, RowBounds]], grid: SumGrid
    ) -> list[LloydSums]:
        if not len(x):
            return [LloydSums.zeros(len(grid.weight), run.k, x.shape[1]) for run, _ in runs]
        x, weight = self._there(x), self._there(weight)
        groups = _with_alike_labels(runs)
        if len(groups) == 1:
            return self._pass(x, weight, runs, grid)
        partials: dict[int, LloydSums] = {}
        for chosen in groups:
            parts = self._pass(x, weight, [runs[i] for i in chosen], grid)
            partials.update(zip(chosen, parts, strict=True))
        return [partials[i] for i in range(len(runs))]

    def _pass(
        self, x: Any, weight: Any, runs: Sequence[tuple[Any, RowBounds]], grid: SumGrid
    ) -> list[LloydSums]:
        """Make a Lloyd pass for runs whose labels are of one dtype."""
        started = time.perf_counter()
        steps, looked_at = self._passes.run(x, weight, runs, grid.columns)
        sums = steps.astype(np.float64)
        sums *= grid.steps
        share = (time.perf_counter() - started) / sums.shape[1]
        partials, start = [], 0
        for packed, _ in runs:
            part = sums[:, start : start + packed.k]
            start += packed.k
            partials.append(LloydSums(part[..., :-1], part[..., -1], looked_at, share * packed.k))
        return partials

    def nearest(self, x: Any, centers: Any) -> tuple[Any, Any]:
        labels, squares, _ = self.assign(x, None, centers, ())
        return labels, squares

    @_on_stream
    def assign(
        self, x: Any, weight: Any, centers: Any, grids: Sequence[float]
    ) -> tuple[Any, Any, AssignmentSums]:
        launcher, (n, d), k = self._launcher, x.shape, centers.k
        if not n:
            empty = np.empty(0, np.int32), np.empty(0)
            return *empty, AssignmentSums(np.zeros(len(grids)), np.zeros(k, np.int64))
        here, x, weight = isinstance(x, np.ndarray), self._there(x), self._there(weight)
        aligned = alignment(launcher.address(x)) == 16
        plan = plan_assign(n, d, k, aligned, launcher.limits)
        small = upload(launcher, {
            "exact": centers.exact, "shift": centers.shift, "negated": centers.negated,
            "half_norms": centers.half_norms, "magic": np.array(grids),
        })  # fmt: skip
        labels, squares = launcher.xp.empty(n, np.int32), launcher.xp.empty(n)
        found = launcher.xp.zeros(len(grids) + k, np.uint64)
        launcher.launch(
            plan.kernel,
            plan.blocks,
            [
                x, weight, np.int64(n), np.int32(d), np.int32(k),
                small["exact"], small["shift"], small["negated"], small["half_norms"],
                centers.largest_norm, small["magic"], np.int32(len(grids)), labels, squares,
                found[: len(grids)], found[len(grids) :], np.int32(plan.tiling.features),
                np.int32(plan.tiling.resident), np.int32(plan.private),
            ],
            plan.shared_bytes,
        )  # fmt: skip
        counts = launcher.to_host(found).view(np.int64)
        parts = counts[: len(grids)] * (np.array(grids) / STEPS)
        if here:
            labels, squares = launcher.to_host(labels), launcher.to_host(squares)
        return labels, squares, AssignmentSums(parts, counts[len(grids) :].copy())

    @_on_stream
    def distance_sums(
        self, x: Any, starts: NDArray[np.int64], points: NDArray[np.float32], magic: float
    ) -> NDArray[np.float64]:
        if isinstance(x, np.ndarray):
            return super().distance_sums(x, starts, points, magic)
        return distance_sums(self._launcher, x, starts, points, magic)

    @_on_stream
    def squared_distances(self, x: Any, centers: NDArray[np.float64]) -> Any:
        launcher, (n, d), k = self._launcher, x.shape, len(centers)
        if not n:
            return np.empty((0, k))
        here, x = isinstance(x, np.ndarray), self._there(x)
        squares = launcher.xp.empty((n, k))
        kernel, blocks = plan_simple("distances", n * k, launcher.limits)
        exact = launcher.to_device(np.ascontiguousarray(centers))
        launcher.launch(kernel, blocks, [x, np.int64(n), np.int32(d), exact, np.int32(k), squares])
        return launcher.to_host(squares) if here else squares

    def _there(self, array: Any) -> Any:
        """Return an array on the device; None stays None."""
        return None if array is None else self._launcher.to_device(array)


def _with_alike_labels(runs: Sequence[tuple[Any, RowBounds]]) -> list[list[int]]:
    """Return the numbers of the runs whose labels take the same number of bytes, together."""
    alike: dict[int, list[int]] = {}
    for i, (_, memory) in enumerate(runs):
        alike.setdefault(memory.label.dtype.itemsize, []).append(i)
    return list(alike.values())
