"""The silhouette of labels, for rows in memory and for Dask collections."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpuseg.backends import registry
from gpuseg.errors import ConfigError, DataError
from gpuseg.estimators._inputs.gpu import to_host
from gpuseg.estimators._inputs.load import load_rows
from gpuseg.estimators._inputs.row_format import KMeansRows
from gpuseg.estimators._numpy_scalars import to_python
from gpuseg.estimators._params import checked_seed
from gpuseg.estimators._sklearn_params import n_threads_of
from gpuseg.estimators.kmeans import KMeans
from gpuseg.formatting import count
from gpuseg.model_selection.silhouette import mean_silhouette
from gpuseg.optional import is_dask
from gpuseg.sharding import row_passes as passes

_METRICS = {"euclidean": "euclidean", "l2": "euclidean", "cosine": "cosine"}


class SilhouetteScore(float):
    """A mean silhouette: a float, with its error.

    Attributes
    ----------
    error : float
        Half the width of its 95 % interval; 0 where the silhouettes of all rows were computed, and
        NaN for a sample of one row.

    Examples
    --------
    >>> import gpuseg
    >>> score = gpuseg.SilhouetteScore(0.5, 0.01)
    >>> score > 0.4, score.error
    (True, 0.01)
    """

    error: float

    def __new__(cls, value: float, error: float) -> SilhouetteScore:
        """Return the number with its error."""
        score = super().__new__(cls, value)
        score.error = error
        return score

    def __getnewargs__(self) -> tuple[float, float]:  # type: ignore[override]
        return float(self), self.error


def silhouette_score(
    X: ArrayLike,
    labels: ArrayLike,
    *,
    metric: str = "euclidean",
    sample_size: int | None = None,
    random_state: Any = None,
    backend: str = "auto",
    n_threads: int | None = None,
    client: Any = None,
) -> SilhouetteScore:
    """Return the mean silhouette of rows: 1 is best, 0 on the border of two clusters, -1 worst.

    Unlike in scikit-learn, each row of a sample is compared with all rows, and not only with the
    sample. So the score of a sample estimates that of all rows, with a known error. The time grows
    with ``sample_size`` × rows, and without a sample with the square of the rows.

    Parameters
    ----------
    X : as in `KMeans.fit`
    labels : array-like (n_samples,) of int or str, or Dask array
        The cluster of each row, in the order of X; noise counts as a cluster of its own.
    metric : {"euclidean", "l2", "cosine"}, default "euclidean"
        "cosine" is 1 - cos.
    sample_size : int >= 1 or None, default None
        Rows with a computed silhouette; None is all rows.
    random_state : int, numpy.random.RandomState or None, default None
        The seed of the sample.
    backend, n_threads : as in `KMeans`
    client : as in `KMeans.fit`

    Returns
    -------
    SilhouetteScore
        A float; its attribute `error` is half the width of its 95 % interval.

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `KMeans.fit`; and for labels that do not suit the rows, or are all equal or all
        different.

    Examples
    --------
    >>> import gpuseg
    >>> X = [[0.0], [1.0], [9.0], [10.0]]
    >>> score = gpuseg.silhouette_score(X, [0, 0, 1, 1])
    >>> round(score, 3), score.error
    (0.889, 0.0)
    """
    kind, size = _checked_metric(metric), _checked_size(sample_size)
    seed, threads = checked_seed(random_state), n_threads_of(n_threads)
    name = registry.choose_backend(backend).name
    estimator = KMeans(metric=kind, backend=backend, n_threads=threads)
    row_format = KMeansRows(name, kind, threads)
    with load_rows(estimator, X, None, row_format, threads, client) as rows:
        n = sum(rows.executor.map(passes.n_rows))
        numbers = _as_numbers(labels, n, client)
        fewer = None if size is None or size >= n else size
        result = mean_silhouette(rows.executor, name, numbers, kind, fewer, seed)
    return SilhouetteScore(result.mean, result.error)


def _checked_metric(metric: Any) -> str:
    name = _METRICS.get(metric) if isinstance(metric, str) else None
    if name is None:
        raise ConfigError(
            "parameter.invalid_value",
            value=metric,
            rule="must be 'euclidean', 'l2' or 'cosine'",
            hint="use one of these, or sklearn.metrics.silhouette_score, which has other metrics",
            parameter="metric",
        )
    return name


def _checked_size(sample_size: Any) -> int | None:
    size = to_python(sample_size)
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(
            "parameter.invalid_value",
            value=sample_size,
            rule="must be None or a whole number from 1 on",
            parameter="sample_size",
        )
    return size


def _as_numbers(labels: Any, n_rows: int, client: Any) -> NDArray[np.int64]:
    """Return labels as numbers from 0 on, int64 (n,)."""
    if is_dask(labels):
        labels = labels.compute() if client is None else labels.compute(scheduler=client)
    values = np.asarray(to_host(labels))
    if values.shape != (n_rows,):
        _refuse_labels("labels.wrong_shape", f"shape {values.shape}", f"must be ({n_rows},)")
    distinct, numbers = np.unique(values, return_inverse=True)
    if not 2 <= len(distinct) < n_rows:
        _refuse_labels(
            "labels.too_few_clusters" if len(distinct) < 2 else "labels.too_many_clusters",
            f"{count(len(distinct), 'distinct label')} of {count(n_rows, 'row')}",
            "a silhouette needs at least two clusters, and a cluster of several rows",
        )
    return numbers.astype(np.int64)


def _refuse_labels(code: str, problem: str, rule: str) -> NoReturn:
    raise DataError(code, problem, rule=rule, parameter="labels")
