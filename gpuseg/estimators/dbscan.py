"""The public DBSCAN estimator: parameters, validation, fitted attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from gpuseg.algorithms.dbscan.collect_labels import labels_of
from gpuseg.algorithms.dbscan.core_samples import CoreSamples
from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.dbscan.result import DBSCANFit
from gpuseg.backends import registry
from gpuseg.estimators._inputs import dask as lazily
from gpuseg.estimators._inputs.arrays import (
    as_matrix,
    as_weights,
    checked_threads,
    plain,
    refuse_not_finite,
)
from gpuseg.estimators._inputs.gpu import beside, gpu_matrix, is_on_gpu
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.runtime.retry import retry_if_lost
from gpuseg.sharding.shard import Shard
from gpuseg.validation import validated

if TYPE_CHECKING:
    from typing import Self


class DBSCAN(ClusterMixin, BaseEstimator):
    """Find clusters of any shape, and the rows that belong to none, exactly.

    Memory grows with the number of rows, not of neighbours, and labels are scikit-learn's: the
    same for every backend, number of threads and of workers.

    Parameters
    ----------
    eps : float > 0, default 0.5
        Rows no farther apart than this are neighbours.
    min_samples : int >= 1, default 5
        A row is core when its neighbours, itself included, weigh so much together.
    metric : {"euclidean", "manhattan", "cosine", "haversine"}, default "euclidean"
        "cosine" is 1 - cos; "haversine" is the angle, in radians, between two places on a
        sphere, for X of two columns, latitude and longitude in radians.
    backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
        There is no fallback: a backend that cannot run here is an error.
    n_threads : int or None, default None
        None uses every processor this process may use.

    Attributes
    ----------
    labels_ : int32 (n_samples,), -1 for noise
        Clusters are numbered by their lowest core row; a border, a row within eps of core rows
        that is not core itself, belongs to the lowest-numbered of their clusters.
    core_sample_indices_ : int64 (n_core,), rising
    components_ : float (n_core, n_features), the core rows
    n_clusters_ : int
    noise_share_ : float, noise as a share of all rows
    n_features_in_ : int
    feature_names_in_ : str (n_features,), where X has string column names
    backend_ : str, the backend used; `backend_why_` says why

    References
    ----------
    Ester, Kriegel, Sander and Xu, "A density-based algorithm for discovering clusters in large
    spatial databases with noise", KDD 1996.
    """

    def __init__(
        self,
        eps: float = 0.5,
        *,
        min_samples: int = 5,
        metric: str = "euclidean",
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.eps = eps
        self.min_samples = min_samples
        self.metric = metric
        self.backend = backend
        self.n_threads = n_threads

    def fit(
        self,
        X: ArrayLike,
        y: None = None,
        sample_weight: ArrayLike | None = None,
        *,
        client: Any = None,
    ) -> Self:
        """Fit to X.

        Parameters
        ----------
        X : array-like (n_samples, n_features), frame, Arrow table or Dask collection
            float32 and float64 are taken as they are, other numbers as float64; rows on a GPU
            are copied to the host as float32, where their tiles are laid out. Rows of Dask
            collections stay on the workers; labels and core rows come to the caller.
        y : ignored, for scikit-learn's sake
        sample_weight : array-like (n_samples,), finite, >= 0, default None (ones)
            Whole numbers are exact; others are rounded to 40 bits behind the point.
        client : distributed.Client or None
            For Dask collections; None means the current one.

        Raises
        ------
        ConfigError
            For a parameter outside its rule; a ValueError.
        DataError
            For columns that are not numbers, values that are missing or infinite, rows that the
            metric does not take and unusable weights; a ValueError.
        ResourceError
            For a backend that cannot run here, and a Dask collection without a client.
        """
        params, choice = self._params(), registry.choose_backend(self.backend)
        if lazily.is_collection(X):
            with lazily.shards_of(self, X, sample_weight, client, choice.name) as executor:
                fit, rows = retry_if_lost(
                    lambda: (
                        fit_dbscan(executor, params, choice.name, distances=False),
                        executor.map(lazily.labelled),
                    )
                )
            parts = [np.concatenate(own) for own in zip(*rows, strict=True)]
            self._take(fit, *parts)
        else:
            x = self._matrix(X, reset=True)
            shard = Shard(x, as_weights(sample_weight, len(x)))
            executor = LocalExecutor(self.n_threads)
            executor.load(lambda own, env: own, [shard])
            fit = fit_dbscan(executor, params, choice.name, distances=False)
            labels, core = labels_of(shard)
            self._take(fit, labels, core, np.compress(core, x, axis=0))
            self.labels_ = beside(X, labels)
        self.backend_, self.backend_why_ = choice.name, choice.why
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the cluster of the nearest core row within eps, or -1; int32 (n_samples,).

        For borders between clusters this may differ from `labels_`, which are by the lowest
        cluster. Lazy for Dask collections. The core rows are laid out at the first call, for all.
        """
        check_is_fitted(self)
        if lazily.is_collection(X):
            lazy: NDArray[np.int32] = lazily.map_partitions(
                X, lazily.light(self).predict, np.int32, None
            )
            return lazy
        checked_threads(self.n_threads)
        x = self._matrix(X, reset=False)
        labels = self._core_rows.assign(x, self.backend_, LocalExecutor(self.n_threads).context)[0]
        found: NDArray[np.int32] = beside(X, labels)
        return found

    def _matrix(self, X: Any, reset: bool) -> Any:
        if is_on_gpu(X):
            X = registry.get("cuda").to_host(gpu_matrix(X, self, "cuda", reset))
        x = as_matrix(X, self, reset, keep_float64=True)
        refuse_not_finite(x, "euclidean")
        return x

    def _take(self, fit: DBSCANFit, labels: Any, core: Any, components: NDArray[Any]) -> None:
        """Set the fitted attributes."""
        self.labels_ = labels
        self.core_sample_indices_ = np.flatnonzero(core)
        self.components_ = components
        self._core_rows = CoreSamples(components, labels[core], self._params())
        self.n_clusters_, self.noise_share_ = fit.n_clusters, fit.n_noise / fit.n_rows

    def _params(self) -> DBSCANParams:
        checked_threads(self.n_threads)
        eps = plain(self.eps)
        values = {
            "eps": float(eps) if isinstance(eps, int) and not isinstance(eps, bool) else eps,
            "min_samples": plain(self.min_samples),
            "metric": self.metric,
        }
        return validated(DBSCANParams, values)
