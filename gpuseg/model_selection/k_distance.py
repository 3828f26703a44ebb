"""How to choose eps: the distances to the k-th nearest row, of a sample of the rows against all.

Sampling both sides would make distances too long; here each row of the sample is compared with
every row there is, so its k-distance is exact. With k = min_samples it is the least eps that
makes the row core. A row that is not core has fewer than k rows within eps, all of them among
its k nearest; so whether one of those is core, or the row is noise, is exact, too.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan import partition as settle
from gpuseg.algorithms.dbscan.cost_model import WITHOUT_DISTANCES
from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.partition_state import rows_of
from gpuseg.algorithms.params import DBSCANParams
from gpuseg.backends import registry
from gpuseg.errors import DataError
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

_MAX_NEIGHBOURS, _MIN_ROWS = 2**22, 128
"""k² neighbours' neighbours are looked at for each row: with a large k the sample is smaller."""

_MAX_PAIRS = 2e10
"""So many take tens of seconds."""

_FLAT = 0.995
"""Share of the sample whose distances the knee is looked for in: the rest are outliers."""

_AROUND = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Multiples of the suggested eps that are looked at."""


@dataclass(frozen=True)
class EpsCandidate:
    """What an eps would lead to, as the sample says.

    Attributes
    ----------
    eps : float
    core_share, noise_share : float
        Of all rows.
    noise_error : float
        Standard error of `noise_share`.
    pairs : float
        Of rows that DBSCAN would compare, about.
    largest_share : float or None
        Of the largest cluster among all rows, exactly: DBSCAN was run to know it. None where that
        was not asked for, or would have been too much work.
    """

    eps: float
    core_share: float
    noise_share: float
    noise_error: float
    pairs: float
    largest_share: float | None = None


@dataclass(frozen=True)
class EpsEstimate:
    """Distances to the k-th nearest row, and what they suggest.

    Attributes
    ----------
    eps : float
        Where the curve of the distances turns up.
    min_samples : int
    metric : str
    distances : float64 (m,)
        Of the rows of the sample to their k-th nearest row, rising; k = min_samples, and a row is
        its own nearest.
    choices : list of EpsChoice
        For eps and some values around it.
    """

    eps: float
    min_samples: int
    metric: Metric
    distances: NDArray[np.float64] = field(repr=False)
    choices: list[EpsCandidate]

    def why(self) -> str:
        """Say in a sentence where eps comes from."""
        own = next(choice for choice in self.choices if choice.eps == self.eps)
        return (
            f"the knee of the distances of {len(self.distances)} rows to the nearest "
            f"{self.min_samples} of all rows; about {own.noise_share:.1%} "
            f"± {2 * own.noise_error:.1%} of the rows are noise then"
        )


def profile_eps(
    executor: Executor,
    min_samples: int,
    metric: Metric,
    backend: str,
    seed: int = 0,
    clusters: bool = False,
) -> EpsEstimate:
    """Find the distances, the knee, and what some values of eps would lead to.

    Parameters
    ----------
    clusters : bool
        Whether to run DBSCAN with those values, too, where it is little work.

    Raises
    ------
    DataError
        For fewer rows than `min_samples`, and where all distances are 0.
    """
    found = executor.map(settle.measure, metric)
    n_rows = sum(own.n_rows for own in found)
    if n_rows < min_samples:
        raise DataError(
            f"{n_rows} rows, and min_samples = {min_samples}: no row can be core; use a smaller "
            "min_samples"
        )
    low = np.min([own.low for own in found], axis=0)
    high = np.max([own.high for own in found], axis=0)
    reach = EpsBounds.from_ranges(
        low, high, _some_size(low, high, minkowski_p(metric)), minkowski_p(metric)
    )
    wanted = min(SAMPLE_ROWS, max(_MIN_ROWS, _MAX_NEIGHBOURS // min_samples**2))
    points = np.concatenate(executor.map(_drawn, metric, n_rows, seed, wanted))
    size, row = _nearest(executor, points, min_samples, metric, reach, backend)
    distance = rdist_to_dist(size, metric)
    eps = _knee(np.sort(distance[:, -1]))
    others = np.unique(row[row >= 0])
    fetched = np.concatenate(executor.map(_fetched, metric, others))
    core_from = rdist_to_dist(
        _nearest(executor, fetched, min_samples, metric, reach, backend)[0][:, -1], metric
    )
    near = np.where(row >= 0, core_from[np.searchsorted(others, row)], np.inf)
    choices = []
    for factor in _AROUND:
        rules = DBSCANParams(eps=eps * factor, min_samples=min_samples, metric=metric)
        looked = executor.map(_looked_here, points, rules, low, high, backend)
        pairs = sum(looked) * n_rows / len(points) * WITHOUT_DISTANCES
        choice = _choice(rules.eps, distance, near, pairs)
        if clusters and pairs <= _MAX_PAIRS:
            fit = fit_dbscan(executor, rules, backend, distances=False)
            largest = fit.sizes.max(initial=0) / n_rows
            choice = replace(choice, largest_share=float(largest))
        choices.append(choice)
    return EpsEstimate(eps, min_samples, metric, np.sort(distance[:, -1]), choices)


def _choice(
    eps: float, distance: NDArray[np.float64], near: NDArray[np.float64], pairs: float
) -> EpsCandidate:
    """Return what an eps leads to.

    Parameters
    ----------
    distance, near : float64 (m, k)
        To the k nearest rows, and the least eps that makes those core.
    """
    core = distance[:, -1] <= eps
    noise = np.logical_not(np.any((distance <= eps) & (near <= eps), axis=1))
    share = float(noise.mean())
    error = float(np.sqrt(max(share * (1 - share), 1 / len(noise)) / len(noise)))
    return EpsCandidate(float(eps), float(core.mean()), share, error, pairs)


def _knee(distances: NDArray[np.float64]) -> float:
    """Return where a rising curve turns up: farthest below the chord (Satopää et al., "Finding a
    'kneedle' in a haystack", ICDCSW 2011).
    """
    curve = distances[: max(2, int(len(distances) * _FLAT))]
    positive = curve[curve > 0]
    if not positive.size:
        raise DataError(
            "nearly all rows have min_samples rows at the very same place, so no eps can be "
            "suggested: give one, or a larger min_samples"
        )
    along = np.linspace(0, 1, len(curve))
    height = (curve - curve[0]) / max(curve[-1] - curve[0], np.finfo(float).tiny)
    knee = curve[int((along - height).argmax())]
    return float(knee if knee > 0 else positive[0])


def _some_size(low: NDArray[Any], high: NDArray[Any], p: int) -> float:
    """Return a size that suits the scale of the data; the search does not depend on it."""
    reach = float(np.max(high.astype(np.float64) - low)) or 1.0
    return reach * reach if p == 2 else reach


def _nearest(
    executor: Executor,
    points: NDArray[Any],
    k: int,
    metric: Metric,
    reach: EpsBounds,
    backend: str,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return sizes and rows of the k nearest of all rows, (m, k) each, the nearest first."""
    found = executor.map(_nearest_here, points, k, metric, reach, backend)
    size = np.concatenate([own for own, _ in found], axis=1)
    row = np.concatenate([own for _, own in found], axis=1)
    order = np.lexsort((row, size), axis=1)[:, :k]
    return np.take_along_axis(size, order, 1), np.take_along_axis(row, order, 1)


def _nearest_here(
    shard: Shard,
    env: TaskContext,
    points: NDArray[Any],
    k: int,
    metric: Metric,
    reach: EpsBounds,
    backend: str,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    b, (x, _) = registry.get_neighbors(backend), rows_of(shard)
    best, row = np.full((len(points), k), np.inf), np.full((len(points), k), -1)
    b.find_nearest(
        b.build_index(points, reach, env.map), np.ones(len(points), bool),
        b.build_index(embed(x, metric), reach, env.map), np.ones(len(x), bool),
        best, row, env.map,
    )  # fmt: skip
    return best, np.where(row >= 0, row + shard.first_row, -1)


def _looked_here(
    shard: Shard,
    env: TaskContext,
    points: NDArray[Any],
    rules: DBSCANParams,
    low: NDArray[Any],
    high: NDArray[Any],
    backend: str,
) -> int:
    """Return how many pairs are compared to find out whether the points are core."""
    b, (x, _) = registry.get_neighbors(backend), rows_of(shard)
    reach = EpsBounds.from_ranges(
        low, high, dist_to_rdist(rules.eps, rules.metric), minkowski_p(rules.metric)
    )
    there = b.build_index(embed(x, rules.metric), reach, env.map)
    here, found = b.build_index(points, reach, env.map), np.zeros(len(points), np.int64)
    return b.count_neighbors(here, there, None, rules.min_samples, found, env.map)


def _drawn(
    shard: Shard, env: TaskContext, metric: Metric, n_total: int, seed: int, wanted: int
) -> NDArray[Any]:
    """Return the points of rows drawn by a hash of their place and the seed."""
    x, _ = rows_of(shard)
    index = np.arange(shard.first_row, shard.first_row + len(x))
    return embed(x[hash_sample_mask(index, wanted, n_total, seed)], metric)


def _fetched(
    shard: Shard, env: TaskContext, metric: Metric, index: NDArray[np.int64]
) -> NDArray[Any]:
    """Return the points at some places, those of this shard; the places are rising."""
    x, _ = rows_of(shard)
    own = index[(index >= shard.first_row) & (index < shard.first_row + len(x))]
    return embed(x[own - shard.first_row], metric)
