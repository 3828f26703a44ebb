"""The public k-means estimator, and fits that share their passes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
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
from gpuseg.algorithms.kmeans.nearest_center import NearestCenter
from gpuseg.algorithms.kmeans.partial_fit import WeightedCenters, partial_fit_kmeans
from gpuseg.backends import registry
from gpuseg.backends.types import Centers
from gpuseg.errors import ConfigError
from gpuseg.estimators._initial_centers import first_start, rows_for_init, starts_from
from gpuseg.estimators._inputs.arrays import refuse_not_finite
from gpuseg.estimators._inputs.load import load_batch, load_rows, map_rows, weighted_sum
from gpuseg.estimators._inputs.row_format import KMeansRows
from gpuseg.estimators._params import kmeans_params
from gpuseg.estimators._replaced_centers import (
    checked_centers,
    in_units_of_x,
    present_centers,
)
from gpuseg.estimators._unknown_params import refuses_unknown
from gpuseg.estimators._verbose import print_batch, print_iteration, print_result
from gpuseg.estimators._warnings import warn_caller
from gpuseg.formatting import count
from gpuseg.runtime.executor import LocalExecutor, TaskContext
from gpuseg.sharding.shard import Shard

if TYPE_CHECKING:
    from typing import Self

    from gpuseg.algorithms.kmeans.params import KMeansParams
    from gpuseg.estimators._inputs.loaded_rows import LoadedRows


class KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Split rows into k segments by exact Lloyd iteration.

    The result has the same bits for every backend and any number of threads.

    Parameters
    ----------
    n_clusters : int >= 1, default 8
    init : {"k-means++", "random"}, array (n_clusters, n_features) or callable
        By default "k-means++". A callable is called for each run, as
        ``init(X, n_clusters, random_state=RandomState)``, and returns centers in the units of X.
        It gets rows in main memory as a matrix of float32 or float64, and a Dask collection or an
        array on a GPU as it is.
    n_init : "auto" or int >= 1, default "auto"
        Number of runs on the whole data, each from its own seeding; the run with the least
        inertia is kept. "auto" is ten runs for "random" and for a callable; for "k-means++", one
        run from the best of ten seedings on a sample, or of fewer for more than 128 clusters.
        Initial centers (`init` is an array) mean one run, and a larger number gives a warning.
    max_iter : int >= 1, default 300
    tol : float >= 0, default 1e-4
        Stop when Σ|Δcenter|² <= tol × mean feature variance.
    verbose : int >= 0 or bool, default 0
        Whether each iteration and each batch of `partial_fit` prints a line with its inertia. Of
        several runs, the lines are about the first one that still moves.
    random_state : int, numpy.random.RandomState or None, default None
        None draws a new seed for each fit, and a RandomState gives the next one that it draws.
    copy_x : bool, default True
        As in scikit-learn, whether X must stay as it is. gpuseg never changes X, so that both
        values give the same.
    algorithm : {"lloyd", "elkan"}, default "lloyd"
        As in scikit-learn, which bounds save distances. gpuseg chooses its own bounds by the data,
        and both values give the same centers.
    metric : {"euclidean", "cosine"}, default "euclidean"
        With "cosine", rows and centers are scaled to length one (spherical k-means); distances
        and inertia are measured on the unit sphere.
    backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
        A backend that cannot run here is an error; there is no fallback.
    n_threads : int or None, default None
        None uses every processor this process may use.

    Attributes
    ----------
    cluster_centers_ : float64 (n_clusters, n_features), in the units of X
        Other centers may be set, or written into it: `predict`, `transform`, `score` and
        `partial_fit` use them. The other attributes stay those of the fit.
    labels_ : int32 (n_samples,), equal to ``predict(X)`` as long as no other centers are set;
        ties go to the lowest index. A lazy Dask array if X is a Dask collection; on the GPU if X
        is on the GPU
    inertia_ : float, Σ w·|x - center|², summed exactly in float64
    n_iter_ : int
    n_steps_ : int, number of `partial_fit` batches since the last `fit`
    n_features_in_ : int
    feature_names_in_ : str (n_features,), if X has string column names
    backend_ : str, the backend used; `backend_reason_` is the reason

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982);
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import gpuseg
    >>> X = [[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]]
    >>> model = gpuseg.KMeans(n_clusters=2, random_state=0).fit(X)
    >>> bool(model.labels_[0] == model.labels_[1]), bool(model.labels_[0] == model.labels_[2])
    (True, False)
    >>> model.inertia_
    1.0
    >>> bool(model.predict([[8.0, 8.0]])[0] == model.labels_[2])
    True
    """

    _centers: Centers
    _cluster_centers: NDArray[np.float64]
    _origin: NDArray[np.float64] | None = None
    _weight: NDArray[np.float64]
    n_steps_: int

    @refuses_unknown
    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int | bool = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        metric: str = "euclidean",
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
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
            Read as float32; a C-order float32 array is not copied, also one on a GPU (CuPy,
            cuDF, torch, …). The rows of Dask arrays and frames stay on the workers.
        y : ignored, for compatibility with scikit-learn
        sample_weight : array-like (n_samples,), finite, >= 0, default None (ones)
        client : distributed.Client or None
            For Dask collections; None means the current one.

        Returns
        -------
        KMeans
            The estimator itself.

        Raises
        ------
        ConfigError
            For a parameter outside its rule; a ValueError.
        DataError
            For fewer rows than clusters, columns that are not numbers and invalid weights; a
            ValueError.
        ResourceError
            For a backend that cannot run here, and a Dask collection without a client.
        """
        fit_together([self], X, sample_weight, client)
        return self

    def partial_fit(
        self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Update the centers with one batch of a stream.

        Each center stays the mean of all rows that were ever assigned to it: the rows are assigned
        to the present centers, then the centers move (MacQueen, "Some methods for classification
        and analysis of multivariate observations", 1967, batch by batch). The first batch seeds,
        and needs at least n_clusters rows; after `fit`, batches continue from its centers.
        `labels_` and `inertia_` are those of the last batch.

        Parameters and errors are those of `fit`; Dask collections are refused.

        Examples
        --------
        >>> import gpuseg
        >>> model = gpuseg.KMeans(n_clusters=2, random_state=0)
        >>> for batch in ([[0.0], [1.0], [10.0], [11.0]], [[3.5], [12.0]]):
        ...     model = model.partial_fit(batch)
        >>> sorted(model.cluster_centers_.ravel().tolist())
        [1.5, 11.0]
        """
        params = kmeans_params(self.get_params())
        choice = registry.choose_backend(self.backend)
        is_first = not hasattr(self, "cluster_centers_")
        origin = None if is_first else self._origin
        row_format = KMeansRows(choice.name, self.metric, self.n_threads, origin)
        with load_batch(self, X, sample_weight, row_format, self.n_threads, is_first) as rows:
            if is_first and callable(self.init):
                starts = _starts(self, params, rows)
                params = first_start(params, starts[:1])
            else:
                params.check_init(self.n_features_in_)
                params = params.with_origin(rows.origin)
            before = None if is_first else self._centers_to_continue()
            result = partial_fit_kmeans(rows.executor, params, choice.name, before)
            labels = rows.labels(0, self.predict)
        self._origin = rows.origin
        self._set_centers(result.centers, result.weight)
        self.inertia_, self.labels_ = result.inertia, labels
        self.n_steps_ = 1 if is_first else self.n_steps_ + 1
        if self.verbose:
            print_batch(self.n_steps_, self.inertia_)
        self.backend_, self.backend_reason_ = choice.name, choice.reason
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the nearest center of each row, int32 (n_samples,); lazy for Dask collections.

        Parameters
        ----------
        X : as in `fit`

        Raises
        ------
        DataError
            For columns that are not numbers, and values that are missing or infinite.
        """
        check_is_fitted(self)
        fitted = self._with_present_centers()
        labels: NDArray[np.int32] = map_rows(KMeans._labels, fitted, X, np.int32)
        return labels

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the distance of each row to each center, float64 (n_samples, n_clusters).

        Parameters and errors are those of `predict`; the result is lazy for Dask collections.
        """
        check_is_fitted(self)
        fitted = self._with_present_centers()
        distances: NDArray[np.float64] = map_rows(
            KMeans._distances, fitted, X, np.float64, self._n_features_out
        )
        return distances

    def score(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return minus Σ w·|x - nearest center|², by plain summation.

        Parameters and errors are those of `fit`.
        """
        check_is_fitted(self)
        fitted = self._with_present_centers()
        squares = map_rows(KMeans._squared_distances, fitted, X, np.float64)
        return -weighted_sum(squares, sample_weight)

    @property
    def cluster_centers_(self) -> NDArray[np.float64]:
        """Centers in the units of X, float64 (n_clusters, n_features)."""
        return self._cluster_centers

    @cluster_centers_.setter
    def cluster_centers_(self, centers: ArrayLike) -> None:
        if not hasattr(self, "_cluster_centers"):
            raise ConfigError(
                "cluster_centers.not_fitted",
                "cannot be set on an estimator that is not fitted",
                hint="call `fit` first, or pass the centers as `init`",
                parameter="cluster_centers_",
            )
        self._cluster_centers = checked_centers(centers, self._centers.values.shape[1])

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[0])

    def _labels(self, X: Any) -> Any:
        nearest = NearestCenter(self._centers, self.backend_)
        return nearest.labels(self._finite_rows(X), self._context())

    def _squared_distances(self, X: Any) -> Any:
        nearest = NearestCenter(self._centers, self.backend_)
        return nearest.squared_distances(self._finite_rows(X), self._context())

    def _distances(self, X: Any) -> Any:
        x, centers = self._finite_rows(X), self._centers.values
        backend = registry.get(self.backend_)
        rows_per_block = backend.block_rows(x.shape[1] + 2 * len(centers))
        blocks = Shard(x, rows_per_block=rows_per_block).map_blocks(
            self._context(), lambda block: backend.squared_distances(block.x, centers)
        )
        return np.sqrt(np.concatenate(list(blocks)))

    def _finite_rows(self, X: Any) -> Any:
        """Return X as rows that have a nearest center."""
        row_format = KMeansRows(self.backend_, self.metric, self.n_threads, self._origin)
        x = row_format.read(X, self, reset=False)
        refuse_not_finite(x, self.metric)
        return x

    def _context(self) -> TaskContext:
        return LocalExecutor(self.n_threads).context

    def _set_centers(self, centers: Centers, weight: NDArray[np.float64]) -> None:
        self._centers, self._weight = centers, weight
        self._cluster_centers = in_units_of_x(centers, self._origin)

    def _present_centers(self) -> Centers:
        return present_centers(self._centers, self._cluster_centers, self._origin, self.metric)

    def _with_present_centers(self) -> KMeans:
        """Return the estimator for one call; a lazy result keeps the centers of now."""
        centers = self._present_centers()
        if centers is self._centers:
            return self
        fitted = copy(self)
        fitted._centers = centers
        return fitted

    def _centers_to_continue(self) -> WeightedCenters:
        """Return the centers that a further batch of `partial_fit` moves, and their weights."""
        centers = self._present_centers()
        if centers.k != len(self._weight):
            raise ConfigError(
                "cluster_centers.wrong_count",
                f"has {count(centers.k, 'center')}",
                rule=f"must have {len(self._weight)}, as before, for `partial_fit`",
                parameter="cluster_centers_",
            )
        return WeightedCenters(centers, self._weight)

    def _set_fit(self, fit: KMeansFit) -> None:
        if fit.n_distinct < self.n_clusters:
            warn_caller(
                f"n_clusters = {self.n_clusters}, but X has only "
                f"{count(fit.n_distinct, 'distinct row')}; the other clusters are empty. "
                f"Use n_clusters <= {fit.n_distinct}",
                ConvergenceWarning,
            )
        self._set_centers(fit.centers, fit.weight)
        self.inertia_, self.n_iter_, self.n_steps_ = fit.inertia, fit.n_iter, 0


def fit_together(
    estimators: Sequence[KMeans], X: Any, sample_weight: Any = None, client: Any = None
) -> list[float]:
    """Fit estimators that differ only in n_clusters; every pass over X serves all of them.

    Parameters
    ----------
    X, sample_weight, client : as in `KMeans.fit`

    Returns
    -------
    list of float
        Seconds that the iterations of each estimator took, on all threads together.
    """
    first = estimators[0]
    params = [kmeans_params(estimator.get_params()) for estimator in estimators]
    choice = registry.choose_backend(first.backend)
    row_format = KMeansRows(choice.name, first.metric, first.n_threads)
    with load_rows(first, X, sample_weight, row_format, first.n_threads, client) as rows:
        for one in params:
            one.check_init(first.n_features_in_)
        starts = [_starts(first, one, rows) for one in params] if callable(first.init) else None
        fits = sweep_kmeans(
            rows.executor,
            [one.with_origin(rows.origin) for one in params],
            choice.name,
            print_iteration if first.verbose else None,
            spare_bytes=rows.spare_bytes,
            keep_all=rows.keeps_labels,
            starts=starts,
        )
    for i, (estimator, fit) in enumerate(zip(estimators, fits, strict=True)):
        estimator._origin = rows.origin
        estimator._set_fit(fit)
        estimator.n_features_in_ = first.n_features_in_
        if hasattr(first, "feature_names_in_"):
            estimator.feature_names_in_ = first.feature_names_in_
        estimator.backend_, estimator.backend_reason_ = choice.name, choice.reason
        estimator.labels_ = rows.labels(i, estimator.predict)
    if first.verbose:
        for estimator in estimators:
            print_result(estimator.n_clusters, estimator.n_iter_, estimator.inertia_)
    return [fit.seconds for fit in fits]


def _starts(estimator: KMeans, params: KMeansParams, rows: LoadedRows) -> list[NDArray[np.float64]]:
    """Return the centers that the estimator's function makes for each of its runs."""
    X = rows_for_init(rows.X, estimator)
    return starts_from(estimator.init, X, params, estimator.n_features_in_, rows.origin)
