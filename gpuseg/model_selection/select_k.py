"""How many segments: which of several segmentations to take, by a stated rule.

1. Only numbers of clusters count whose smallest cluster has at least a hundredth of the rows, and
   that are stable: fits to two halves of a sample agree (adjusted Rand index >= 0.8). Where none is
   like that, all count.
2. Of those the greatest simplified silhouette wins, which sees all rows and is little moved by a
   few that lie far out; of equals (within 0.005) the fewest clusters.
3. The segments are clear where the winner is stable and less than 2 % of the rows are in doubt, the
   next centre being hardly farther than their own (simplified silhouette below 0.1). Between
   clusters few rows lie; where the customers are a continuum, which has to be cut somewhere, there
   are many along every cut: 5 % and more in normal, uniform, lognormal and exponential data of one
   to sixteen dimensions, whose silhouettes range from 0.04 to 0.6 and tell nothing by themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.fit import KMeansFit, sweep_kmeans
from gpuseg.algorithms.kmeans.lloyd import OnIteration
from gpuseg.algorithms.kmeans.statistics import DataStatistics
from gpuseg.algorithms.params import KMeansParams
from gpuseg.backends import registry
from gpuseg.errors import DataError
from gpuseg.model_selection.quality import POINTS, ClusterQuality, measure_fits
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.runtime.executor import Executor, LocalExecutor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Shard

MIN_SHARE = 0.01
STABLE = 0.8
MAX_DOUBTFUL = 0.02
_EQUAL = 0.005
_HALF_ROWS = 32_768
_HALVES_SEED = 1


@dataclass(frozen=True)
class KSelection:
    """A number of clusters, and why.

    Attributes
    ----------
    n_clusters : int
    clear : bool
        Whether the segments stand apart; else the customers are a continuum.
    why : str
        In words, with the runner-up and why it lost.
    criteria : tuple of Criteria
        Of each number of clusters.
    stability : tuple of float
        Likewise: the adjusted Rand index of two halves, from about 0, chance, to 1; NaN where
        they are too small for so many clusters.
    """

    n_clusters: int
    clear: bool
    why: str
    criteria: tuple[ClusterQuality, ...]
    stability: tuple[float, ...]

    @property
    def table(self) -> list[dict[str, float | None]]:
        """A row per number of clusters: `ClusterQuality` and the stability; None: no number."""
        pairs = zip(self.criteria, self.stability, strict=True)
        rows = [{**asdict(own), "stability": steady} for own, steady in pairs]
        return [{k: v if math.isfinite(v) else None for k, v in row.items()} for row in rows]

    @property
    def elbow(self) -> int:
        """The number of clusters where the curve of the inertia bends most.

        That is where it lies farthest below the line between its ends (Satopaa et al., "Finding a
        kneedle in a haystack", ICDCSW 2011). It enters no rule: every curve has one.
        """
        k = np.array([own.n_clusters for own in self.criteria], np.float64)
        inertia = np.array([own.inertia for own in self.criteria])
        fallen = (inertia[0] - inertia) / ((inertia[0] - inertia[-1]) or 1.0)
        gone = (k - k[0]) / ((k[-1] - k[0]) or 1.0)
        return int(k[(fallen - gone).argmax()])

    def __str__(self) -> str:
        heads = [
            "k",
            "silhouette",
            "±",
            "simplified",
            "stability",
            "DB",
            "CH",
            "smallest",
            "doubtful",
        ]
        lines = ["".join(f"{head:>12}" for head in heads)]
        for own, steady in zip(self.criteria, self.stability, strict=True):
            mark = "*" if own.n_clusters == self.n_clusters else " "
            lines.append(
                f"{mark}{own.n_clusters:>11}{own.silhouette:>12.3f}{own.silhouette_error:>12.3f}"
                f"{own.simplified_silhouette:>12.3f}{steady:>12.2f}{own.davies_bouldin:>12.3f}"
                f"{own.calinski_harabasz:>12.4g}{own.smallest_share:>12.1%}"
                f"{own.doubtful_share:>12.1%}"
            )
        return "\n".join([*lines, self.why])


def stabilities(
    executor: Executor, backend: str, models: Sequence[KMeansParams], measured: DataStatistics
) -> list[float]:
    """Return how well fits to two halves of a sample agree, for each of the models.

    The halves are drawn by a hash of each row's place, and fitted here, as a seeding is. What
    they agree on are the clusters of further rows.
    """
    from sklearn.metrics import adjusted_rand_score  # a second to import, for few jobs

    n, wanted = measured.n_rows, 2 * _HALF_ROWS
    x = np.concatenate(executor.map(columns.sample, backend, wanted, n))
    number = np.arange(len(x), dtype=np.int64)
    first = hash_sample_mask(number, len(x), 2 * len(x), _HALVES_SEED)
    points = x[hash_sample_mask(number, POINTS, len(x), _HALVES_SEED + 1)]
    least = min(np.count_nonzero(first == half) for half in (0, 1))
    able = [model for model in models if 2 * model.n_clusters <= least]
    found = [math.nan] * len(models)
    if able and len(points):
        labels = [_labels(executor, backend, able, x[first == half], points) for half in (0, 1)]
        for i, pair in enumerate(zip(*labels, strict=True)):
            found[models.index(able[i])] = float(adjusted_rand_score(*pair))
    return found


def _labels(
    executor: Executor,
    backend: str,
    models: Sequence[KMeansParams],
    rows: NDArray[np.float32],
    points: NDArray[np.float32],
) -> list[NDArray[np.int64]]:
    """Fit the models to some rows here; return the clusters of the points by each."""
    local = LocalExecutor(executor.local_threads)
    local.load(lambda shard, env: shard, [Shard(np.ascontiguousarray(rows))])
    fits = sweep_kmeans(local, models, backend)
    spec = registry.get("numpy")
    return [spec.squared_distances(points, fit.centers.values).argmin(axis=1) for fit in fits]


def choose(criteria: Sequence[ClusterQuality], stability: Sequence[float]) -> KSelection:
    """Choose by the rule of this module."""
    pairs = list(zip(criteria, stability, strict=True))
    able = [p for p in pairs if p[0].smallest_share >= MIN_SHARE and not p[1] < STABLE] or pairs
    best = max(own.simplified_silhouette for own, _ in able)
    equal = [p for p in able if p[0].simplified_silhouette >= best - _EQUAL]
    winner, steadiness = min(equal, key=lambda pair: pair[0].n_clusters)
    clear = winner.doubtful_share < MAX_DOUBTFUL and not steadiness < STABLE
    return KSelection(
        winner.n_clusters, clear, _why(winner, steadiness, clear, pairs), tuple(criteria),
        tuple(stability),
    )  # fmt: skip


def _why(
    winner: ClusterQuality,
    steadiness: float,
    clear: bool,
    pairs: Sequence[tuple[ClusterQuality, float]],
) -> str:
    own = (
        f"{winner.n_clusters} clusters: silhouette {winner.silhouette:.2f} "
        f"± {winner.silhouette_error:.2f}, simplified {winner.simplified_silhouette:.2f}, "
        f"stability {_steady(steadiness)}, {winner.doubtful_share:.1%} of the rows in doubt"
    )
    verdict = "" if clear else "no clear segments, the customers are a continuum; "
    others = [pair for pair in pairs if pair[0] is not winner]
    if not others:
        return verdict + own
    second, steady = max(others, key=lambda pair: pair[0].simplified_silhouette)
    return f"{verdict}{own}; runner-up {second.n_clusters}: {_lost(second, steady, winner)}"


def _steady(stability: float) -> str:
    return "not measured" if math.isnan(stability) else f"{stability:.2f}"


def _lost(second: ClusterQuality, steadiness: float, winner: ClusterQuality) -> str:
    """Say why a number of clusters was not taken."""
    if second.smallest_share < MIN_SHARE:
        return f"its smallest has {second.smallest_share:.1%} of the rows"
    if steadiness < STABLE:
        return f"stability {steadiness:.2f}"
    if second.simplified_silhouette >= winner.simplified_silhouette - _EQUAL:
        return f"no better (simplified {second.simplified_silhouette:.2f}), and more clusters"
    return f"simplified {second.simplified_silhouette:.2f}"


def fit_and_choose(
    executor: Executor,
    backend: str,
    models: Sequence[KMeansParams],
    measured: DataStatistics,
    on_iteration: OnIteration = lambda n_iter, inertia, change: None,
    spare_bytes: int = 0,
) -> tuple[list[KMeansFit], KSelection]:
    """Fit all models, and choose among them; labels and distances of the winner are stored.

    Numbers of clusters beyond half the number of rows, or that of distinct ones, are left out.

    Raises
    ------
    DataError
        As `algorithms.kmeans.fit.sweep_kmeans`.
    """
    models = [m for m in models if 2 * m.n_clusters <= measured.n_rows] or models[:1]
    fits = sweep_kmeans(executor, models, backend, on_iteration, spare_bytes, measured)
    full = [i for i, fit in enumerate(fits) if fit.n_distinct >= len(fit.sizes)]
    if not full:
        raise DataError(
            f"only {fits[0].n_distinct} distinct rows: no number of clusters from "
            f"{models[0].n_clusters} on suits; give more rows, or features that vary"
        )
    fits, models = [fits[i] for i in full], [models[i] for i in full]
    criteria = measure_fits(executor, backend, fits, measured)
    choice = choose(criteria, stabilities(executor, backend, models, measured))
    winner = next(fit for fit in fits if len(fit.sizes) == choice.n_clusters)
    grids = measured.inertia_grid(winner.centers.values)
    executor.apply(passes.assign, backend, [(winner.centers, grids)], [0])
    return fits, choice
