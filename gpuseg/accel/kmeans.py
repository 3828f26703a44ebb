"""The iterations of scikit-learn's k-means, by gpuseg.

scikit-learn validates, draws the initial centers, and keeps the best of its runs. Here is one run:
it moves the centers until they converge. scikit-learn begins it. As soon as the iterations that are
left would take longer than gpuseg and its start, gpuseg makes them. The last step is scikit-learn's
again: it assigns the rows to the centers, in the type of X.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from gpuseg.accel.costs import (
    can_save,
    most_seconds_of_lloyd,
    remaining_iterations,
    saves_iterations,
)
from gpuseg.accel.log import log_computed, log_left
from gpuseg.accel.settings import current_settings
from gpuseg.errors import GpusegError

_ROWS_PER_BLOCK = 8_192
_ESTIMATES = 3
"""The last estimates of the remaining iterations, of which the least counts: some are far too
large."""

_LARGE = 2**20
"""Values of X from which a pass by blocks is faster than one by columns."""

_LEAST_DEVIATION = 2.0**-14
"""Of rows in float64 from their centers, as a share of the largest value: float32 has errors of
2^-24."""

_FLOAT64_ROUNDING = 2.0**-48


def replace_tolerance(original: Callable[..., Any], module: ModuleType) -> Callable[..., Any]:
    """Return `_tolerance`, which takes the variance of a large X block by block."""

    @wraps(original)
    def replaced(X: Any, tol: float) -> Any:
        if tol == 0 or issparse(X) or X.size < _LARGE or X.dtype != np.float64:
            return original(X, tol)
        return _mean_variance(X) * tol

    return replaced


def _mean_variance(X: NDArray[np.float64]) -> float:
    """Return the mean over the columns of their population variances."""
    mean, squares = X.mean(axis=0), np.zeros(X.shape[1])
    for start in range(0, len(X), _ROWS_PER_BLOCK):
        deviation = X[start : start + _ROWS_PER_BLOCK] - mean
        squares += np.einsum("ij,ij->j", deviation, deviation)
    return float(squares.mean() / len(X))


@dataclass(frozen=True)
class _Problem:
    """What a run is given; names and meanings are scikit-learn's."""

    X: NDArray[Any]
    sample_weight: NDArray[Any]
    max_iter: int
    tol: float
    n_threads: int


@dataclass
class _RunProgress:
    """How far a run is.

    Attributes
    ----------
    centers : float (k, d)
    n_iter : int
    labels : int32 (n,) or None
        Where the last iteration changed no label: the labels of the centers.
    finished : bool
    """

    centers: NDArray[Any]
    n_iter: int = 0
    labels: NDArray[np.int32] | None = None
    finished: bool = False


def replace_run(original: Callable[..., Any], module: ModuleType) -> Callable[..., Any]:
    """Return `_kmeans_single_lloyd` or `_kmeans_single_elkan`: one run from given centers."""

    @wraps(original)
    def replaced(
        X: Any,
        sample_weight: Any,
        centers_init: Any,
        max_iter: int = 300,
        verbose: bool = False,
        tol: float = 1e-4,
        n_threads: int = 1,
    ) -> tuple[Any, Any, Any, int]:
        k = len(centers_init)
        call = f"k-means of {' × '.join(f'{size:,}' for size in X.shape)}, {k:,} clusters"
        reason = _reason_to_leave(X, sample_weight, k, max_iter, verbose)
        if reason is not None:
            log_left(call, reason)
            result: tuple[Any, Any, Any, int] = original(
                X, sample_weight, centers_init, max_iter, verbose, tol, n_threads
            )
            return result
        problem = _Problem(X, sample_weight, max_iter, tol, n_threads)
        with module._get_threadpool_controller().limit(limits=1, user_api="blas"):
            progress = _begin(module, problem, centers_init)
            if progress.finished:
                log_left(call, f"it converged in {progress.n_iter} iterations")
                return _finish(module, problem, progress)
            try:
                moved = _continue(problem, progress)
                result = _finish(module, problem, moved)
                reason = _reason_to_repeat(problem, result[1])
            except GpusegError as error:
                reason = str(error)
        if reason is None:
            log_computed(call, f"iterations {progress.n_iter + 1} to {moved.n_iter}")
            return result
        log_left(call, reason)
        left = max_iter - progress.n_iter
        *repeated, n_iter = original(
            X, sample_weight, progress.centers, left, verbose, tol, n_threads
        )
        return (*repeated, progress.n_iter + n_iter)

    return replaced


def _reason_to_leave(
    X: Any, sample_weight: Any, k: int, max_iter: int, verbose: bool
) -> str | None:
    """Return why scikit-learn computes; None if gpuseg can."""
    if issparse(X):
        return "X is sparse"
    if not can_save(most_seconds_of_lloyd(X.size, k, max_iter)):
        return "it is small"
    if verbose:
        return "it prints each iteration (verbose)"
    if not X.flags.c_contiguous or X.dtype not in (np.float32, np.float64):
        return f"X is {X.dtype}, or not in C order"
    if not (sample_weight >= 0).all() or not sample_weight.any():
        return "weights are negative, or all zero"
    return None


def _begin(module: ModuleType, problem: _Problem, centers_init: NDArray[Any]) -> _RunProgress:
    """Iterate by scikit-learn while that is faster; return the progress when it is no longer.

    It is measured in seconds of the processor, since what else the machine does slows both down.
    """
    X, w = problem.X, problem.sample_weight
    centers = centers_init.copy()
    if current_settings().always:
        return _RunProgress(centers)
    k, moved = len(centers), np.zeros_like(centers)
    labels, before = np.full(len(X), -1, np.int32), np.full(len(X), -1, np.int32)
    weights, shift = np.zeros(k, X.dtype), np.zeros(k, X.dtype)
    shifts: list[float] = []
    relabeled: list[float] = []
    remaining: list[float] = []
    for i in range(1, problem.max_iter + 1):
        started = time.process_time()
        module.lloyd_iter_chunked_dense(
            X, w, centers, moved, weights, labels, shift, problem.n_threads
        )
        centers, moved = moved, centers
        shifts.append(float((shift**2).sum()))
        relabeled.append(float(np.count_nonzero(labels != before)))
        if relabeled[-1] == 0:
            return _RunProgress(centers, i, labels, True)
        if shifts[-1] <= problem.tol or i == problem.max_iter:
            return _RunProgress(centers, i, None, True)
        before[:] = labels
        by_shift = remaining_iterations(shifts, problem.tol)
        by_labels = remaining_iterations(relabeled, 0.5)
        remaining.append(min(by_shift, by_labels, problem.max_iter - i))
        least = min(remaining[-_ESTIMATES:])
        if saves_iterations((time.process_time() - started) / problem.n_threads, least):
            return _RunProgress(centers, i)
    return _RunProgress(centers, problem.max_iter, None, True)


def _continue(problem: _Problem, progress: _RunProgress) -> _RunProgress:
    """Iterate by gpuseg until the centers converge."""
    from gpuseg.accel.engine import move_centers

    moved = move_centers(
        problem.X,
        problem.sample_weight,
        progress.centers,
        problem.max_iter - progress.n_iter,
        problem.tol,
        problem.n_threads,
    )
    centers = np.ascontiguousarray(moved.centers, problem.X.dtype)
    return _RunProgress(centers, progress.n_iter + moved.n_iter, None, True)


def _finish(
    module: ModuleType, problem: _Problem, progress: _RunProgress
) -> tuple[Any, float, Any, int]:
    """Assign the rows to the centers, and return the result of the run."""
    X, w, n_threads = problem.X, problem.sample_weight, problem.n_threads
    labels: Any = progress.labels
    if labels is None:
        labels, inertia = module._labels_inertia(X, w, progress.centers, n_threads)
    else:
        inertia = module._inertia_dense(X, w, progress.centers, labels, n_threads)
    return labels, inertia, progress.centers, progress.n_iter


def _reason_to_repeat(problem: _Problem, inertia: float) -> str | None:
    """Return why scikit-learn should iterate instead; None if float32 was precise enough."""
    X = problem.X
    if X.dtype == np.float32:
        return None
    deviation = math.sqrt(inertia / (float(problem.sample_weight.sum()) * X.shape[1]))
    is_zero = deviation <= _FLOAT64_ROUNDING * _largest(X)
    if is_zero or deviation > _LEAST_DEVIATION * _largest(X):
        return None
    return "the clusters are so small that float32 hardly tells their rows apart"


def _largest(X: NDArray[Any]) -> float:
    """Return the largest absolute value."""
    return max(float(X.max()), -float(X.min()))
