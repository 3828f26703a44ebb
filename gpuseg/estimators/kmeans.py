"""The public k-means estimator: parameters, validation, fitted attributes."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from gpuseg.algorithms.kmeans.fit import KMeansFit, sweep_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.algorithms.kmeans.partial_fit import WeightedCenters, partial_fit_kmeans
from gpuseg.backends import registry
from gpuseg.backends.base import Centers
from gpuseg.errors import DataError
from gpuseg.estimators._inputs import dask as lazily
from gpuseg.estimators._inputs.arrays import (
    as_matrix,
    as_weights,
    checked_threads,
    plain,
    refuse_not_finite,
    unit_rows,
)
from gpuseg.estimators._inputs.gpu import beside, gpu_matrix, is_on_gpu, on_host
from gpuseg.estimators._placing import fit_all
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.sharding.shard import Shard
from gpuseg.validation import validated

if TYPE_CHECKING:
    from typing import Self


class KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Split rows into k segments by exact Lloyd iteration.

    The result is the same, bit for bit, for every backend and number of threads.

    Parameters
    ----------
    n_clusters : int >= 1, default 8
    init : {"k-means++", "random"} or array (n_clusters, n_features), default "k-means++"
    n_init : "auto" or int >= 1, default "auto"
        Runs on the whole data, each from its own seeding; the one with the least inertia is
        kept. "auto" is ten runs for "random"; for "k-means++", one run from the best of ten
        seedings on a sample. Given centres make one run.
    max_iter : int >= 1, default 300
    tol : float >= 0, default 1e-4
        Stop when Σ|Δcentre|² <= tol × mean feature variance.
    random_state : int, numpy.random.RandomState or None, default None
        None draws a fresh seed for each fit.
    metric : {"euclidean", "cosine"}, default "euclidean"
        With "cosine", rows and centres are scaled to length one (spherical k-means); distances
        and inertia are those on the unit sphere.
    backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
        There is no fallback: a backend that cannot run here is an error.
    n_threads : int or None, default None
        None uses every processor this process may use.

    Attributes
    ----------
    cluster_centers_ : float64 (n_clusters, n_features), in the units of X
    labels_ : int32 (n_samples,), always equal to ``predict(X)``; ties go to the lowest index.
        After fitting a Dask collection, a lazy Dask array; on the GPU where X is there
    inertia_ : float, Σ w·|x - centre|², summed exactly in float64
    n_iter_ : int
    n_steps_ : int, batches that `partial_fit` has taken since the last `fit`
    n_features_in_ : int
    feature_names_in_ : str (n_features,), where X has string column names
    backend_ : str, the backend used; `backend_why_` says why

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982);
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """

    _centers: Centers
    _weight: NDArray[np.float64]
    n_steps_: int

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        metric: str = "euclidean",
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
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
            Read as float32; a C-order float32 array without a copy, also one on a GPU (CuPy,
            cuDF, torch, …). Dask arrays and frames stay on the workers.
        y : ignored, for scikit-learn's sake
        sample_weight : array-like (n_samples,), finite, >= 0, default None (ones)
        client : distributed.Client or None
            For Dask collections; None means the current one.

        Raises
        ------
        ConfigError
            For a parameter outside its rule; a ValueError.
        DataError
            For fewer rows than clusters, columns that are not numbers and unusable weights; a
            ValueError.
        ResourceError
            For a backend that cannot run here, and a Dask collection without a client.
        """
        fit_all([self], X, sample_weight, client)
        return self

    def partial_fit(
        self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Take one more batch of a stream into the centres.

        Each centre stays the mean of all rows that were ever given to it: rows are assigned to
        the centres as they are, then the centres move (MacQueen, "Some methods for
        classification and analysis of multivariate observations", 1967, batch by batch). The
        first batch seeds, and must have at least n_clusters rows; after `fit`, the batches go on
        from there. `labels_` and `inertia_` are those of the last batch.

        Parameters and errors are those of `fit`; Dask collections are not streams.
        """
        if lazily.is_collection(X):
            raise DataError(
                "partial_fit takes one batch in memory, and X is a Dask collection: use fit, or "
                "give its parts one by one"
            )
        params = self._params()
        choice = registry.choose_backend(self.backend)
        begun = hasattr(self, "cluster_centers_")
        x = self._matrix(X, reset=not begun)
        params.check_init(x.shape[1])
        batch = Shard(x, as_weights(sample_weight, len(x)))
        before = WeightedCenters(self._centers, self._weight) if begun else None
        moved = partial_fit_kmeans(self._placed(batch), params, choice.name, before)
        self._centers, self._weight, self.inertia_ = moved.centers, moved.weight, moved.inertia
        self.cluster_centers_, self.labels_ = moved.centers.values, beside(X, batch.labels)
        self.n_steps_ = self.n_steps_ + 1 if begun else 1
        self.backend_, self.backend_why_ = choice.name, choice.why
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the nearest centre of each row, int32 (n_samples,); lazy for Dask collections."""
        check_is_fitted(self)
        if lazily.is_collection(X):
            lazy: NDArray[np.int32] = lazily.map_partitions(
                X, lazily.light(self).predict, np.int32, None
            )
            return lazy
        backend = registry.get(self.backend_)
        packed = backend.pack(self._centers)
        blocks = self._map_blocks(X, lambda block: backend.nearest(block.x, packed)[0])
        return np.concatenate(blocks)

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the distance of each row to each centre, float64 (n_samples, n_clusters)."""
        check_is_fitted(self)
        if lazily.is_collection(X):
            light = lazily.light(self)
            lazy: NDArray[np.float64] = lazily.map_partitions(
                X, light.transform, np.float64, self._n_features_out
            )
            return lazy
        backend = registry.get(self.backend_)
        centers = self.cluster_centers_
        squares = self._map_blocks(
            X, lambda block: backend.squared_distances(block.x, centers), len(centers)
        )
        distances: NDArray[np.float64] = np.sqrt(np.concatenate(squares))
        return distances

    def score(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return minus Σ w·|x - nearest centre|², by plain summation."""
        check_is_fitted(self)
        if lazily.is_collection(X):
            squares = lazily.map_partitions(X, lazily.light(self)._squares, np.float64, None)
            weighed = squares if sample_weight is None else squares * sample_weight
            return -float(weighed.sum().compute())
        squares = on_host(self._squares(X))
        weight = as_weights(sample_weight, len(squares))
        return -float(squares.sum() if weight is None else weight @ squares)

    def _squares(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the squared distance of each row to its nearest centre, float64 (n_samples,)."""
        backend = registry.get(self.backend_)
        packed = backend.pack(self._centers)
        return np.concatenate(
            self._map_blocks(X, lambda block: backend.nearest(block.x, packed)[1])
        )

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[0])

    def _map_blocks(self, X: ArrayLike, function: Any, n_found: int = 0) -> list[Any]:
        """Call `function` on blocks of rows; from each row come `n_found` distances, or one."""
        x = self._matrix(X, reset=False)
        refuse_not_finite(x, self.metric)
        rows = registry.get(self.backend_).block_rows(x.shape[1] + 2 * n_found)
        shard = Shard(x, rows_per_block=rows)
        return list(shard.map_blocks(LocalExecutor(self.n_threads).context, function))

    def _matrix(self, X: Any, reset: bool) -> Any:
        """Return X as float32 rows; for the cosine as ones of length one."""
        backend = registry.choose_backend(self.backend).name
        x = gpu_matrix(X, self, backend, reset) if is_on_gpu(X) else as_matrix(X, self, reset)
        if self.metric != "cosine":
            return x
        return unit_rows(x, backend, LocalExecutor(self.n_threads).context)

    def _placed(self, shard: Shard) -> LocalExecutor:
        executor = LocalExecutor(self.n_threads)
        executor.load(lambda own, env: own, [shard])
        return executor

    def _fit_shard(self, shard: Shard, models: Sequence[KMeansParams]) -> list[KMeansFit]:
        spare = psutil.virtual_memory().available // 4
        backend = registry.choose_backend(self.backend).name
        return sweep_kmeans(self._placed(shard), models, backend, spare_bytes=spare, keep_all=True)

    def _take(self, fit: KMeansFit) -> None:
        """Set the fitted attributes."""
        if fit.n_distinct < self.n_clusters:
            warnings.warn(
                f"n_clusters = {self.n_clusters}, but X has only {fit.n_distinct} distinct rows; "
                f"the other clusters are empty. Use n_clusters <= {fit.n_distinct}",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.cluster_centers_ = fit.centers.values
        self._centers, self._weight = fit.centers, fit.weight
        self.inertia_, self.n_iter_ = fit.inertia, fit.n_iter
        self.n_steps_ = 0

    def _params(self) -> KMeansParams:
        values = {name: getattr(self, name) for name in KMeansParams.model_fields}
        values["random_state"] = _seed(self.random_state)
        if not isinstance(self.init, str):
            values["init"] = np.asarray(self.init, dtype=np.float64).tolist()
        checked_threads(self.n_threads)
        return validated(KMeansParams, {k: plain(v) for k, v in values.items()})


def _seed(random_state: Any) -> Any:
    if random_state is None:
        return secrets.randbits(62)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return random_state
