"""scikit-learn's MiniBatchKMeans as k-means on all rows, if the caller asked for that."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np
from scipy.sparse import issparse

from gpuseg.accel.log import log_left
from gpuseg.accel.settings import current_settings

_TOL = 1e-4
"""In place of MiniBatchKMeans' 0, with which k-means would go on until no label changes."""


_RANDOM_RUNS = 3
"""Runs from random centers or those of a function, as MiniBatchKMeans makes them."""


def replace_mini_batch_fit(original: Callable[..., Any], module: ModuleType) -> Callable[..., Any]:
    """Return `MiniBatchKMeans.fit`."""

    @wraps(original)
    def replaced(self: Any, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        if not current_settings().mini_batch or issparse(X) or self.verbose:
            log_left("MiniBatchKMeans", "mini_batch is off, X is sparse, or it is verbose")
            return original(self, X, y, sample_weight)
        self._validate_params()
        _fit_on_all_rows(module, self, X, sample_weight)
        return self

    return replaced


def _fit_on_all_rows(module: ModuleType, estimator: Any, X: Any, sample_weight: Any) -> None:
    """Fit k-means, and set the attributes of MiniBatchKMeans."""
    kmeans = module.KMeans(
        estimator.n_clusters,
        init=estimator.init,
        n_init=_n_init(estimator),
        max_iter=estimator.max_iter,
        tol=estimator.tol or _TOL,
        random_state=estimator.random_state,
    )
    kmeans.fit(X, sample_weight=sample_weight)
    names = ["cluster_centers_", "inertia_", "n_iter_", "_n_features_out", "_n_threads"]
    names += ["n_features_in_", "feature_names_in_"] + ["labels_"] * bool(estimator.compute_labels)
    for name in names:
        if hasattr(kmeans, name):
            setattr(estimator, name, getattr(kmeans, name))
    weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)
    counts = np.bincount(kmeans.labels_, weight, minlength=estimator.n_clusters)
    estimator._counts = counts.astype(kmeans.cluster_centers_.dtype)
    estimator._n_since_last_reassign = 0
    estimator._batch_size = min(estimator.batch_size, len(kmeans.labels_))
    estimator.n_steps_ = kmeans.n_iter_ * -(-len(kmeans.labels_) // estimator._batch_size)


def _n_init(estimator: Any) -> Any:
    """Return the number of runs, which "auto" makes fewer than for KMeans."""
    if estimator.n_init != "auto":
        return estimator.n_init
    init = estimator.init
    is_random = callable(init) or (isinstance(init, str) and init == "random")
    return _RANDOM_RUNS if is_random else 1
