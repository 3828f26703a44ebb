"""The distances of scikit-learn's silhouettes, by gpuseg.

`silhouette_samples` and `silhouette_score` get, for each row, the sum of the distances to the rows
of its own cluster, and the least mean distance to those of another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, wraps
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.accel.costs import can_save
from gpuseg.accel.log import log_computed, log_left
from gpuseg.accel.sizes import shape_of
from gpuseg.errors import GpusegError

_PER_PAIR = 8e-9
_PER_PRODUCT = 5e-11
"""Seconds of scikit-learn for a pair of rows, and for one value of each more."""

_LARGEST_ERROR = 1e-6
"""Of the mean silhouette, by rounding to float32."""


def replace_distances(original: Callable[..., Any], module: ModuleType) -> Callable[..., Any]:
    """Return `pairwise_distances_chunked`, as far as silhouettes call it."""

    @wraps(original)
    def replaced(X: Any, Y: Any = None, **options: Any) -> Any:
        call = f"silhouettes of {' × '.join(f'{size:,}' for size in shape_of(X))}"
        reduce_func = options.get("reduce_func")
        is_silhouette = isinstance(reduce_func, partial) and reduce_func.func is getattr(
            module, "_silhouette_reduce", None
        )
        reason = _reason_to_leave(X, Y, options) if is_silhouette else "it is no silhouette"
        if reason is None and isinstance(reduce_func, partial):
            try:
                result = _inside_and_outside(X, options.get("n_jobs"), **reduce_func.keywords)
                if result is not None:
                    log_computed(call, "all of it")
                    return iter([result])
                reason = "float32 hardly tells its rows apart"
            except GpusegError as error:
                reason = str(error)
        log_left(call, str(reason))
        return original(X, Y, **options)

    return replaced


def _reason_to_leave(X: Any, Y: Any, options: dict[str, Any]) -> str | None:
    """Return why scikit-learn computes; None if gpuseg can."""
    if not isinstance(X, np.ndarray) or X.dtype.kind not in "biuf" or Y is not None:
        return "X is not a dense table of numbers"
    others = set(options) - {"reduce_func", "metric", "n_jobs", "working_memory"}
    if options.get("n_jobs") == 0:
        return "n_jobs is 0"
    if options.get("metric", "euclidean") not in ("euclidean", "l2") or others:
        return "the metric is not Euclidean alone"
    pairs = len(X) * len(X)
    if not can_save(pairs * (_PER_PAIR + X.shape[1] * _PER_PRODUCT)):
        return "it is small"
    return None


def _inside_and_outside(
    X: NDArray[Any], n_jobs: int | None, labels: NDArray[Any], label_freqs: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return both distances of each row; None if they are not precise enough.

    Distances have an error of about one unit in the last place of the largest value, in float32.
    """
    from gpuseg.accel.engine import distance_sums_by_label

    dtype = np.float32 if X.dtype == np.float32 else np.float64
    rows = X.astype(dtype, copy=False)
    blocks = distance_sums_by_label(rows, labels, len(label_freqs), n_jobs)
    inside, outside = zip(*_split(blocks, labels, label_freqs), strict=True)
    intra, inter = np.concatenate(inside), np.concatenate(outside)
    if dtype is np.float64 and _error(rows, inter) > _LARGEST_ERROR:
        return None
    return intra.astype(dtype), inter.astype(dtype)


def _split(
    blocks: Iterator[NDArray[np.float64]], labels: NDArray[Any], sizes: NDArray[Any]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield Σ of the distances to the rows of the same label, and the least mean of another."""
    start = 0
    for sums in blocks:
        rows, label = np.arange(len(sums)), labels[start : start + len(sums)]
        inside = sums[rows, label]
        sums[rows, label] = np.inf
        yield inside, (sums / sizes).min(axis=1)
        start += len(sums)


def _error(X: NDArray[Any], outside: NDArray[np.float64]) -> float:
    """Return about the error of a silhouette that rounding causes."""
    largest = float(np.abs(X - X.mean(axis=0)).max())
    typical = float(np.median(outside))
    return 2.0**-24 * largest / typical if typical > 0 else np.inf
