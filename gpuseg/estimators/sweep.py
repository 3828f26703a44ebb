"""Many numbers of clusters in one sweep: every pass over the data serves all of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from gpuseg.errors import ConfigError
from gpuseg.estimators._placing import fit_all
from gpuseg.estimators.kmeans import KMeans


@dataclass(frozen=True)
class KMeansSweep:
    """What `kmeans_sweep` returns.

    Attributes
    ----------
    models : dict of int to KMeans
        The fitted model of each number of clusters.
    seconds : dict of int to float
        What the iterations of each took, restarts included, on all threads together.
    total_seconds : float
        Wall clock of the whole sweep.
    """

    models: dict[int, KMeans]
    seconds: dict[int, float]
    total_seconds: float

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
    """Fit k-means for several numbers of clusters, restarts and all, in one sweep.

    Each model is, bit for bit, what ``KMeans(k, **params).fit(X)`` would be; but a pass over the
    data, which is what takes time where X is large or streamed, is shared by all of them.

    Parameters
    ----------
    X : as in `KMeans.fit`
    n_clusters : iterable of int
    sample_weight, client : as in `KMeans.fit`
    **params : the other parameters of `KMeans`, such as ``n_init=4, random_state=0``

    Returns
    -------
    KMeansSweep

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `KMeans.fit`; and for initial centres, which suit one number of clusters only.
    """
    if isinstance(n_clusters, int):
        raise ConfigError(
            f"n_clusters = {n_clusters}: must be several numbers, such as range(2, 21); for one "
            "number use KMeans"
        )
    counts = sorted(set(n_clusters))
    if not counts:
        raise ConfigError("n_clusters is empty: must be numbers of clusters, such as range(2, 21)")
    if not isinstance(params.get("init", ""), str):
        raise ConfigError(
            "init gives centres, which suit one n_clusters only; leave it out, or use KMeans"
        )
    one_seed = KMeans(random_state=params.pop("random_state", None))._params().random_state
    started = time.perf_counter()
    models = {k: KMeans(k, random_state=one_seed, **params) for k in counts}
    seconds = fit_all(list(models.values()), X, sample_weight, client)
    spent = dict(zip(counts, seconds, strict=True))
    return KMeansSweep(models, spent, time.perf_counter() - started)
