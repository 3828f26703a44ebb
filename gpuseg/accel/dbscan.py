"""scikit-learn's DBSCAN, by gpuseg."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import _fit_context
from sklearn.utils.validation import _check_sample_weight, validate_data

from gpuseg.accel.costs import can_save
from gpuseg.accel.log import log_computed, log_left
from gpuseg.accel.settings import current_settings
from gpuseg.accel.sizes import shape_of
from gpuseg.errors import GpusegError

_PER_ROW = 3e-6
_PER_NEIGHBOR = 3e-8
_PER_VALUE = ((16, 7e-11), (8, 2e-10), (4, 1e-10))
"""Seconds of scikit-learn's DBSCAN for one row, for one pair of neighbors, and for one value of a
pair of rows, from so many columns on: trees of few columns compare few pairs."""

_SAMPLE_ROWS = 32
_SAMPLE_VALUES = 2**22

_MOST_EXACT = 2.0**53


def replace_dbscan_fit(original: Callable[..., Any], module: ModuleType) -> Callable[..., Any]:
    """Return `DBSCAN.fit`."""

    @wraps(original)
    def replaced(self: Any, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        call = f"DBSCAN of {' × '.join(f'{size:,}' for size in shape_of(X))}"
        reason = _reason_to_leave(self, X, sample_weight)
        if reason is None:
            try:
                _fit(self, X, sample_weight=sample_weight)
                log_computed(call, "all of it")
                return self
            except GpusegError as error:
                reason = str(error)
        log_left(call, reason)
        return original(self, X, y, sample_weight)

    return replaced


def _reason_to_leave(estimator: Any, X: Any, sample_weight: Any) -> str | None:
    """Return why scikit-learn computes; None if gpuseg can."""
    shape = shape_of(X)
    if issparse(X) or len(shape) != 2:
        return "X is not a dense table"
    if not can_save(_seconds(shape, shape[0])):
        return "it is small"
    if _metric(estimator) is None:
        return f"gpuseg has not the metric {estimator.metric!r} in scikit-learn's arithmetic"
    if estimator.n_jobs == 0:
        return "n_jobs is 0"
    if estimator.metric_params:
        return "metric_params are given"
    if sample_weight is not None and not _are_whole_numbers(sample_weight):
        return "weights are not whole numbers of 0 or more"
    if not can_save(_seconds(shape, _mean_neighbors(X, estimator.eps))):
        return "its rows have few neighbors"
    return None


def _seconds(shape: tuple[int, ...], neighbors: float) -> float:
    """Return about what scikit-learn takes, by the mean number of neighbors of a row."""
    n, d = shape
    per_value: float = next((seconds for least, seconds in _PER_VALUE if d >= least), 0.0)
    return n * (_PER_ROW + neighbors * _PER_NEIGHBOR + n * d * per_value)


def _mean_neighbors(X: Any, eps: Any) -> float:
    """Return about how many rows are within eps of a row, from some rows; 0 if X has no numbers."""
    if current_settings().always:
        return 0.0
    try:
        rows = np.asarray(X, np.float64)
        step = max(len(rows) * rows.shape[1] // _SAMPLE_VALUES, 1)
        some = rows[:: max(len(rows) // _SAMPLE_ROWS, 1)]
        counts = [(((rows[::step] - row) ** 2).sum(axis=1) <= eps * eps).sum() for row in some]
        return float(np.mean(counts) * step)
    except (TypeError, ValueError):  # scikit-learn says what is wrong
        return 0.0


def _metric(estimator: Any) -> Any:
    """Return gpuseg's name of the metric, or None."""
    metric, p = estimator.metric, estimator.p
    if not isinstance(metric, str):
        return None
    if metric == "minkowski":
        return {1.0: "manhattan", 2.0: "euclidean"}.get(p)
    names = {"euclidean": "euclidean", "l2": "euclidean", "chebyshev": "chebyshev"}
    names |= dict.fromkeys(("manhattan", "cityblock", "l1"), "manhattan")
    return names.get(metric)


def _are_whole_numbers(sample_weight: Any) -> bool:
    """Whether sums of weights are exact in any order."""
    weight = np.asarray(sample_weight)
    if weight.dtype.kind not in "biuf":
        return False
    values = weight.astype(np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        return False
    return bool((values == np.floor(values)).all() and 0 < values.sum() < _MOST_EXACT)


@_fit_context(prefer_skip_nested_validation=False)  # type: ignore[untyped-decorator]
def _fit(estimator: Any, X: Any, sample_weight: Any = None) -> Any:
    """Validate as scikit-learn does, and set its attributes."""
    from gpuseg.accel.engine import cluster_by_density

    X = validate_data(estimator, X, accept_sparse="csr")
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, X)
    labels, is_core = cluster_by_density(
        X,
        sample_weight,
        estimator.eps,
        estimator.min_samples,
        _metric(estimator),
        estimator.n_jobs,
    )
    estimator.core_sample_indices_ = np.flatnonzero(is_core)
    estimator.labels_ = labels.astype(np.intp)
    estimator.components_ = X[is_core] if is_core.any() else np.empty((0, X.shape[1]))
    return estimator
