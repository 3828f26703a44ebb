"""Initial centers that a caller gives to k-means: as an array, or as a function that makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.errors import ConfigError
from gpuseg.estimators._inputs.arrays import as_matrix
from gpuseg.estimators._inputs.gpu import is_on_gpu, to_host
from gpuseg.optional import is_dask

_RUNS = 10
"""Runs of a function of initial centers where `n_init` is "auto", as in scikit-learn."""

InitFunction = Callable[..., Any]
"""Called as ``init(X, n_clusters, random_state=RandomState)``."""


def centers_as_lists(init: Any) -> list[Any]:
    """Return initial centers as lists of float.

    Raises
    ------
    ConfigError
        For centers that are not numbers in rows.
    """
    try:
        centers = np.asarray(to_host(init), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "init.not_numeric",
            "cannot be read as numbers",
            rule="must be 'k-means++', 'random', a function, or one row of numbers a cluster",
            parameter="init",
            reason=str(error),
        ) from None
    if centers.ndim != 2:
        raise ConfigError(
            "init.wrong_shape",
            f"has shape {centers.shape}",
            rule="must have shape (n_clusters, n_features)",
            parameter="init",
        )
    values: list[Any] = centers.tolist()
    return values


def rows_for_init(X: Any, estimator: Any) -> Any:
    """Return X as a function of initial centers gets it.

    Rows in main memory are a matrix of float32 or float64; others are what the caller has.
    """
    if is_dask(X) or is_on_gpu(X):
        return X
    return as_matrix(X, estimator, reset=False, keep_float64=True)


def starts_from(
    init: InitFunction,
    X: Any,
    params: KMeansParams,
    n_features: int,
    origin: NDArray[np.float64] | None,
) -> list[NDArray[np.float64]]:
    """Return the centers that each run of `params` starts from, float64 (n_clusters, d) each.

    Parameters
    ----------
    init : callable
    X : as `rows_for_init` returns it
    n_features : int
    origin : float64 (d,) or None
        What was subtracted from the rows that are clustered.

    Raises
    ------
    ConfigError
        For centers that do not suit the parameters and X.
    """
    random_state = np.random.RandomState(params.random_state % 2**32)
    starts = []
    for _ in range(_RUNS if params.n_init == "auto" else params.n_init):
        centers = init(X, params.n_clusters, random_state=random_state)
        one_run = {"init": centers_as_lists(centers), "n_init": 1}
        given = params.model_copy(update=one_run)
        given.check_init(n_features)
        starts.append(np.array(given.with_origin(origin).init, np.float64))
    return starts


def first_start(params: KMeansParams, starts: Sequence[NDArray[np.float64]]) -> KMeansParams:
    """Return the parameters of one run, from the first of `starts`."""
    return params.model_copy(update={"init": starts[0].tolist(), "n_init": 1})
