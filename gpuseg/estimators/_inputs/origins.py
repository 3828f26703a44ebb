"""Find the origin of each column of X before the rows become float32 (`numerics.origin`)."""

from __future__ import annotations

from copy import copy
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.estimators._inputs.arrays import as_matrix
from gpuseg.estimators._inputs.gpu import gpu_matrix, is_on_gpu
from gpuseg.numerics.origin import ColumnRanges
from gpuseg.optional import is_arrow

_FIRST_ROWS = 64
_ROWS_PER_BLOCK = 16_384


def find_origin(X: Any, estimator: Any) -> NDArray[np.float64] | None:
    """Return the origin of each column of X, float64 (d,); None if all values are kept.

    The first rows rule out nearly every X, since a column is far from zero only if each part of its
    rows is.

    Parameters
    ----------
    X : as in `fit`
    estimator : scikit-learn estimator
        For messages; it is not changed.

    Raises
    ------
    DataError
        For X that is not a table of numbers.
    """
    return origin_of(column_ranges(X, estimator))


def origin_of(ranges: ColumnRanges | None) -> NDArray[np.float64] | None:
    """Return the origins of columns with these ranges; None if all are 0."""
    origins = None if ranges is None else ranges.origins()
    return origins if origins is not None and origins.any() else None


def column_ranges(X: Any, estimator: Any) -> ColumnRanges | None:
    """Return the ranges of the columns of X; None if no column is far from zero.

    Those of columns that are not far stand for any such range. Parameters and errors are those of
    `find_origin`.
    """
    if getattr(X, "dtype", None) == np.float32:
        return None
    first = _as_float64(_first_rows(X), estimator)
    if first is None:
        return None
    far = np.flatnonzero(ColumnRanges.of(first).are_far())
    if not far.size:
        return None
    of_far = _ranges_of_columns(X, far, first.shape[1], estimator)
    n_columns = first.shape[1]
    ranges = ColumnRanges(-np.ones(n_columns), np.ones(n_columns), np.ones(n_columns, bool))
    ranges.low[far], ranges.high[far] = of_far.low, of_far.high
    ranges.is_exact[far] = of_far.is_exact
    return ranges if ranges.are_far().any() else None


def _ranges_of_columns(
    X: Any, columns: NDArray[np.int64], n_columns: int, estimator: Any
) -> ColumnRanges:
    """Return the ranges of some columns of X, block by block where X can be sliced."""
    if len(columns) < n_columns and hasattr(X, "iloc"):
        X, columns = X.iloc[:, columns], np.arange(len(columns))
    elif not isinstance(X, np.ndarray):
        X = _as_float64(X, estimator)
    n_rows = max(len(X), 1)
    blocks = (_block(X, slice(i, i + _ROWS_PER_BLOCK)) for i in range(0, n_rows, _ROWS_PER_BLOCK))
    return reduce(ColumnRanges.merge, (ColumnRanges.of(block[:, columns]) for block in blocks))


def _block(X: Any, rows: slice) -> NDArray[np.float64]:
    """Return some rows of an array or of a pandas frame as float64."""
    if hasattr(X, "iloc"):
        return np.asarray(X.iloc[rows].to_numpy(np.float64, na_value=np.nan))
    return np.asarray(X[rows], np.float64)


def _first_rows(X: Any) -> Any:
    """Return the first rows of X, of its kind; all of them if X cannot be sliced."""
    if hasattr(X, "iloc"):
        return X.iloc[:_FIRST_ROWS]
    if is_arrow(X) and hasattr(X, "slice"):
        return X.slice(0, _FIRST_ROWS)
    if isinstance(X, list | tuple) or (getattr(X, "ndim", 0) == 2 and hasattr(X, "__array__")):
        return X[:_FIRST_ROWS]
    return X


def _as_float64(X: Any, estimator: Any) -> NDArray[np.float64] | None:
    """Return X on the host as float64 (n, d); None if it is float32."""
    if is_on_gpu(X):
        return registry.get("cuda").to_host(
            gpu_matrix(X, copy(estimator), "cuda", True, np.float64)
        )
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype == np.float64:
        return X
    x = as_matrix(X, copy(estimator), reset=True, keep_float64=True)
    return None if x.dtype == np.float32 else x.astype(np.float64, copy=False)
