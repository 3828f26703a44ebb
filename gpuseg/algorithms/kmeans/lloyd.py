"""Lloyd iterations of many runs at once: every pass over the data serves all of them.

A run is a set of centres on its way to rest: a restart, or another number of clusters. In each
pass

1. the centres of all runs that still move go to every shard;
2. a block of rows, once read, is assigned for one run after the other; each run remembers on
   the shard what it knows of the rows (`Memory`), so that later passes look at few of them;
3. the sums come back, exact on a grid (`numerics.reproducible_sums`), and give each run its new
   centres. Empty clusters move to the rows farthest from their centres, as in scikit-learn.

What a shard remembers is a cache: a shard without it, built anew after its worker was lost,
looks at every row and returns the same bits.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.bounds import BoundState, sharpen
from gpuseg.algorithms.kmeans.statistics import DataStatistics
from gpuseg.algorithms.params import KMeansParams
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.backends.types import Centers, PackedRun
from gpuseg.numerics.sum_grid import LloydSums, SumGrid
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Block, Shard

OnIteration = Callable[[int, float, float], None]
"""Takes the iteration's number, an estimate of its inertia, and Σ|Δcentre|².

Of each pass, for the first of the runs that still move.
"""

Settle = Callable[[Centers, Centers], Centers]
"""Takes the means and the centres before; returns where the centres come to lie."""


@dataclass
class Run:
    """A run: where its centres are, and how they got there.

    Attributes
    ----------
    number : int
    centers : Centers
    n_iter : int
    converged : bool
    seconds : float
        Spent on it by all threads of all workers.
    looked_at : int
        Rows whose distances were computed, over all iterations.
    weight : float64 (k,)
        Of the rows that each centre is the mean of.
    """

    number: int
    centers: Centers
    n_iter: int = 0
    converged: bool = False
    seconds: float = 0.0
    looked_at: int = 0
    weight: NDArray[np.float64] | None = None


def iterate(
    executor: Executor,
    backend: str,
    measured: DataStatistics,
    starts: Sequence[NDArray[np.float64]],
    rules: KMeansParams,
    on_iteration: OnIteration = lambda n_iter, inertia, change: None,
    spare_bytes: int = 0,
) -> list[Run]:
    """Iterate from each of `starts` until its centres rest.

    Parameters
    ----------
    starts : float64 (k, d) each; k may differ
    rules : KMeansParams
        `max_iter`, `tol` and `metric` hold for all runs, whatever their number of clusters.
    spare_bytes : int
        Memory that each shard may take to remember things; the first run always may.
    """
    grid, tag = measured.sum_grid(), uuid4().hex
    settle: Settle = normalized if rules.metric == "cosine" else lambda centers, before: centers
    first = [Centers(start, measured.shift) for start in starts]
    runs = [Run(i, settle(centers, centers)) for i, centers in enumerate(first)]
    while moving := [run for run in runs if run.n_iter < rules.max_iter and not run.converged]:
        sent = {run.number: run.centers for run in moving}
        shards = executor.map(lloyd, backend, tag, sent, grid, spare_bytes)  # 1, 2
        for run, *answers in zip(moving, *shards, strict=True):  # 3
            total = _folded(answers)
            run.n_iter += 1
            run.seconds += total.seconds
            run.looked_at += total.n_rows_scored
            estimate = _estimated_inertia(total, run.centers, measured)
            if not total.weight.sum(axis=0).all():
                _relocate_empty(executor, backend, total, run.centers, grid)
            moved = settle(_means(total, run.centers), run.centers)
            change = float(((moved.values - run.centers.values) ** 2).sum())
            run.centers, run.converged = moved, change <= rules.tol * measured.mean_variance
            run.weight = total.weight.sum(axis=0)
            if run is moving[0]:
                on_iteration(run.n_iter, estimate, change)
    executor.map(forget)
    return runs


def iterate_once(
    executor: Executor, backend: str, measured: DataStatistics, centers: Centers
) -> LloydSums:
    """Assign all rows once; return the sums of each centre's rows, from `measured.shift`."""
    seen = Centers(centers.values, measured.shift)
    shards = executor.map(lloyd, backend, uuid4().hex, {0: seen}, measured.sum_grid(), 0)
    executor.map(forget)
    return _folded([answer for (answer,) in shards])


def _folded(answers: Sequence[LloydSums]) -> LloydSums:
    """Return the sums over all shards."""
    total = answers[0]
    for answer in answers[1:]:
        total.add(answer)
    return total


def lloyd(
    shard: Shard,
    env: TaskContext,
    backend: str,
    tag: str,
    sent: dict[int, Centers],
    grid: SumGrid,
    spare_bytes: int,
) -> list[LloydSums]:
    """Assign every row to the nearest centre of each run, and sum the rows of each centre."""
    b = registry.get(backend)
    old = shard.cache.pop("lloyd", {})  # what a pass that fails has half changed is gone
    known = {
        number: old.get((tag, number))
        or BoundState.nothing(b.new_bounds(shard.n_rows, centers.k), centers, grid)
        for number, centers in _with_room(b, shard.n_rows, sent, old.values(), spare_bytes)
    }
    for number, remembered in known.items():
        remembered.follow(sent[number])
    all_looked_at = any(remembered.memory.fresh for remembered in known.values())
    all_looked_at |= sharpen(list(known.values()), shard.n_rows, b)
    packed = {number: b.pack(centers) for number, centers in sent.items()}

    def on(block: Block) -> list[LloydSums]:
        together = [PackedRun(packed[i], known[i].memory.take(block.rows)) for i in known]
        found = b.lloyd(block.x, block.weight, together, grid)
        for number in list(sent)[len(known) :]:  # one by one: there is no memory for all
            alone = PackedRun(packed[number], b.new_bounds(len(block.x), sent[number].k))
            found += b.lloyd(block.x, block.weight, [alone], grid)
        return found

    changes = [
        LloydSums.zeros(len(grid.weight), *centers.values.shape) for centers in sent.values()
    ]
    for answers in shard.map_blocks(env, on):
        for change, answer in zip(changes, answers, strict=True):
            change.add(answer)
    shard.cache["lloyd"] = {(tag, number): remembered for number, remembered in known.items()}
    return [
        known[number].changed_by(change, all_looked_at) if number in known else change
        for number, change in zip(sent, changes, strict=True)
    ]


def _with_room(
    b: Backend,
    n_rows: int,
    sent: dict[int, Centers],
    old: Iterable[BoundState],
    spare_bytes: int,
) -> list[tuple[int, Centers]]:
    """Return the first of the runs, as many as there is memory for; one there always is."""
    held = sum(n_rows * b.bounds_bytes_per_row(len(run.centers)) for run in old)
    room = b.bounds_budget(spare_bytes, held)
    needed = accumulate(n_rows * b.bounds_bytes_per_row(centers.k) for centers in sent.values())
    fitting = sum(n_bytes <= room for n_bytes in needed)
    return list(sent.items())[: max(fitting, 1)]


def forget(shard: Shard, env: TaskContext) -> None:
    """Give back the memory that runs took."""
    shard.cache.pop("lloyd", None)


def _means(total: LloydSums, centers: Centers) -> Centers:
    """Return the centres' new places; a centre without rows stays."""
    weight = total.weight.sum(axis=0)[:, None]
    sums = total.sums.sum(axis=0)
    means = centers.shift.astype(np.float64) + sums / np.where(weight == 0, 1.0, weight)
    return Centers(np.where(weight != 0, means, centers.values), centers.shift)


def normalized(centers: Centers, before: Centers) -> Centers:
    """Scale centres to length one; one at the origin stays where it was before."""
    norms = np.array([[math.sqrt(math.fsum(c * c))] for c in centers.values])
    values = np.where(norms > 0, centers.values / np.where(norms > 0, norms, 1.0), before.values)
    return Centers(values, centers.shift)


def _estimated_inertia(total: LloydSums, centers: Centers, measured: DataStatistics) -> float:
    """Return Σ w|x - c|² = Σ w|z|² - 2 Σ a·S + Σ W|a|², z and a measured from the shift."""
    a = centers.values - centers.shift
    crossed = float((a * total.sums).sum())
    return measured.squares - 2 * crossed + float((total.weight * (a * a).sum(axis=1)).sum())


def _relocate_empty(
    executor: Executor, backend: str, total: LloydSums, centers: Centers, grid: SumGrid
) -> None:
    """Give each empty cluster one of the rows farthest from their centres, as scikit-learn does.

    The row leaves its old cluster: its terms are subtracted exactly as they were added.
    """
    empty = np.flatnonzero(total.weight.sum(axis=0) == 0)
    found = executor.map(passes.farthest, backend, centers, len(empty))
    rows = passes.Rows.concatenate(found).highest(len(empty))
    terms = rows.weight[:, None] * (rows.x.astype(np.float64) - centers.shift.astype(np.float64))
    parts, weights = grid.split(terms, grid.sums), grid.split(rows.weight, grid.weight)
    for i in np.flatnonzero(rows.score > 0).tolist():
        new, old = empty[i], rows.label[i]
        total.sums[:, old] -= parts[:, i]
        total.weight[:, old] -= weights[:, i]
        total.sums[:, new], total.weight[:, new] = parts[:, i], weights[:, i]
