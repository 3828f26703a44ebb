"""The public k-means estimator: parameters, validation, fitted attributes."""

from __future__ import annotations

import secrets
import warnings
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
from sklearn.utils.validation import check_is_fitted, validate_data

from gpuseg.backends import registry
from gpuseg.engine.kmeans import fit_kmeans
from gpuseg.engine.params import KMeansParams
from gpuseg.engine.shard import Shard
from gpuseg.errors import DataError, JobError
from gpuseg.runtime.executor import InProcess
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
    backend : {"auto", "numpy", "numba"}, default "auto"
        There is no fallback: a backend that cannot run here is an error.
    n_threads : int or None, default None
        None uses every processor this process may use.

    Attributes
    ----------
    cluster_centers_ : float64 (n_clusters, n_features), in the units of X
    labels_ : int32 (n_samples,), always equal to ``predict(X)``; ties go to the lowest index
    inertia_ : float, Σ w·|x - centre|², summed exactly in float64
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : str (n_features,), where X has string column names
    backend_ : str, the backend used; `backend_why_` says why

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982);
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.backend = backend
        self.n_threads = n_threads

    def fit(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to X.

        Parameters
        ----------
        X : array-like (n_samples, n_features); held as float32, C-order
        y : ignored, for scikit-learn's sake
        sample_weight : array-like (n_samples,), finite, >= 0, default None (ones)

        Raises
        ------
        JobError
            For a parameter outside its rule; a ValueError.
        DataError
            For fewer rows than clusters and for unusable weights; a ValueError.
        ResourceError
            For a backend that cannot run here.
        """
        params = self._params()
        choice = registry.choose(self.backend)
        x = validate_data(self, X, dtype=np.float32, order="C")
        params.check_init(x.shape[1])
        shard = Shard(x, _checked_weight(sample_weight, x.shape[0]))
        executor = InProcess(self.n_threads)
        executor.place(lambda own, env: own, [shard])
        fit = fit_kmeans(executor, params, choice.name)
        if fit.n_distinct < params.n_clusters:
            warnings.warn(
                f"n_clusters = {params.n_clusters}, but X has only {fit.n_distinct} distinct rows; "
                f"the other clusters are empty. Use n_clusters <= {fit.n_distinct}",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.cluster_centers_ = fit.centers.values
        self._centers = fit.centers
        self.labels_ = shard.labels
        self.inertia_ = fit.inertia
        self.n_iter_ = fit.n_iter
        self.backend_, self.backend_why_ = choice.name, choice.why
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the nearest centre of each row, int32 (n_samples,)."""
        x = self._checked(X)
        backend = registry.get(self.backend_)
        env = InProcess(self.n_threads).env
        blocks = env.map_blocks(lambda rows: backend.nearest(x[rows], self._centers)[0], len(x))
        return np.concatenate(list(blocks))

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the distance of each row to each centre, float64 (n_samples, n_clusters)."""
        x = self._checked(X)
        backend = registry.get(self.backend_)
        return np.sqrt(backend.squared_distances(x, self.cluster_centers_))

    def score(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return minus Σ w·|x - nearest centre|², by plain summation."""
        x = self._checked(X)
        _, squares = registry.get(self.backend_).nearest(x, self._centers)
        weight = _checked_weight(sample_weight, len(x))
        return -float(squares.sum() if weight is None else weight @ squares)

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[0])

    def _checked(self, X: ArrayLike) -> NDArray[np.float32]:
        check_is_fitted(self)
        x: NDArray[np.float32] = validate_data(self, X, dtype=np.float32, order="C", reset=False)
        return x

    def _params(self) -> KMeansParams:
        values = {name: getattr(self, name) for name in KMeansParams.model_fields}
        values["random_state"] = _seed(self.random_state)
        if not isinstance(self.init, str):
            values["init"] = np.asarray(self.init, dtype=np.float64).tolist()
        if self.n_threads is not None and (
            not isinstance(self.n_threads, int) or self.n_threads < 1
        ):
            raise JobError(f"n_threads = {self.n_threads!r}: must be None or an int >= 1")
        return validated(KMeansParams, {k: _plain(v) for k, v in values.items()})


def _seed(random_state: Any) -> Any:
    if random_state is None:
        return secrets.randbits(62)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return random_state


def _plain(value: Any) -> Any:
    """Return Python's own number for a NumPy scalar: the rules are strict about types."""
    return value.item() if isinstance(value, np.generic) else value


def _checked_weight(weight: ArrayLike | None, n_rows: int) -> NDArray[np.float64] | None:
    if weight is None:
        return None
    w = np.asarray(weight, dtype=np.float64)
    if w.shape != (n_rows,):
        raise DataError(f"sample_weight has shape {w.shape}: must be ({n_rows},), one for each row")
    if not np.isfinite(w).all() or (w < 0).any():
        bad = int(np.flatnonzero(~(np.isfinite(w) & (w >= 0)))[0])
        raise DataError(f"sample_weight[{bad}] = {w[bad]}: must be finite and >= 0")
    return w
