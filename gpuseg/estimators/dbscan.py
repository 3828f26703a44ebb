"""The public DBSCAN estimator: parameters, validation, fitted attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from gpuseg.algorithms.dbscan.collect_labels import labels_of
from gpuseg.algorithms.dbscan.core_samples import CoreSamples
from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.partition import rows_of
from gpuseg.backends import registry
from gpuseg.estimators._inputs.gpu import to_device_of
from gpuseg.estimators._inputs.load import load_rows, map_rows
from gpuseg.estimators._inputs.row_format import DBSCANRows
from gpuseg.estimators._params import dbscan_params
from gpuseg.estimators._sklearn_params import n_threads_of
from gpuseg.estimators._unknown_params import refuses_unknown
from gpuseg.runtime.executor import LocalExecutor, TaskContext
from gpuseg.runtime.retry import retry_if_lost
from gpuseg.sharding.shard import Shard

if TYPE_CHECKING:
    from typing import Self


class DBSCAN(ClusterMixin, BaseEstimator):
    """Find clusters of any shape, and noise: rows that belong to no cluster.

    The result is exact. Memory grows with the number of rows, not of neighbors. Labels are
    scikit-learn's, and the same for every backend and any number of threads and workers.

    Parameters
    ----------
    eps : float > 0, default 0.5
        Rows no farther apart than this are neighbors.
    min_samples : int >= 1, default 5
        A row is core if the weights of its neighbors, itself included, sum to at least this.
    metric : str, default "euclidean"
        "euclidean", "manhattan", "chebyshev", "cosine", "haversine" or "minkowski". "chebyshev" is
        the largest difference of a feature; "cosine" is 1 - cos; "haversine" is the angle, in
        radians, between two places on a sphere, for X of two columns: latitude and longitude in
        radians. "l2" is "euclidean", "l1" and "cityblock" are "manhattan", and "infinity" is
        "chebyshev". "minkowski" is one of these three, by `p`.
    metric_params : dict or None, default None
        May have the key "p", in place of `p`.
    algorithm : {"auto", "ball_tree", "kd_tree", "brute"}, default "auto"
        As in scikit-learn, how neighbors are searched. gpuseg chooses its own index by the data,
        and all values give the same.
    leaf_size : int >= 1, default 30
        As in scikit-learn, the size of the leaves of a tree; it does not change the result, nor
        the index of gpuseg.
    p : float or None, default None
        The power of "minkowski": 1 is "manhattan", 2 or None is "euclidean", and infinity is
        "chebyshev".
    n_jobs : int or None, default None
        Another name of `n_threads`, where -1 is all processors, -2 all but one, and so on. Unlike
        in scikit-learn, None is all processors.
    backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
        A backend that cannot run here is an error; there is no fallback.
    n_threads : int or None, default None
        None uses every processor this process may use.

    Attributes
    ----------
    labels_ : int32 (n_samples,), -1 for noise
        Clusters are numbered by their lowest core row. A border row is not core but within eps
        of core rows; it belongs to the lowest-numbered of their clusters.
    core_sample_indices_ : int64 (n_core,), increasing
    components_ : float (n_core, n_features), the core rows
    n_clusters_ : int
    noise_share_ : float, noise as a share of all rows
    n_features_in_ : int
    feature_names_in_ : str (n_features,), if X has string column names
    backend_ : str, the backend used; `backend_reason_` is the reason

    References
    ----------
    Ester, Kriegel, Sander and Xu, "A density-based algorithm for discovering clusters in large
    spatial databases with noise", KDD 1996.

    Examples
    --------
    >>> import gpuseg
    >>> X = [[0.0], [1.0], [2.0], [10.0], [11.0], [12.0], [50.0]]
    >>> model = gpuseg.DBSCAN(eps=1.5, min_samples=2).fit(X)
    >>> model.labels_.tolist()
    [0, 0, 0, 1, 1, 1, -1]
    >>> model.n_clusters_
    2
    >>> model.predict([[2.5], [30.0]]).tolist()
    [0, -1]
    """

    @refuses_unknown
    def __init__(
        self,
        eps: float = 0.5,
        *,
        min_samples: int = 5,
        metric: str = "euclidean",
        metric_params: dict[str, Any] | None = None,
        algorithm: str = "auto",
        leaf_size: int = 30,
        p: float | None = None,
        n_jobs: int | None = None,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.eps = eps
        self.min_samples = min_samples
        self.metric = metric
        self.metric_params = metric_params
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.p = p
        self.n_jobs = n_jobs
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
            float32 and float64 keep their type, other numbers become float64. Rows on a GPU are
            copied to the host as float32, where they are laid out in tiles. The rows of Dask
            collections stay on the workers; labels and core rows come to the caller.
        y : ignored, for compatibility with scikit-learn
        sample_weight : array-like (n_samples,), finite, >= 0, default None (ones)
            Whole numbers are exact; others are rounded to 40 fractional bits.
        client : distributed.Client or None
            For Dask collections; None means the current one.

        Returns
        -------
        DBSCAN
            The estimator itself.

        Raises
        ------
        ConfigError
            For a parameter outside its rule; a ValueError.
        DataError
            For columns that are not numbers, values that are missing or infinite, rows
            outside the metric's domain and invalid weights; a ValueError.
        ResourceError
            For a backend that cannot run here, and a Dask collection without a client.
        """
        params = dbscan_params(self.get_params())
        choice = registry.choose_backend(self.backend)
        n_threads = n_threads_of(self.n_threads, self.n_jobs)
        with load_rows(self, X, sample_weight, DBSCANRows(), n_threads, client) as rows:
            executor = rows.executor
            fit, shards = retry_if_lost(
                lambda: (
                    fit_dbscan(executor, params, choice.name, distances=False),
                    executor.map(_labels_and_core_rows),
                )
            )
            labels, core, core_rows = (_joined(arrays) for arrays in zip(*shards, strict=True))
            self.labels_ = rows.like(labels)
        self.core_sample_indices_ = np.flatnonzero(core)
        self.components_ = core_rows
        self._core_rows = CoreSamples(core_rows, labels[core], params)
        self.n_clusters_, self.noise_share_ = fit.n_clusters, fit.n_noise / fit.n_rows
        self.backend_, self.backend_reason_ = choice.name, choice.reason
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the cluster of the nearest core row within eps, or -1; int32 (n_samples,).

        Border rows between clusters may get another label than in `labels_`, where the lowest
        cluster decides. Lazy for Dask collections. The first call lays out the core rows for all
        later ones.

        Parameters
        ----------
        X : as in `fit`

        Raises
        ------
        DataError
            As `fit`.
        """
        check_is_fitted(self)
        labels: NDArray[np.int32] = map_rows(DBSCAN._labels, self, X, np.int32)
        return labels

    def _labels(self, X: Any) -> Any:
        n_threads = n_threads_of(self.n_threads, self.n_jobs)
        x = DBSCANRows().read(X, self, reset=False)
        context = LocalExecutor(n_threads).context
        return to_device_of(X, self._core_rows.assign(x, self.backend_, context)[0])


def _labels_and_core_rows(shard: Shard, context: TaskContext) -> tuple[NDArray[Any], ...]:
    """Return the labels of a shard, which rows are core, and the core rows."""
    x, _ = rows_of(shard)
    labels, core = labels_of(shard)
    return labels, core, x.compress(core, axis=0)  # boolean indexes take ten times as long


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
