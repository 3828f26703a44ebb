"""Select the number of segments from several segmentations, by a stated rule.

1. Candidates are the numbers of clusters with a smallest cluster of at least 1 % of the rows that
   are stable: fits to two halves of a sample agree (adjusted Rand index >= 0.8). If there are
   none, all are candidates.
2. The candidate with the greatest simplified silhouette wins. It uses all rows, and a few outliers
   hardly change it. Of equal values (within 0.005) the fewest clusters win.
3. The segments are well separated where the winner is stable and less than 2 % of the rows are
   ambiguous: the next center is hardly farther than their own (simplified silhouette below 0.1).
   Few rows are between separate clusters. Where the customers are a continuum, many rows are near
   every boundary: 5 % and more in normal, uniform, lognormal and exponential data of one to sixteen
   dimensions. Their silhouettes range from 0.04 to 0.6, so a silhouette alone does not show it.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import DataStatistics
from gpuseg.algorithms.kmeans.fit import KMeansFit, sweep_kmeans
from gpuseg.algorithms.kmeans.lloyd import OnIteration
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.backends import registry
from gpuseg.errors import DataError
from gpuseg.formatting import count
from gpuseg.model_selection.agreement import adjusted_rand_index
from gpuseg.model_selection.quality import SAMPLE_ROWS, ClusterQuality, measure_fits
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.runtime.executor import Executor, LocalExecutor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Shard

MIN_SHARE = 0.01
MIN_STABILITY = 0.8
MAX_AMBIGUOUS = 0.02
_EQUAL = 0.005
_HALF_ROWS = 32_768
_HALVES_SEED = 1


@dataclass(frozen=True)
class KSelection:
    """A selected number of clusters, and the reason.

    Attributes
    ----------
    n_clusters : int
    well_separated : bool
        Whether the segments are well separated; otherwise the customers are a continuum.
    reason : str
        The criteria of the selection, with the runner-up and why it was not selected.
    criteria : tuple of ClusterQuality
        One for each number of clusters.
    stability : tuple of float
        For each number of clusters, the adjusted Rand index of two halves: about 0 by chance, 1
        for the same clusters; NaN where the halves are too small for so many clusters.
    """

    n_clusters: int
    well_separated: bool
    reason: str
    criteria: tuple[ClusterQuality, ...] = field(repr=False)
    stability: tuple[float, ...] = field(repr=False)

    @property
    def table(self) -> list[dict[str, float | None]]:
        """One row per number of clusters: its `ClusterQuality` and stability; None for NaN."""
        pairs = zip(self.criteria, self.stability, strict=True)
        rows = [{**asdict(quality), "stability": stability} for quality, stability in pairs]
        return [{k: v if math.isfinite(v) else None for k, v in row.items()} for row in rows]

    @property
    def elbow(self) -> int:
        """The number of clusters where the curve of the inertia bends most.

        It is the point farthest below the line between the ends of the curve (Satopää et al.,
        "Finding a 'kneedle' in a haystack", ICDCSW 2011). No rule uses it: every curve has one.
        """
        k = np.array([quality.n_clusters for quality in self.criteria], np.float64)
        inertia = np.array([quality.inertia for quality in self.criteria])
        fallen = (inertia[0] - inertia) / ((inertia[0] - inertia[-1]) or 1.0)
        along = (k - k[0]) / ((k[-1] - k[0]) or 1.0)
        return int(k[(fallen - along).argmax()])

    def __str__(self) -> str:
        header = (
            "k",
            "silhouette",
            "±",
            "simplified",
            "stability",
            "DB",
            "CH",
            "smallest",
            "ambiguous",
        )
        lines = ["".join(f"{name:>12}" for name in header)]
        for quality, stability in zip(self.criteria, self.stability, strict=True):
            mark = "*" if quality.n_clusters == self.n_clusters else " "
            lines.append(
                f"{mark}{quality.n_clusters:>11}{quality.silhouette:>12.3f}"
                f"{quality.silhouette_error:>12.3f}{quality.simplified_silhouette:>12.3f}"
                f"{stability:>12.2f}{quality.davies_bouldin:>12.3f}"
                f"{quality.calinski_harabasz:>12.4g}{quality.smallest_share:>12.1%}"
                f"{quality.ambiguous_share:>12.1%}"
            )
        return "\n".join([*lines, self.reason])


class _Candidate(NamedTuple):
    """A number of clusters with its criteria."""

    quality: ClusterQuality
    stability: float

    @property
    def is_stable(self) -> bool:
        """Whether two halves agree; true where that was not measured."""
        return not self.stability < MIN_STABILITY

    @property
    def simplified(self) -> float:
        """The simplified silhouette."""
        return self.quality.simplified_silhouette


def measure_stability(
    executor: Executor, backend: str, models: Sequence[KMeansParams], statistics: DataStatistics
) -> list[float]:
    """Return how well fits to two halves of a sample agree, for each of the models.

    The halves are drawn by a hash of each row's position, and fitted in the caller's process, as
    seeding is. They are compared by the clusters of other rows of the sample.
    """
    x = np.concatenate(executor.map(columns.sample, backend, 2 * _HALF_ROWS, statistics.n_rows))
    row_numbers = np.arange(len(x), dtype=np.int64)
    in_first = hash_sample_mask(row_numbers, len(x), 2 * len(x), _HALVES_SEED)
    points = x[hash_sample_mask(row_numbers, SAMPLE_ROWS, len(x), _HALVES_SEED + 1)]
    smaller_half = min(np.count_nonzero(in_first == half) for half in (0, 1))
    feasible = [model for model in models if 2 * model.n_clusters <= smaller_half]
    stability = [math.nan] * len(models)
    if feasible and len(points):
        by_half = [
            _fit_and_predict(executor, backend, feasible, x[in_first == half], points)
            for half in (0, 1)
        ]
        for model, labels in zip(feasible, zip(*by_half, strict=True), strict=True):
            stability[models.index(model)] = adjusted_rand_index(*labels)
    return stability


def _fit_and_predict(
    executor: Executor,
    backend: str,
    models: Sequence[KMeansParams],
    rows: NDArray[np.float32],
    points: NDArray[np.float32],
) -> list[NDArray[np.int64]]:
    """Fit the models to some rows in this process; return the clusters of the points by each."""
    local = LocalExecutor(executor.local_threads)
    local.load(lambda shard, context: shard, [Shard(np.ascontiguousarray(rows))])
    fits = sweep_kmeans(local, models, backend)
    b = registry.get("numpy")
    return [b.squared_distances(points, fit.centers.values).argmin(axis=1) for fit in fits]


def select(criteria: Sequence[ClusterQuality], stability: Sequence[float]) -> KSelection:
    """Select a number of clusters by the rule of this module."""
    candidates = [_Candidate(*pair) for pair in zip(criteria, stability, strict=True)]
    eligible = [
        candidate
        for candidate in candidates
        if candidate.quality.smallest_share >= MIN_SHARE and candidate.is_stable
    ] or candidates
    best = max(candidate.simplified for candidate in eligible)
    equal = [candidate for candidate in eligible if candidate.simplified >= best - _EQUAL]
    winner = min(equal, key=lambda candidate: candidate.quality.n_clusters)
    well_separated = winner.quality.ambiguous_share < MAX_AMBIGUOUS and winner.is_stable
    return KSelection(
        n_clusters=winner.quality.n_clusters,
        well_separated=well_separated,
        reason=_reason(winner, well_separated, candidates),
        criteria=tuple(criteria),
        stability=tuple(stability),
    )


def _reason(winner: _Candidate, well_separated: bool, candidates: Sequence[_Candidate]) -> str:
    quality = winner.quality
    stability = "not measured" if math.isnan(winner.stability) else f"{winner.stability:.2f}"
    verdict = "" if well_separated else "no well-separated segments: the data is a continuum; "
    reason = (
        f"{verdict}{quality.n_clusters} clusters: silhouette {quality.silhouette:.2f} "
        f"± {quality.silhouette_error:.2f}, simplified {winner.simplified:.2f}, "
        f"stability {stability}, {quality.ambiguous_share:.1%} of the rows ambiguous"
    )
    others = [candidate for candidate in candidates if candidate.quality is not quality]
    if not others:
        return reason
    runner_up = max(others, key=lambda candidate: candidate.simplified)
    return f"{reason}; runner-up {runner_up.quality.n_clusters}: {_disadvantage(runner_up, winner)}"


def _disadvantage(candidate: _Candidate, winner: _Candidate) -> str:
    """Say why a number of clusters was not selected."""
    if candidate.quality.smallest_share < MIN_SHARE:
        return f"its smallest cluster has {candidate.quality.smallest_share:.1%} of the rows"
    if not candidate.is_stable:
        return f"stability {candidate.stability:.2f}"
    if candidate.simplified >= winner.simplified - _EQUAL:
        return f"not better (simplified {candidate.simplified:.2f}), with more clusters"
    return f"simplified {candidate.simplified:.2f}"


def fit_and_select(
    executor: Executor,
    backend: str,
    models: Sequence[KMeansParams],
    statistics: DataStatistics,
    on_iteration: OnIteration | None = None,
    spare_bytes: int = 0,
) -> tuple[list[KMeansFit], KSelection]:
    """Fit all models and select one; the shards then store the labels and distances of the winner.

    It is the fit with `in_shards`. Numbers of clusters above half the number of rows, or above the
    number of distinct rows, are left out.

    Raises
    ------
    DataError
        As `algorithms.kmeans.fit.sweep_kmeans`.
    """
    models = [m for m in models if 2 * m.n_clusters <= statistics.n_rows] or models[:1]
    fits = sweep_kmeans(executor, models, backend, on_iteration, spare_bytes, statistics)
    feasible = [i for i, fit in enumerate(fits) if fit.n_distinct >= len(fit.sizes)]
    if not feasible:
        raise DataError(
            "n_clusters.too_few_distinct_rows",
            f"the data has only {count(fits[0].n_distinct, 'distinct row')}",
            rule=f"the smallest number of clusters is {models[0].n_clusters}",
            hint="use more rows, or features that vary",
            parameter="n_clusters",
        )
    fits, models = [fits[i] for i in feasible], [models[i] for i in feasible]
    criteria = measure_fits(executor, backend, fits, statistics)
    selection = select(criteria, measure_stability(executor, backend, models, statistics))
    fits = [replace(fit, in_shards=len(fit.sizes) == selection.n_clusters) for fit in fits]
    (winner,) = (fit for fit in fits if fit.in_shards)
    grids = statistics.inertia_grid(winner.centers.values)
    executor.apply(passes.assign, backend, [(winner.centers, grids)], [0])
    return fits, selection
