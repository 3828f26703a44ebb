"""Lloyd iterations of many runs at once: every pass over the data serves all of them.

A run is a set of centers that moves until it converges: a restart, or another number of clusters.
In each pass

1. the centers of all runs that still move go to every shard;
2. each block of rows, once read, is assigned for one run after the other; the shard keeps bounds
   of its rows for each run (`BoundState`), so that later passes score few of them;
3. the sums come back, exact on a grid (`numerics.reproducible_sums`), and give each run its new
   centers. Empty clusters move to the rows farthest from their centers, as in scikit-learn.

Where the rows are one block, and nobody watches the passes, the shard makes all of them in one
call, up to a pass that leaves a center without rows.

What a shard keeps is a cache: a shard without it, rebuilt after its worker was lost, scores every
row and returns the same bits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import DataStatistics
from gpuseg.algorithms.kmeans.bounds import BoundState, reset_imprecise_slack
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.types import Centers, IteratedRun, PackedRun, StopRule
from gpuseg.numerics.sum_grid import LloydSums, SumGrid
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.runtime.varies_by_run import AnyId, SpareBytes
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Block, Shard

OnIteration = Callable[[int, float, float], None]
"""Takes the number of the iteration, an estimate of its inertia, and Σ|Δcenter|².

It is called once per pass, for the first of the runs that still move.
"""

_CACHE_KEY = "lloyd"

_MAX_PRODUCTS = 2**35
"""Products of features that one call may compute: some seconds, if all rows are always scored."""

_MAX_PASS_PRODUCTS = 2**27
"""Products of a pass of a run above which threads share its rows: some milliseconds."""


@dataclass
class LloydRun:
    """A run: its centers, and how they came about.

    Attributes
    ----------
    number : int
    centers : Centers
    n_iter : int
    converged : bool
    seconds : float
        Thread time of this run on all workers.
    n_rows_scored : int
        Rows with computed distances, over all iterations.
    weight : float64 (k,)
        Weight of the rows that each center is the mean of.
    """

    number: int
    centers: Centers
    n_iter: int = 0
    converged: bool = False
    seconds: float = 0.0
    n_rows_scored: int = 0
    weight: NDArray[np.float64] | None = None


class RunCenters(NamedTuple):
    """The present centers of a run, as sent to the shards."""

    number: int
    centers: Centers


@dataclass
class _BoundCache:
    """The states that a shard keeps between passes, by run number, for one call of `iterate`."""

    iteration_id: str
    states: dict[int, BoundState] = field(default_factory=dict)

    def n_bytes(self, backend: Backend, n_rows: int) -> int:
        """Return the memory of the bounds."""
        states = self.states.values()
        return sum(n_rows * backend.bounds_bytes_per_row(len(state.centers)) for state in states)


@dataclass
class _RunPass:
    """One pass of one run over a shard.

    Attributes
    ----------
    number : int
    centers : Centers
    packed : object
        The centers in the layout of the backend.
    state : BoundState or None
        None where there is no memory for bounds: every row is then scored.
    change : LloydSums
        By how much the pass changes the sums; the sums themselves without a state.
    """

    number: int
    centers: Centers
    packed: Any
    state: BoundState | None
    change: LloydSums


def iterate(
    executor: Executor,
    backend: str,
    statistics: DataStatistics,
    starts: Sequence[NDArray[np.float64]],
    params: KMeansParams,
    on_iteration: OnIteration | None = None,
    spare_bytes: int = 0,
) -> list[LloydRun]:
    """Iterate from each of `starts` until its centers converge.

    Parameters
    ----------
    starts : float64 (k, d) each; k may differ
    params : KMeansParams
        `max_iter`, `tol` and `metric` hold for all runs; `n_clusters` does not matter.
    spare_bytes : int
        Memory that each shard may use for bounds; the first run always gets them.
    """
    grid, iteration_id = statistics.sum_grid(), AnyId(uuid4().hex)
    spare = SpareBytes(spare_bytes)
    project = normalize if params.metric == "cosine" else _keep
    first = [Centers(start, statistics.shift) for start in starts]
    runs = [LloydRun(i, project(centers, centers)) for i, centers in enumerate(first)]
    max_change = params.tol * statistics.mean_variance
    if executor.n_shards == 1 and params.metric == "euclidean" and on_iteration is None:
        _iterate_in_shard(executor, backend, runs, grid, StopRule(params.max_iter, max_change))
    while moving := [run for run in runs if run.n_iter < params.max_iter and not run.converged]:
        sent = [RunCenters(run.number, run.centers) for run in moving]
        by_shard = executor.map(lloyd_pass, backend, iteration_id, sent, grid, spare)  # 1, 2
        for run, *shard_sums in zip(moving, *by_shard, strict=True):  # 3
            total = _add_up(shard_sums)
            run.n_iter += 1
            run.seconds += total.seconds
            run.n_rows_scored += total.n_rows_scored
            report = on_iteration if run is moving[0] else None
            inertia = _estimate_inertia(total, run.centers, statistics) if report else 0.0
            if not total.weight.sum(axis=0).all():
                _relocate_empty(executor, backend, total, run.centers, grid)
            before, run.centers = run.centers, project(run.centers.move(total), run.centers)
            change = run.centers.squared_change(before)
            run.converged = change <= max_change
            run.weight = total.weight.sum(axis=0)
            if report:
                report(run.n_iter, inertia, change)
    executor.map(drop_bounds)
    return runs


def _iterate_in_shard(
    executor: Executor, backend: str, runs: Sequence[LloydRun], grid: SumGrid, stop: StopRule
) -> None:
    """Let the worker of the only shard iterate, if its rows are one block in host memory.

    It calls no one between the passes. A run that meets an empty cluster is left before that pass.
    """
    starts = [run.centers for run in runs]
    (iterated,) = executor.map(iterate_block, backend, starts, grid, stop)
    if iterated is None:
        return
    for run, result in zip(runs, iterated, strict=True):
        run.centers = Centers(result.centers, run.centers.shift)
        run.n_iter, run.converged, run.weight = result.n_iter, result.converged, result.weight
        run.n_rows_scored, run.seconds = result.n_rows_scored, result.seconds


def iterate_block(
    shard: Shard,
    context: TaskContext,
    backend: str,
    starts: Sequence[Centers],
    grid: SumGrid,
    stop: StopRule,
) -> list[IteratedRun] | None:
    """Return the runs after their iterations; None if the rows are not one block in host memory.

    None, too, if that may take long: nobody can interrupt a call, but between passes. And None if
    there are threads without a run, and so much work that they should share the rows.
    """
    n_centers = sum(centers.k for centers in starts)
    is_short = shard.x.size * n_centers * stop.max_iter <= _MAX_PRODUCTS
    largest = shard.x.size * max(centers.k for centers in starts)
    shares_rows = len(starts) < context.threads and largest > _MAX_PASS_PRODUCTS
    if not (shard.is_one_block and is_short) or shares_rows:
        return None
    return registry.get(backend).iterate(shard.x, shard.weight, starts, grid, stop, context.map)


def iterate_once(
    executor: Executor, backend: str, statistics: DataStatistics, centers: Centers
) -> LloydSums:
    """Assign all rows once; return the sums of each center's rows, from `statistics.shift`."""
    sent = [RunCenters(0, Centers(centers.values, statistics.shift))]
    call = AnyId(uuid4().hex)
    by_shard = executor.map(lloyd_pass, backend, call, sent, statistics.sum_grid(), 0)
    executor.map(drop_bounds)
    return _add_up([sums for (sums,) in by_shard])


def _add_up(parts: Sequence[LloydSums]) -> LloydSums:
    """Return the sums over all shards."""
    total = parts[0]
    for part in parts[1:]:
        total.add(part)
    return total


def lloyd_pass(
    shard: Shard,
    context: TaskContext,
    backend: str,
    iteration_id: str,
    runs: Sequence[RunCenters],
    grid: SumGrid,
    spare_bytes: int,
) -> list[LloydSums]:
    """Assign every row to the nearest center of each run; return the sums of each run, in order.

    Parameters
    ----------
    iteration_id : str
        Bounds kept under another one are not used.
    """
    b = registry.get(backend)
    # The pass takes the cache away: if it fails, half-changed bounds are gone with it.
    cache: _BoundCache = shard.cache.pop(_CACHE_KEY, None) or _BoundCache(iteration_id)
    held_bytes = cache.n_bytes(b, shard.n_rows)
    n_bounded = _count_fitting(b, shard.n_rows, runs, held_bytes, spare_bytes)
    known = cache.states if cache.iteration_id == iteration_id else {}
    states = {
        number: known.get(number)
        or BoundState.empty(b.new_bounds(shard.n_rows, centers.k), centers, grid)
        for number, centers in runs[:n_bounded]
    }
    for number, centers in runs[:n_bounded]:
        states[number].move_to(centers)
    all_rows_scored = any(state.bounds.fresh for state in states.values())
    all_rows_scored |= reset_imprecise_slack(states.values(), shard.n_rows, b)
    run_passes = [
        _RunPass(
            number,
            centers,
            b.pack(centers),
            states.get(number),
            LloydSums.zeros(len(grid.weight), *centers.values.shape),
        )
        for number, centers in runs
    ]
    products = passes.products_per_row(max(centers.k for _, centers in runs), shard.n_features)
    for sums in shard.map_blocks(
        context, lambda block: _assign_block(b, block, run_passes, grid), products
    ):
        for run_pass in run_passes:
            run_pass.change.add(sums[run_pass.number])
    shard.cache[_CACHE_KEY] = _BoundCache(iteration_id, states)
    return [
        run_pass.change
        if run_pass.state is None
        else run_pass.state.add_change(run_pass.change, all_rows_scored)
        for run_pass in run_passes
    ]


def _assign_block(
    b: Backend, block: Block, run_passes: Sequence[_RunPass], grid: SumGrid
) -> dict[int, LloydSums]:
    """Assign the rows of a block for each run; return the change of its sums, by run number.

    Runs with bounds share one call. The others follow one by one, since there is no memory for
    the labels of all of them.
    """
    numbers = [run_pass.number for run_pass in run_passes if run_pass.state is not None]
    together = [
        PackedRun(run_pass.packed, run_pass.state.bounds.take(block.rows))
        for run_pass in run_passes
        if run_pass.state is not None
    ]
    sums = dict(zip(numbers, b.lloyd(block.x, block.weight, together, grid), strict=True))
    for run_pass in run_passes:
        if run_pass.state is None:
            fresh = PackedRun(run_pass.packed, b.new_bounds(len(block.x), run_pass.centers.k))
            (sums[run_pass.number],) = b.lloyd(block.x, block.weight, [fresh], grid)
    return sums


def _count_fitting(
    b: Backend, n_rows: int, runs: Sequence[RunCenters], held_bytes: int, spare_bytes: int
) -> int:
    """Return how many of the first runs have memory for bounds; at least one."""
    budget = b.bounds_budget(spare_bytes, held_bytes)
    needed = accumulate(n_rows * b.bounds_bytes_per_row(run.centers.k) for run in runs)
    return max(sum(n_bytes <= budget for n_bytes in needed), 1)


def drop_bounds(shard: Shard, context: TaskContext) -> None:
    """Free the memory of all bounds."""
    shard.cache.pop(_CACHE_KEY, None)


def normalize(centers: Centers, before: Centers) -> Centers:
    """Scale centers to length one; a center at the origin stays where it was before."""
    norms = np.array([[math.sqrt(math.fsum(c * c))] for c in centers.values])
    values = np.where(norms > 0, centers.values / np.where(norms > 0, norms, 1.0), before.values)
    return Centers(values, centers.shift)


def _keep(centers: Centers, before: Centers) -> Centers:
    """Return the centers as they are, in place of `normalize`."""
    return centers


def _estimate_inertia(total: LloydSums, centers: Centers, statistics: DataStatistics) -> float:
    """Return Σ w|x - c|² = Σ w|z|² - 2 Σ a·S + Σ W|a|², with z and a measured from the shift."""
    a = centers.values - centers.shift
    crossed = float((a * total.sums).sum())
    return statistics.squares - 2 * crossed + float((total.weight * (a * a).sum(axis=1)).sum())


def _relocate_empty(
    executor: Executor, backend: str, total: LloydSums, centers: Centers, grid: SumGrid
) -> None:
    """Give each empty cluster one of the rows farthest from their centers, as scikit-learn does.

    The row leaves its old cluster: its terms are subtracted exactly as they were added.
    """
    empty = np.flatnonzero(total.weight.sum(axis=0) == 0)
    by_shard = executor.map(passes.farthest, backend, centers, len(empty))
    rows = passes.Rows.concatenate(by_shard).highest(len(empty))
    terms = rows.weight[:, None] * (rows.x.astype(np.float64) - centers.shift.astype(np.float64))
    parts, weights = grid.split(terms, grid.sums), grid.split(rows.weight, grid.weight)
    for i in np.flatnonzero(rows.score > 0).tolist():
        new, old = empty[i], rows.label[i]
        total.sums[:, old] -= parts[:, i]
        total.weight[:, old] -= weights[:, i]
        total.sums[:, new], total.weight[:, new] = parts[:, i], weights[:, i]
