"""Many numbers of clusters in one sweep: every pass over the data serves all of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from gpuseg.estimators._params import one_seed, several_counts
from gpuseg.estimators.kmeans import KMeans, fit_together
from gpuseg.printable import printable_value


@dataclass(frozen=True)
class KMeansSweep:
    """The models that `kmeans_sweep` returns.

    Attributes
    ----------
    models : dict of int to KMeans
        The fitted model of each number of clusters.
    seconds : dict of int to float
        Time of each model's iterations, restarts included, on all threads together.
    total_seconds : float
        Wall-clock time of the whole sweep.
    """

    models: dict[int, KMeans]
    seconds: dict[int, float]
    total_seconds: float

    def __repr__(self) -> str:
        counts = printable_value(list(self.models))
        return f"KMeansSweep(n_clusters={counts}, total_seconds={self.total_seconds:.3f})"

    @property
    def inertia(self) -> dict[int, float]:
        """Inertia of each number of clusters."""
        return {k: model.inertia_ for k, model in self.models.items()}


def kmeans_sweep(
    X: Any,
    n_clusters: Iterable[int] = range(2, 21),
    *,
    sample_weight: ArrayLike | None = None,
    client: Any = None,
    **params: Any,
) -> KMeansSweep:
    """Fit k-means for several numbers of clusters, with all restarts, in one sweep.

    Each model has the same bits as ``KMeans(k, **params).fit(X)``; but all models share each pass
    over the data, which takes most of the time where X is large.

    Parameters
    ----------
    X : as in `KMeans.fit`
    n_clusters : iterable of int
    sample_weight, client : as in `KMeans.fit`
    **params : other parameters of `KMeans`, such as ``n_init=4, random_state=0``

    Returns
    -------
    KMeansSweep

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `KMeans.fit`; and for initial centers, which suit only one number of clusters.

    Examples
    --------
    >>> import gpuseg
    >>> X = [[0.0], [1.0], [10.0], [11.0], [50.0]]
    >>> sweep = gpuseg.kmeans_sweep(X, [2, 3], random_state=0)
    >>> sweep.inertia
    {2: 101.0, 3: 1.0}
    >>> sweep.models[3].cluster_centers_.shape
    (3, 1)
    """
    counts = several_counts(
        n_clusters,
        1,
        1,
        "must be several numbers of clusters, such as range(2, 21)",
        "for one number use KMeans",
    )
    started = time.perf_counter()
    options = one_seed(params)
    models = {k: KMeans(k, **options) for k in counts}
    seconds = fit_together(list(models.values()), X, sample_weight, client)
    total = time.perf_counter() - started
    return KMeansSweep(models, dict(zip(counts, seconds, strict=True)), total)
