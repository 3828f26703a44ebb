"""Fitting estimators together: what `KMeans.fit` and `kmeans_sweep` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from gpuseg.backends import registry
from gpuseg.estimators._inputs import dask as lazily
from gpuseg.estimators._inputs.arrays import as_weights
from gpuseg.estimators._inputs.gpu import beside
from gpuseg.sharding.shard import Shard

if TYPE_CHECKING:
    from gpuseg.estimators.kmeans import KMeans


def fit_all(
    estimators: Sequence[KMeans], X: Any, sample_weight: ArrayLike | None, client: Any
) -> list[float]:
    """Fit estimators that differ in n_clusters alone, sharing every pass over X.

    Returns
    -------
    list of float
        Seconds that the iterations of each took, on all threads together.
    """
    first = estimators[0]
    models = [own._params() for own in estimators]
    choice = registry.choose_backend(first.backend)
    if lazily.is_collection(X):
        fits = lazily.fit(estimators, models, X, sample_weight, client, choice.name)
        labels: list[Any] = []
    else:
        x = first._matrix(X, reset=True)
        for own in models:
            own.check_init(x.shape[1])
        shard = Shard(x, as_weights(sample_weight, len(x)))
        fits = first._fit_shard(shard, models)
        labels = shard.labels_by_model
    for i, (own, fit) in enumerate(zip(estimators, fits, strict=True)):
        own._take(fit)
        own.n_features_in_ = first.n_features_in_
        if hasattr(first, "feature_names_in_"):
            own.feature_names_in_ = first.feature_names_in_
        own.backend_, own.backend_why_ = choice.name, choice.why
        own.labels_ = beside(X, labels[i]) if labels else own.predict(X)
    return [fit.seconds for fit in fits]
