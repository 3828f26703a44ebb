"""Load any X into an executor, and call a function on any X.

Arrays, frames and GPU arrays are rows in memory; Dask collections stay on their workers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from numpy.typing import ArrayLike

from gpuseg.errors import DataError
from gpuseg.estimators._inputs.arrays import as_weights
from gpuseg.estimators._inputs.gpu import to_host
from gpuseg.estimators._inputs.in_memory import InMemoryRows, load_in_memory
from gpuseg.estimators._inputs.loaded_rows import LoadedRows
from gpuseg.estimators._inputs.row_format import RowFormat
from gpuseg.optional import is_dask


def load_rows(
    estimator: Any,
    X: Any,
    sample_weight: Any,
    row_format: RowFormat,
    n_threads: int | None,
    client: Any = None,
) -> AbstractContextManager[LoadedRows]:
    """Load the rows of X; use the result as a context.

    The estimator gets `n_features_in_` and `feature_names_in_` of X.

    Parameters
    ----------
    estimator : scikit-learn estimator
    X : array-like (n_samples, n_features), frame, Arrow table, GPU array or Dask collection
    sample_weight : array-like (n_samples,), Dask collection, or None
        A Dask collection where X is one, with the same partitions.
    row_format : RowFormat
        How the estimator reads rows.
    n_threads : int or None
        Threads of this process, for rows in memory.
    client : distributed.Client or None
        For Dask collections; None means the current one.

    Raises
    ------
    DataError
        For X that is not a table of numbers, and weights that do not suit it.
    ResourceError
        For a Dask collection without a client.
    """
    if is_dask(X):
        from gpuseg.estimators._inputs.dask import load_collection

        return load_collection(estimator, X, sample_weight, row_format, client)
    return load_in_memory(estimator, X, sample_weight, row_format, n_threads)


def load_batch(
    estimator: Any,
    X: Any,
    sample_weight: ArrayLike | None,
    row_format: RowFormat,
    n_threads: int | None,
    reset: bool,
) -> AbstractContextManager[InMemoryRows]:
    """Load one batch of a stream; see `load_rows`.

    Parameters
    ----------
    reset : bool
        Whether the estimator gets width and names of X (first batch), or they are checked.

    Raises
    ------
    DataError
        As `load_rows`; and for Dask collections.
    """
    if is_dask(X):
        raise DataError(
            "x.dask_collection",
            "X is a Dask collection",
            rule="must be one batch in memory",
            hint="use fit, or pass the partitions one by one",
        )
    return load_in_memory(estimator, X, sample_weight, row_format, n_threads, reset)


def map_rows(
    method: Callable[[Any, Any], Any], estimator: Any, X: Any, dtype: Any, width: int | None = None
) -> Any:
    """Return ``method(estimator, X)``; of a Dask collection lazily, partition by partition.

    Parameters
    ----------
    method : callable
        Returns an array (n,) or (n, width) of `dtype` for X in memory.
    width : int or None
        None where the result has one dimension.
    """
    if is_dask(X):
        from gpuseg.estimators._inputs.dask import map_collection

        return map_collection(method, estimator, X, dtype, width)
    return method(estimator, X)


def weighted_sum(values: Any, sample_weight: Any) -> float:
    """Return Σ w·v by plain summation; computed now where the values are lazy.

    Parameters
    ----------
    values : array (n,), on a GPU or lazy where X is
    sample_weight : array-like (n,) or None
        None means ones.
    """
    if is_dask(values):
        weighted = values if sample_weight is None else values * sample_weight
        return float(weighted.sum().compute())
    here = to_host(values)
    weight = as_weights(sample_weight, len(here))
    return float(here.sum() if weight is None else weight @ here)
