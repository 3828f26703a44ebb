"""k-means by exact Lloyd iteration, over shards; the same bits however the rows are sharded.

Steps, numbered in `sweep_kmeans`:

1. Measure: exact mean, variance and range of each feature (`algorithms.kmeans.statistics`).
2. Seed on a sample (`algorithms.kmeans.sampling`, `algorithms.kmeans.seeding`), refine there.
3. Move the rows to the device of the backend, where it has one and they fit, and iterate all
   runs together, whatever their number of clusters (`algorithms.kmeans.lloyd`).
4. Of the runs with the same number of clusters keep the one with the least inertia.
5. Assign: always one last pass, so labels equal predict(X).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans import seeding
from gpuseg.algorithms.kmeans.lloyd import OnIteration, Run, iterate
from gpuseg.algorithms.kmeans.sampling import draw_sample, sample_size
from gpuseg.algorithms.kmeans.statistics import DataStatistics, measure
from gpuseg.algorithms.params import KMeansParams
from gpuseg.backends import registry
from gpuseg.backends.types import Centers
from gpuseg.errors import DataError
from gpuseg.numerics.sum_grid import AssignmentSums
from gpuseg.runtime.executor import Executor, LocalExecutor
from gpuseg.sharding import row_passes as passes

_AUTO_SEEDINGS = 10
_REFINING_ITERATIONS = 20
_REFINING_BYTES = 2**28


@dataclass(frozen=True)
class KMeansFit:
    """A fitted k-means.

    Attributes
    ----------
    centers : Centers
    inertia : float
        Σ w·|x - centre|². Each row's term is rounded as float64 rounds, then to three grids of
        together about 158 - 2·log2(n) bits below n times the largest term that is possible.
    n_iter : int
    converged : bool
        Whether `tol` was reached within `max_iter`.
    sizes : int64 (k,)
    weight : float64 (k,)
        Of the rows that each centre is the mean of.
    n_distinct : int
        Distinct rows of positive weight, counted up to k.
    seconds : float
        Spent on the iterations of all its runs by all threads of all workers.
    """

    centers: Centers
    inertia: float
    n_iter: int
    converged: bool
    sizes: NDArray[np.int64]
    weight: NDArray[np.float64]
    n_distinct: int
    seconds: float


def fit_kmeans(
    executor: Executor,
    params: KMeansParams,
    backend: str,
    on_iteration: OnIteration = lambda n_iter, inertia, change: None,
    spare_bytes: int = 0,
    measured: DataStatistics | None = None,
) -> KMeansFit:
    """Fit k-means to the placed shards; see `sweep_kmeans`."""
    return sweep_kmeans(executor, [params], backend, on_iteration, spare_bytes, measured)[0]


def sweep_kmeans(
    executor: Executor,
    models: Sequence[KMeansParams],
    backend: str,
    on_iteration: OnIteration = lambda n_iter, inertia, change: None,
    spare_bytes: int = 0,
    measured: DataStatistics | None = None,
    keep_all: bool = False,
) -> list[KMeansFit]:
    """Fit models that differ in n_clusters alone; each is what it would be by itself.

    The labels and distances of the last model are stored in the shards; with `keep_all` the
    labels of the others too (`Shard.labels_by_model`).

    Parameters
    ----------
    on_iteration : callable
        Called once a pass, see `algorithms.kmeans.lloyd.OnIteration`.
    spare_bytes : int
        Memory that each shard may take to remember what spares work, see `algorithms.kmeans.lloyd`.
    measured : Measured, optional
        What is known of the data already.

    Raises
    ------
    DataError
        For fewer rows than clusters, values that are not finite, and weights that are all zero.
    """
    measured = measured or measure(executor, backend, models[0].metric)  # 1
    check_enough(max(params.n_clusters for params in models), measured.n_rows)
    starts = _initial_centers(executor, models, backend, measured)  # 2
    flat = [start for own in starts for start in own]
    rules = models[0]
    executor.apply(passes.to_device, backend)  # 3
    runs = iterate(executor, backend, measured, flat, rules, on_iteration, spare_bytes)
    groups = _grouped(runs, [len(own) for own in starts])
    ends = _best(executor, backend, measured, groups)  # 4
    kept = range(len(ends)) if keep_all else [len(ends) - 1]
    outcome = _assign(executor, backend, measured, ends, list(kept))  # 5
    return [
        _fitted(executor, backend, end, assigned, sum(run.seconds for run in group))
        for end, assigned, group in zip(ends, outcome, groups, strict=True)
    ]


def check_enough(n_clusters: int, n_rows: int) -> None:
    """Refuse more clusters than rows."""
    if n_rows < n_clusters:
        raise DataError(
            f"n_clusters = {n_clusters}, but there are only {n_rows} rows; "
            f"use n_clusters <= {n_rows}"
        )


def first_centers(
    executor: Executor, params: KMeansParams, backend: str, measured: DataStatistics
) -> Centers:
    """Return centres to begin with, as a fit would: those given, or a seeding."""
    return Centers(_initial_centers(executor, [params], backend, measured)[0][0], measured.shift)


def _fitted(
    executor: Executor, backend: str, end: Run, assigned: AssignmentSums, seconds: float
) -> KMeansFit:
    # Only where a cluster stayed empty can there be too few distinct rows: then count them.
    k = len(assigned.sizes)
    n_distinct = k if assigned.sizes.all() else len(distinct_rows(executor, backend, k))
    assert end.weight is not None  # there is at least one iteration
    return KMeansFit(
        end.centers, assigned.inertia, end.n_iter, end.converged,
        assigned.sizes, end.weight, n_distinct, seconds,
    )  # fmt: skip


def _initial_centers(
    executor: Executor, models: Sequence[KMeansParams], backend: str, measured: DataStatistics
) -> list[list[NDArray[np.float64]]]:
    """Step 2: return the starts of each model's runs on the whole data, (k, d) each."""
    if not isinstance(models[0].init, str):
        return [[np.array(params.init, dtype=np.float64)] for params in models]
    starts: dict[int, list[NDArray[np.float64]]] = {}
    counts = [params.n_clusters for params in models]
    for size in sorted({sample_size(k) for k in counts}):
        alike = [k for k in counts if sample_size(k) == size]
        starts.update(_seeded(executor, models[0], alike, backend, measured))
    return [starts[k] for k in counts]


def _seeded(
    executor: Executor,
    rules: KMeansParams,
    counts: Sequence[int],
    backend: str,
    measured: DataStatistics,
) -> dict[int, list[NDArray[np.float64]]]:
    """Seed each number of clusters from one sample, and refine there."""
    seed, most = rules.random_state, max(counts)
    sample = draw_sample(executor, backend, measured, most, seed)
    distinct = partial(distinct_rows, executor, backend)
    local = LocalExecutor(executor.local_threads)
    restarts = range(_AUTO_SEEDINGS if rules.n_init == "auto" else rules.n_init)
    if rules.init == "random":
        chosen = [seeding.at_random(sample, most, seed, r) for r in restarts]
        return {k: [seeding.filled(rows, k, distinct) for rows in chosen] for k in counts}
    b = registry.get(backend)
    chosen = list(
        local.context.map(lambda r: seeding.plus_plus(sample, b, most, seed, r), restarts)
    )
    starts = [seeding.filled(rows, k, distinct) for k in counts for rows in chosen]
    local.load(lambda shard, env: shard, [sample.shard()])
    on_sample = measure(local, backend)
    local.apply(passes.to_device, backend)
    quick = rules.model_copy(update={"max_iter": _REFINING_ITERATIONS})
    runs = iterate(local, backend, on_sample, starts, quick, spare_bytes=_REFINING_BYTES)
    groups = _grouped(runs, [len(restarts)] * len(counts))
    if rules.n_init == "auto":
        groups = [[end] for end in _best(local, backend, on_sample, groups)]
    return {
        k: [run.centers.values for run in group] for k, group in zip(counts, groups, strict=True)
    }


def distinct_rows(executor: Executor, backend: str, limit: int) -> NDArray[np.float32]:
    """Return up to `limit` distinct rows of the whole data."""
    found = np.concatenate(executor.map(passes.distinct, backend, limit))
    return passes.first_distinct(found, limit)


def _grouped(runs: Sequence[Run], sizes: Sequence[int]) -> list[list[Run]]:
    """Return consecutive runs in groups of these sizes."""
    ends = accumulate(sizes, initial=0)
    return [list(runs[a:b]) for a, b in pairwise(ends)]


def _best(
    executor: Executor, backend: str, measured: DataStatistics, groups: Sequence[Sequence[Run]]
) -> list[Run]:
    """Return of each group the run with the least inertia, the first where several have it."""
    compared = [run for group in groups if len(group) > 1 for run in group]
    outcome = _assign(executor, backend, measured, compared, []) if compared else []
    inertia = {run.number: own.inertia for run, own in zip(compared, outcome, strict=True)}
    return [min(group, key=lambda run: inertia.get(run.number, 0.0)) for group in groups]


def _assign(
    executor: Executor, backend: str, measured: DataStatistics, runs: Sequence[Run], keep: list[int]
) -> list[AssignmentSums]:
    """Assign all rows by each run; store the labels of runs `keep` in the shards."""
    models = [(run.centers, measured.inertia_grid(run.centers.values)) for run in runs]
    send: Any = executor.apply if keep else executor.map
    shards: list[list[AssignmentSums]] = send(passes.assign, backend, models, keep)
    return [reduce(AssignmentSums.merge, parts) for parts in zip(*shards, strict=True)]
