"""k-means by exact Lloyd iteration, over shards; the same bits for any sharding of the rows.

Steps, numbered in `sweep_kmeans`:

1. Measure: exact mean, variance and range of each feature (`algorithms.data_statistics`).
2. Seed on a sample (`algorithms.kmeans.sampling`, `algorithms.kmeans.seeding`), and refine there.
3. Move the rows to the device of the backend, where it has one and they fit, and iterate all
   runs together, for all numbers of clusters (`algorithms.kmeans.lloyd`).
4. Of the runs with the same number of clusters, keep the one with the least inertia.
5. Assign: always one last pass, so that labels equal predict(X).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import accumulate, groupby, pairwise
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import DataStatistics, measure
from gpuseg.algorithms.kmeans import seeding
from gpuseg.algorithms.kmeans.lloyd import LloydRun, OnIteration, iterate
from gpuseg.algorithms.kmeans.params import KMeansParams, check_n_rows
from gpuseg.algorithms.kmeans.sampling import draw_sample, sample_size
from gpuseg.backends import registry
from gpuseg.backends.types import Centers
from gpuseg.errors import ResourceError
from gpuseg.numerics.sum_grid import AssignmentSums
from gpuseg.runtime.executor import Executor, LocalExecutor
from gpuseg.sharding import row_passes as passes

_AUTO_RUNS = 10
"""Runs from random centers, and the most seedings of a sample, if `n_init` is "auto"."""

_AUTO_WORK = _AUTO_RUNS * 128**2
"""Σ k² of all seedings of a sample, if `n_init` is "auto": ten seedings up to k = 128, one from
k = 287 on. The time of a seeding grows as k², and the more centers there are, the less the inertia
varies between seedings.
"""

_REFINING_ITERATIONS = 20
_REFINING_BYTES = 2**28
_BYTES_PER_VALUE = 64
"""Memory of a pass for one value of a center, in float64: start, old, new and packed center, and
its sums on the grids."""


@dataclass(frozen=True)
class KMeansFit:
    """A fitted k-means.

    Attributes
    ----------
    centers : Centers
    inertia : float
        Σ w·|x - center|². Each row's term is rounded as float64 rounds, then to three grids of
        together about 158 - 2·log2(n) bits below n times the largest possible term.
    n_iter : int
    converged : bool
        Whether `tol` was reached within `max_iter`.
    sizes : int64 (k,)
    weight : float64 (k,)
        Weight of the rows that each center is the mean of.
    n_distinct : int
        Distinct rows of positive weight, counted up to k.
    seconds : float
        Thread time of the iterations of all its runs on all workers.
    in_shards : bool
        Whether the shards hold the labels and distances of this model (`Shard.labels`). Of the
        models of a sweep, exactly one is.
    """

    centers: Centers
    inertia: float
    n_iter: int
    converged: bool
    sizes: NDArray[np.int64]
    weight: NDArray[np.float64]
    n_distinct: int
    seconds: float
    in_shards: bool = True


def fit_kmeans(
    executor: Executor,
    params: KMeansParams,
    backend: str,
    on_iteration: OnIteration | None = None,
    spare_bytes: int = 0,
    statistics: DataStatistics | None = None,
) -> KMeansFit:
    """Fit k-means to the rows of all shards; see `sweep_kmeans`."""
    return sweep_kmeans(executor, [params], backend, on_iteration, spare_bytes, statistics)[0]


def sweep_kmeans(
    executor: Executor,
    models: Sequence[KMeansParams],
    backend: str,
    on_iteration: OnIteration | None = None,
    spare_bytes: int = 0,
    statistics: DataStatistics | None = None,
    keep_all: bool = False,
    starts: Sequence[Sequence[NDArray[np.float64]]] | None = None,
) -> list[KMeansFit]:
    """Fit models that differ only in `n_clusters`; each is what it would be by itself.

    The shards store the labels and distances of the last model, the one with `in_shards`; with
    `keep_all` they also store the labels of all models, in their order (`Shard.labels_by_model`).

    Parameters
    ----------
    on_iteration : callable, optional
        Called once per pass, see `algorithms.kmeans.lloyd.OnIteration`.
    spare_bytes : int
        Memory that each shard may use for bounds that save work, see `algorithms.kmeans.lloyd`.
    statistics : DataStatistics, optional
        The statistics of the rows, where they are known already.
    starts : sequence of sequence of float64 (k, d), optional
        The centers that each run of each model starts from, where the caller has made them.

    Raises
    ------
    DataError
        For fewer rows than clusters, values that are not finite, and weights that are all zero.
    ResourceError
        For so many centers that they fill the memory.
    """
    statistics = statistics or measure(executor, backend, models[0].metric)  # 1
    check_n_rows(max(params.n_clusters for params in models), statistics.n_rows)
    _check_size(models, len(statistics.shift))
    starts = starts or _initial_centers(executor, models, backend, statistics)  # 2
    all_starts = [start for starts_of_model in starts for start in starts_of_model]
    executor.apply(passes.to_device, backend)  # 3
    runs = iterate(executor, backend, statistics, all_starts, models[0], on_iteration, spare_bytes)
    groups = _split(runs, [len(starts_of_model) for starts_of_model in starts])
    best_runs = _best_runs(executor, backend, statistics, groups)  # 4
    stored = len(best_runs) - 1
    kept = list(range(len(best_runs))) if keep_all else [stored]
    centers = [run.centers for run in best_runs]
    assignments = _assign(executor, backend, statistics, centers, kept)  # 5
    return [
        _fitted(executor, backend, run, sums, sum(run.seconds for run in group), i == stored)
        for i, (run, sums, group) in enumerate(zip(best_runs, assignments, groups, strict=True))
    ]


def _check_size(models: Sequence[KMeansParams], n_features: int) -> None:
    """Refuse so many runs of so many clusters that their centers alone fill the memory.

    Raises
    ------
    ResourceError
    """
    n_values = _n_centers_at_once(models) * n_features
    max_values = psutil.virtual_memory().available // _BYTES_PER_VALUE
    if n_values > max_values:
        raise ResourceError(
            "n_clusters.too_many_centers",
            f"runs that are made together have centers of {n_values:,} values",
            rule=f"the memory that is available holds {max_values:,}",
            value=max(params.n_clusters for params in models),
            hint="lower `n_clusters`, or set `n_init` to 1",
            parameter="n_clusters",
        )


def _n_centers_at_once(models: Sequence[KMeansParams]) -> int:
    """Return the number of centers of all runs that are iterated together."""
    counts, params = [model.n_clusters for model in models], models[0]
    if not isinstance(params.init, str):
        return sum(counts)
    n_centers = [_n_restarts(params, k) * k for k in counts]
    if params.init == "random" or params.n_init != "auto":
        return sum(n_centers)
    of_sample: Counter[int] = Counter()  # of the seedings of a sample only the best one stays
    for k, n in zip(counts, n_centers, strict=True):
        of_sample[sample_size(k)] += n
    return max(*of_sample.values(), sum(counts))


def _n_restarts(params: KMeansParams, k: int) -> int:
    """Return how many seedings there are for k centers."""
    if params.n_init != "auto":
        return params.n_init
    if params.init == "random":
        return _AUTO_RUNS
    return min(max(_AUTO_WORK // k**2, 1), _AUTO_RUNS)


def initial_centers(
    executor: Executor, params: KMeansParams, backend: str, statistics: DataStatistics
) -> Centers:
    """Return the centers that a fit starts from: those of `init`, or a seeding."""
    start = _initial_centers(executor, [params], backend, statistics)[0][0]
    return Centers(start, statistics.shift)


def _fitted(
    executor: Executor,
    backend: str,
    run: LloydRun,
    assignment: AssignmentSums,
    seconds: float,
    in_shards: bool,
) -> KMeansFit:
    k = len(assignment.sizes)
    # There can be too few distinct rows only where a cluster is empty: only then count them.
    n_distinct = k if assignment.sizes.all() else len(distinct_rows(executor, backend, k))
    assert run.weight is not None  # there is at least one iteration
    return KMeansFit(
        centers=run.centers,
        inertia=assignment.inertia,
        n_iter=run.n_iter,
        converged=run.converged,
        sizes=assignment.sizes,
        weight=run.weight,
        n_distinct=n_distinct,
        seconds=seconds,
        in_shards=in_shards,
    )


def _initial_centers(
    executor: Executor, models: Sequence[KMeansParams], backend: str, statistics: DataStatistics
) -> list[list[NDArray[np.float64]]]:
    """Step 2: return the starts of each model's runs on the whole data, (k, d) each."""
    if not isinstance(models[0].init, str):
        return [[np.array(params.init, dtype=np.float64)] for params in models]
    starts: dict[int, list[NDArray[np.float64]]] = {}
    counts = [params.n_clusters for params in models]
    for size in sorted({sample_size(k) for k in counts}):
        same_size = [k for k in counts if sample_size(k) == size]
        starts.update(_seed(executor, models[0], same_size, backend, statistics))
    return [starts[k] for k in counts]


def _seed(
    executor: Executor,
    params: KMeansParams,
    counts: Sequence[int],
    backend: str,
    statistics: DataStatistics,
) -> dict[int, list[NDArray[np.float64]]]:
    """Seed each number of clusters from one sample, and refine there."""
    random_state, max_k = params.random_state, max(counts)
    sample = draw_sample(executor, backend, statistics, max_k, random_state)
    distinct = partial(distinct_rows, executor, backend)
    local = LocalExecutor(executor.local_threads)
    n_restarts = [_n_restarts(params, k) for k in counts]
    restarts = range(max(n_restarts))
    if params.init == "random":
        seeds = [seeding.at_random(sample, max_k, random_state, r) for r in restarts]
        return {k: [seeding.fill_up(rows, k, distinct) for rows in seeds] for k in counts}
    largest = [max(k for k, n in zip(counts, n_restarts, strict=True) if r < n) for r in restarts]
    seeds = []
    for k, same_k in groupby(restarts, largest.__getitem__):  # no longer than the models need
        seeds += seeding.plus_plus(
            sample, registry.get(backend), k, random_state, list(same_k), local.context
        )
    starts = [
        seeding.fill_up(rows, k, distinct)
        for k, n_seedings in zip(counts, n_restarts, strict=True)
        for rows in seeds[:n_seedings]
    ]
    local.load(lambda shard, context: shard, [sample.shard()])
    has_all_rows = sample.weight is None and len(sample.x) == statistics.n_rows
    is_all_rows = has_all_rows and statistics.max_weight == 1
    sample_statistics = statistics if is_all_rows else measure(local, backend)
    local.apply(passes.to_device, backend)
    refining = params.model_copy(update={"max_iter": _REFINING_ITERATIONS})
    runs = iterate(local, backend, sample_statistics, starts, refining, spare_bytes=_REFINING_BYTES)
    groups = _split(runs, n_restarts)
    if params.n_init == "auto":
        groups = [[run] for run in _best_runs(local, backend, sample_statistics, groups)]
    return {
        k: [run.centers.values for run in group] for k, group in zip(counts, groups, strict=True)
    }


def distinct_rows(executor: Executor, backend: str, limit: int) -> NDArray[np.float32]:
    """Return up to `limit` distinct rows of the whole data."""
    by_shard = np.concatenate(executor.map(passes.distinct, backend, limit))
    return passes.first_distinct(by_shard, limit)


def _split(runs: Sequence[LloydRun], sizes: Sequence[int]) -> list[list[LloydRun]]:
    """Split runs into consecutive groups of these sizes."""
    ends = accumulate(sizes, initial=0)
    return [list(runs[a:b]) for a, b in pairwise(ends)]


def _best_runs(
    executor: Executor,
    backend: str,
    statistics: DataStatistics,
    groups: Sequence[Sequence[LloydRun]],
) -> list[LloydRun]:
    """Return the run of each group with the least inertia, the first one if several have it.

    Runs often end at the same centers in another order; these have the same inertia.
    """
    distinct: dict[tuple[bytes, ...], LloydRun] = {}
    for run in (run for group in groups if len(group) > 1 for run in group):
        distinct.setdefault(_centers_in_any_order(run), run)
    compared = [run.centers for run in distinct.values()]
    assignments = _assign(executor, backend, statistics, compared, []) if compared else []
    inertia = {centers: sums.inertia for centers, sums in zip(distinct, assignments, strict=True)}
    return [
        min(group, key=lambda run: inertia[_centers_in_any_order(run)])
        if len(group) > 1
        else group[0]
        for group in groups
    ]


def _centers_in_any_order(run: LloydRun) -> tuple[bytes, ...]:
    """Return a value that two runs share if they have the same centers in any order."""
    return tuple(sorted(center.tobytes() for center in run.centers.values))


def assign_rows(
    executor: Executor, backend: str, statistics: DataStatistics, centers: Centers
) -> AssignmentSums:
    """Assign all rows to their nearest centers; each shard then has `labels` and `distance`."""
    return _assign(executor, backend, statistics, [centers], [0])[0]


def _assign(
    executor: Executor,
    backend: str,
    statistics: DataStatistics,
    models: Sequence[Centers],
    kept: list[int],
) -> list[AssignmentSums]:
    """Assign all rows by each model; store the labels of those `kept`, distances of the last."""
    sent = [(centers, statistics.inertia_grid(centers.values)) for centers in models]
    send: Any = executor.apply if kept else executor.map
    by_shard: list[list[AssignmentSums]] = send(passes.assign, backend, sent, kept)
    return [reduce(AssignmentSums.merge, parts) for parts in zip(*by_shard, strict=True)]
