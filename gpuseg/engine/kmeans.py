"""k-means by exact Lloyd iteration, over shards; the same bits however the rows are sharded.

Steps, numbered in `fit_kmeans`:

1. Measure: exact mean, variance and range of each feature; total and largest weight.
2. Seed on a sample, refine there (`engine.seeding`).
3. Iterate: each shard assigns its rows and sums them per centre in one pass; the sums are on
   a grid (`engine.exact`), so adding them up is exact. Empty clusters move to the rows
   farthest from their centres, as in scikit-learn.
4. Assign: always one last pass, so labels equal predict(X).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.base import Centers, Partial, SumGrid
from gpuseg.engine import columns, passes, seeding
from gpuseg.engine.exact import finer_magic, grid_magic
from gpuseg.engine.params import KMeansParams
from gpuseg.engine.preparation import column_statistics
from gpuseg.errors import DataError
from gpuseg.runtime.executor import Executor, InProcess

_AUTO_SEEDINGS = 10
_LEAST_WEIGHT = 1e-30
_REFINING_ITERATIONS = 20

OnIteration = Callable[[int, float, float], None]
"""Takes the iteration's number, an estimate of its inertia, and Σ|Δcentre|²."""


@dataclass(frozen=True)
class Measured:
    """What step 1 finds out.

    Attributes
    ----------
    n_rows : int
    shift : float32 (d,)
        The mean; distances and sums are measured from it.
    reach : float64 (d,)
        max |x - shift|.
    mean_variance : float
        Mean over the features of their population variance.
    largest_weight : float
    weighted : bool
    squares : float
        Σ w·|x - shift|², for the estimate of the inertia.
    """

    n_rows: int
    shift: NDArray[np.float32]
    reach: NDArray[np.float64]
    mean_variance: float
    largest_weight: float
    weighted: bool
    squares: float

    def sum_grid(self) -> SumGrid:
        """Return the grids of a Lloyd pass."""
        n, heaviest = self.n_rows, self.largest_weight
        magics = np.array([[grid_magic(n, r * heaviest) for r in (*self.reach.tolist(), 1.0)]])
        if self.weighted:
            finer = [finer_magic(n, magic) for magic in magics[0].tolist()]
            magics = np.concatenate([magics, [finer]])
        return SumGrid(np.ascontiguousarray(magics[:, :-1]), magics[:, -1].copy())

    def inertia_grid(self, centers: NDArray[np.float64]) -> tuple[float, float]:
        """Return the two grids for Σ w·d²; d_f <= max|x - shift| + max|c - shift|."""
        reach = self.reach + np.abs(centers - self.shift).max(axis=0)
        largest = float(reach @ reach) * self.largest_weight
        coarse = grid_magic(self.n_rows, largest)
        return coarse, finer_magic(self.n_rows, coarse)


@dataclass(frozen=True)
class KMeansFit:
    """A fitted k-means.

    Attributes
    ----------
    centers : Centers
    inertia : float
        Σ w·|x - centre|². Each row's term is rounded as float64 rounds, then to two grids of
        together about 106 bits below n times the largest term that is possible; terms that
        small beside one extreme outlier are lost.
    n_iter : int
    converged : bool
        Whether `tol` was reached within `max_iter`.
    sizes : int64 (k,)
    n_distinct : int
        Distinct rows of positive weight, counted up to k.
    """

    centers: Centers
    inertia: float
    n_iter: int
    converged: bool
    sizes: NDArray[np.int64]
    n_distinct: int


def fit_kmeans(
    executor: Executor,
    params: KMeansParams,
    backend: str,
    on_iteration: OnIteration = lambda n_iter, inertia, shift: None,
) -> KMeansFit:
    """Fit k-means to the placed shards; their labels and distances are stored in them.

    Raises
    ------
    DataError
        For fewer rows than clusters, values that are not finite, and weights that are all zero.
    """
    measured = measure(executor, backend)  # 1
    if measured.n_rows < params.n_clusters:
        raise DataError(
            f"n_clusters = {params.n_clusters}, but there are only {measured.n_rows} rows; "
            f"use n_clusters <= {measured.n_rows}"
        )
    starts = _initial_centers(executor, params, backend, measured)  # 2
    ends = [_lloyd(executor, params, backend, measured, c, on_iteration) for c in starts]  # 3
    end = _best(executor, backend, measured, ends)
    assigned = _assign(executor, backend, measured, end.centers, keep=True)  # 4
    # Only where a cluster stayed empty can there be too few distinct rows: then count them.
    k = params.n_clusters
    n_distinct = k if assigned.sizes.all() else len(_distinct(executor, k))
    return KMeansFit(
        end.centers, assigned.inertia, end.n_iter, end.converged, assigned.sizes, n_distinct
    )


def measure(executor: Executor, backend: str) -> Measured:
    """Step 1: measure the placed shards."""
    n_features = executor.run(passes.n_features)[0]
    no_transform = np.zeros(n_features, np.int64)
    summary = columns.merged(executor.run(columns.summarize, backend, no_transform))
    if summary.rows == 0 or (summary.valid() < summary.rows).any():
        raise DataError(
            f"{summary.counts[0].sum()} values are missing and {summary.counts[1].sum()} are "
            f"infinite or beyond float32 in {summary.rows} prepared rows; "
            "k-means needs finite values and at least one row"
        )
    mean, variance = column_statistics(summary)
    shift = mean.astype(np.float32)
    reach = np.maximum(summary.maximum - shift, shift - summary.minimum)
    weights = [w for w in executor.run(passes.largest_weight) if w is not None]
    largest = max(weights, default=1.0)
    if largest == 0:
        raise DataError("all weights are zero; at least one row needs a positive weight")
    if not _LEAST_WEIGHT <= largest <= 1 / _LEAST_WEIGHT:
        raise DataError(
            f"the largest weight is {largest:g}: must be between {_LEAST_WEIGHT:g} and "
            f"{1 / _LEAST_WEIGHT:g}; multiply all weights by one number"
        )
    if weights:
        squares = sum(executor.run(passes.weighted_squares, shift))
    else:
        squares = summary.rows * float((variance + (mean - shift) ** 2).sum())
    mean_variance = float(variance.mean())
    return Measured(summary.rows, shift, reach, mean_variance, largest, bool(weights), squares)


def _initial_centers(
    executor: Executor, params: KMeansParams, backend: str, measured: Measured
) -> list[NDArray[np.float64]]:
    """Step 2: return the starts of the runs on the whole data, each (k, d)."""
    k, seed = params.n_clusters, params.random_state
    if not isinstance(params.init, str):
        return [np.array(params.init, dtype=np.float64)]
    magic = float(measured.sum_grid().weight[0])
    weights = executor.run(passes.total_weight, magic)
    sample = seeding.draw_sample(executor, measured.n_rows, weights, magic, k, seed)

    distinct = partial(_distinct, executor)
    seedings = _AUTO_SEEDINGS if params.n_init == "auto" else params.n_init
    if params.init == "random":
        return [seeding.random_centers(sample, k, seed, r, distinct) for r in range(seedings)]
    local = InProcess(threads=1)
    local.place(lambda shard, env: shard, [sample.shard()])
    quick = params.model_copy(update={"max_iter": _REFINING_ITERATIONS})
    on_sample = measure(local, backend)
    ends = [
        _lloyd(
            local, quick, backend, on_sample,
            seeding.seed_centers(sample, registry.get(backend), k, seed, r, distinct),
        )
        for r in range(seedings)
    ]  # fmt: skip
    if params.n_init == "auto":
        ends = [_best(local, backend, on_sample, ends)]
    return [end.centers.values for end in ends]


def _distinct(executor: Executor, limit: int) -> NDArray[np.float32]:
    """Return up to `limit` distinct rows of the whole data."""
    found = np.concatenate(executor.run(passes.distinct, limit))
    return passes.first_distinct(found, limit)


@dataclass(frozen=True)
class _End:
    """Where a run of Lloyd iterations ended."""

    centers: Centers
    n_iter: int
    converged: bool


def _best(executor: Executor, backend: str, measured: Measured, ends: list[_End]) -> _End:
    """Return the end with the least inertia, the first of them where several have it."""
    if len(ends) == 1:
        return ends[0]
    return min(
        ends,
        key=lambda end: _assign(executor, backend, measured, end.centers, keep=False).inertia,
    )


def _lloyd(
    executor: Executor,
    params: KMeansParams,
    backend: str,
    measured: Measured,
    initial: NDArray[np.float64],
    on_iteration: OnIteration = lambda n_iter, inertia, shift: None,
) -> _End:
    """Step 3: iterate from `initial` until the centres rest."""
    grid = measured.sum_grid()
    tolerance = params.tol * measured.mean_variance
    centers = Centers(initial, measured.shift)
    converged, n_iter = False, 0
    while n_iter < params.max_iter and not converged:
        n_iter += 1
        partials = executor.run(passes.lloyd, backend, centers, grid)
        total = partials[0]
        for other in partials[1:]:
            total.add(other)
        estimate = _estimated_inertia(total, centers, measured)
        if not total.weight.sum(axis=0).all():
            _relocate_empty(executor, backend, total, centers, grid)
        moved = _means(total, centers)
        change = float(((moved.values - centers.values) ** 2).sum())
        centers, converged = moved, change <= tolerance
        on_iteration(n_iter, estimate, change)
    return _End(centers, n_iter, converged)


def _means(total: Partial, centers: Centers) -> Centers:
    """Return the centres' new places; a centre without rows stays."""
    weight = total.weight.sum(axis=0)[:, None]
    sums = total.sums.sum(axis=0)
    means = centers.shift.astype(np.float64) + sums / np.where(weight == 0, 1.0, weight)
    return Centers(np.where(weight != 0, means, centers.values), centers.shift)


def _estimated_inertia(total: Partial, centers: Centers, measured: Measured) -> float:
    """Return Σ w|x - c|² = Σ w|z|² - 2 Σ a·S + Σ W|a|², z and a measured from the shift."""
    a = centers.values - centers.shift
    crossed = float((a * total.sums).sum())
    return measured.squares - 2 * crossed + float((total.weight * (a * a).sum(axis=1)).sum())


def _relocate_empty(
    executor: Executor, backend: str, total: Partial, centers: Centers, grid: SumGrid
) -> None:
    """Give each empty cluster one of the rows farthest from their centres, as scikit-learn does.

    The row leaves its old cluster: its terms are subtracted exactly as they were added.
    """
    empty = np.flatnonzero(total.weight.sum(axis=0) == 0)
    found = executor.run(passes.farthest, backend, centers, len(empty))
    rows = passes.Rows.concatenate(found).highest(len(empty))
    terms = rows.weight[:, None] * (rows.x.astype(np.float64) - centers.shift.astype(np.float64))
    parts, weights = grid.split(terms, grid.sums), grid.split(rows.weight, grid.weight)
    for i in np.flatnonzero(rows.score > 0).tolist():
        new, old = empty[i], rows.label[i]
        total.sums[:, old] -= parts[:, i]
        total.weight[:, old] -= weights[:, i]
        total.sums[:, new], total.weight[:, new] = parts[:, i], weights[:, i]


def _assign(
    executor: Executor, backend: str, measured: Measured, centers: Centers, keep: bool
) -> passes.Assigned:
    send: Any = executor.update if keep else executor.run
    parts: list[passes.Assigned] = send(
        passes.assign, backend, centers, measured.inertia_grid(centers.values), keep
    )
    return reduce(passes.Assigned.merge, parts)
