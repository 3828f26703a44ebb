"""Choose eps from the k-distance plot: distances from a sample of rows to their k-th nearest row.

If both sides were sampled, distances would be too long. Here each row of the sample is compared
with all rows, so its k-distance is exact. With k = min_samples it is the smallest eps that makes
the row core. A row that is not core has fewer than k rows within eps, all of them among its k
nearest rows; so whether one of those is core, or the row is noise, is exact as well.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan import partition
from gpuseg.algorithms.dbscan.cost_model import WITHOUT_DISTANCES
from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.dbscan.partition import Extent, rows_of
from gpuseg.backends import registry
from gpuseg.errors import DataError
from gpuseg.formatting import count
from gpuseg.numerics.distance_metrics import (
    Metric,
    dist_to_rdist,
    embed,
    minkowski_p,
    rdist_to_dist,
)
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding.shard import Shard

SAMPLE_ROWS = 2048

_MAX_SECOND_NEIGHBORS, _MIN_ROWS = 2**22, 128
"""Each row of the sample needs the k nearest rows of its k nearest rows. With a large k the sample
is smaller, so that there are at most this many of them."""

_MAX_PAIRS = 2e10
"""Maximum pairs of a DBSCAN run for a candidate; this many take tens of seconds."""

_SHARE_WITHOUT_OUTLIERS = 0.995
"""Share of the sample in which the knee is searched; the largest distances are outliers."""

_EPS_FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Candidates, as multiples of the suggested eps."""


@dataclass(frozen=True)
class EpsCandidate:
    """Expected result of DBSCAN with an eps, from the sample.

    Attributes
    ----------
    eps : float
    core_share, noise_share : float
        Shares of all rows.
    noise_error : float
        Standard error of `noise_share`.
    distances : float
        Approximate number of distances that DBSCAN computes.
    largest_share : float or None
        Share of all rows in the largest cluster, exact, from a run of DBSCAN. None where it was
        not requested, or too much work.
    """

    eps: float
    core_share: float
    noise_share: float
    noise_error: float
    distances: float
    largest_share: float | None = None


@dataclass(frozen=True)
class EpsEstimate:
    """The k-distances of a sample of rows, and the eps that they suggest.

    Attributes
    ----------
    eps : float
        The knee of the sorted distances.
    min_samples : int
    metric : str
    k_distances : float64 (m,)
        Distances from the rows of the sample to their k-th nearest row, increasing. k is
        `min_samples`, and a row is its own nearest row.
    candidates : list of EpsCandidate
        For eps and some values around it.
    """

    eps: float
    min_samples: int
    metric: Metric
    k_distances: NDArray[np.float64] = field(repr=False)
    candidates: list[EpsCandidate] = field(repr=False)

    def explain(self) -> str:
        """Return a phrase that says where eps comes from."""
        suggested = next(candidate for candidate in self.candidates if candidate.eps == self.eps)
        return (
            f"the knee of the distances from {count(len(self.k_distances), 'sampled row')} to the "
            f"nearest {count(self.min_samples, 'row')} of the whole data; about "
            f"{suggested.noise_share:.1%} ± {2 * suggested.noise_error:.1%} of the rows are noise"
        )


class _Neighbors(NamedTuple):
    """The k nearest of all rows, nearest first: reduced distances and row numbers, (m, k)."""

    rdist: NDArray[np.float64]
    row: NDArray[np.int64]


def find_eps(
    executor: Executor,
    min_samples: int,
    metric: Metric,
    backend: str,
    seed: int = 0,
    run_candidates: bool = False,
) -> EpsEstimate:
    """Return the k-distances, their knee, and the expected results of some values of eps.

    Parameters
    ----------
    run_candidates : bool
        Whether to run DBSCAN with each value as well, where that is not too much work.

    Raises
    ------
    DataError
        For fewer rows than `min_samples`, and where all distances are 0.
    CacheLost
        When a worker was lost during a run of DBSCAN; see `runtime.retry.retry_if_lost`.
    """
    extent = Extent.merge(executor.map(partition.measure, metric))
    n_rows = extent.n_rows
    if n_rows < min_samples:
        raise DataError(
            "min_samples.more_than_rows",
            f"no row can be core, since the data has only {count(n_rows, 'row')}",
            value=min_samples,
            hint="use a smaller `min_samples`",
            parameter="min_samples",
        )
    # Any limit finds the same neighbors; one on the scale of the data is fast.
    eps_bounds = _eps_bounds(extent, _typical_rdist(extent, minkowski_p(metric)), metric)
    n_sample = min(SAMPLE_ROWS, max(_MIN_ROWS, _MAX_SECOND_NEIGHBORS // min_samples**2))
    points = np.concatenate(executor.map(_sample_points, metric, n_rows, seed, n_sample))
    nearest = _find_nearest(executor, points, min_samples, metric, eps_bounds, backend)
    distance = rdist_to_dist(nearest.rdist, metric)
    k_distances = np.sort(distance[:, -1])
    eps = _find_knee(k_distances)
    # The smallest eps that makes each neighbor core is its own k-distance.
    rows = np.unique(nearest.row[nearest.row >= 0])
    neighbors = np.concatenate(executor.map(_points_at, metric, rows))
    second = _find_nearest(executor, neighbors, min_samples, metric, eps_bounds, backend)
    core_eps = rdist_to_dist(second.rdist[:, -1], metric)
    neighbor_core_eps = np.where(
        nearest.row >= 0, core_eps[np.searchsorted(rows, nearest.row)], np.inf
    )
    candidates = []
    for factor in _EPS_FACTORS:
        params = DBSCANParams(eps=eps * factor, min_samples=min_samples, metric=metric)
        counts = executor.map(_count_pairs, points, params, extent, backend)
        pairs = sum(counts) * n_rows / len(points) * WITHOUT_DISTANCES
        candidate = _candidate(params.eps, distance, neighbor_core_eps, pairs)
        if run_candidates and pairs <= _MAX_PAIRS:
            largest = _largest_cluster(executor, params, backend) / n_rows
            candidate = replace(candidate, largest_share=largest)
        candidates.append(candidate)
    return EpsEstimate(eps, min_samples, metric, k_distances, candidates)


def _largest_cluster(executor: Executor, params: DBSCANParams, backend: str) -> int:
    """Run DBSCAN, and return the number of rows of its largest cluster."""
    fit = fit_dbscan(executor, params, backend, distances=False)
    return int(fit.sizes.max(initial=0))


def _candidate(
    eps: float,
    distance: NDArray[np.float64],
    neighbor_core_eps: NDArray[np.float64],
    pairs: float,
) -> EpsCandidate:
    """Return the expected result of an eps.

    Parameters
    ----------
    distance : float64 (m, k)
        Distances to the k nearest rows.
    neighbor_core_eps : float64 (m, k)
        The smallest eps that makes each of those rows core.
    """
    core = distance[:, -1] <= eps
    noise = np.logical_not(np.any((distance <= eps) & (neighbor_core_eps <= eps), axis=1))
    share = float(noise.mean())
    error = float(np.sqrt(max(share * (1 - share), 1 / len(noise)) / len(noise)))
    return EpsCandidate(float(eps), float(core.mean()), share, error, pairs)


def _find_knee(distances: NDArray[np.float64]) -> float:
    """Return the knee of an increasing curve: the point farthest below the chord (Satopää et al.,
    "Finding a 'kneedle' in a haystack", ICDCSW 2011).
    """
    curve = distances[: max(2, int(len(distances) * _SHARE_WITHOUT_OUTLIERS))]
    positive = curve[curve > 0]
    if not positive.size:
        raise DataError(
            "eps.no_estimate",
            "nearly all rows are equal to min_samples other rows or more, so that no eps can be "
            "suggested",
            hint="set `eps`, or use a larger `min_samples`",
            parameter="eps",
        )
    along = np.linspace(0, 1, len(curve))
    height = (curve - curve[0]) / max(curve[-1] - curve[0], np.finfo(float).tiny)
    knee = curve[int((along - height).argmax())]
    return float(knee if knee > 0 else positive[0])


def _typical_rdist(extent: Extent, p: int) -> float:
    """Return a reduced distance on the scale of the data."""
    side = float(np.max(extent.high.astype(np.float64) - extent.low)) or 1.0
    return side * side if p == 2 else side


def _eps_bounds(extent: Extent, rdist_limit: float, metric: Metric) -> EpsBounds:
    return EpsBounds.from_ranges(extent.low, extent.high, rdist_limit, minkowski_p(metric))


def _find_nearest(
    executor: Executor,
    points: NDArray[Any],
    k: int,
    metric: Metric,
    eps_bounds: EpsBounds,
    backend: str,
) -> _Neighbors:
    """Return the k nearest rows of all shards; of equally near ones the lowest."""
    by_shard = executor.map(_find_nearest_in_shard, points, k, metric, eps_bounds, backend)
    rdist = np.concatenate([nearest.rdist for nearest in by_shard], axis=1)
    row = np.concatenate([nearest.row for nearest in by_shard], axis=1)
    order = np.lexsort((row, rdist), axis=1)[:, :k]
    return _Neighbors(np.take_along_axis(rdist, order, 1), np.take_along_axis(row, order, 1))


def _find_nearest_in_shard(
    shard: Shard,
    context: TaskContext,
    points: NDArray[Any],
    k: int,
    metric: Metric,
    eps_bounds: EpsBounds,
    backend: str,
) -> _Neighbors:
    neighbors, (x, _) = registry.get_neighbors(backend), rows_of(shard)
    rdist, row = np.full((len(points), k), np.inf), np.full((len(points), k), -1)
    neighbors.find_nearest(
        neighbors.build_index(points, eps_bounds, context.map),
        np.ones(len(points), bool),
        neighbors.build_index(embed(x, metric), eps_bounds, context.map),
        np.ones(len(x), bool),
        rdist,
        row,
        context.map,
    )
    return _Neighbors(rdist, np.where(row >= 0, row + shard.first_row, -1))


def _count_pairs(
    shard: Shard,
    context: TaskContext,
    points: NDArray[Any],
    params: DBSCANParams,
    extent: Extent,
    backend: str,
) -> int:
    """Return how many pairs are compared to find out whether the points are core."""
    neighbors, (x, _) = registry.get_neighbors(backend), rows_of(shard)
    eps_bounds = _eps_bounds(extent, dist_to_rdist(params.eps, params.metric), params.metric)
    shard_index = neighbors.build_index(embed(x, params.metric), eps_bounds, context.map)
    sample_index = neighbors.build_index(points, eps_bounds, context.map)
    counts = np.zeros(len(points), np.int64)
    return neighbors.count_neighbors(
        sample_index, shard_index, None, params.min_samples, counts, context.map
    )


def _sample_points(
    shard: Shard, context: TaskContext, metric: Metric, n_total: int, seed: int, n_sample: int
) -> NDArray[Any]:
    """Return the points of rows drawn by a hash of their position in the data and the seed."""
    x, _ = rows_of(shard)
    row_numbers = np.arange(shard.first_row, shard.first_row + len(x))
    return embed(x[hash_sample_mask(row_numbers, n_sample, n_total, seed)], metric)


def _points_at(
    shard: Shard, context: TaskContext, metric: Metric, row_numbers: NDArray[np.int64]
) -> NDArray[Any]:
    """Return the points at some positions in the data, increasing, as far as they are here."""
    x, _ = rows_of(shard)
    first, last = shard.first_row, shard.first_row + len(x)
    here = row_numbers[(row_numbers >= first) & (row_numbers < last)]
    return embed(x[here - first], metric)
