"""What gpuseg computes for scikit-learn; importing this module imports the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from gpuseg.algorithms.data_statistics import measure
from gpuseg.algorithms.dbscan.collect_labels import labels_of
from gpuseg.algorithms.dbscan.fit import fit_dbscan
from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.kmeans.fit import fit_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.backends import registry
from gpuseg.numerics.distance_metrics import Metric
from gpuseg.numerics.reproducible_sums import grid_magic
from gpuseg.runtime.executor import LocalExecutor, available_cpus
from gpuseg.sharding.shard import Shard
from gpuseg.validation import validated

_ROWS_PER_BLOCK = 8_192
_SAFE_EXPONENT = 20
"""Powers of two that the largest value may be away from one."""

_LEAST_EXPONENT = {"f": -120, "d": -1000}
"""Smaller powers of two have no reciprocal in the type of X."""

_POINTS = 2_048
"""Rows whose distances to all others are summed in one call."""

_SUMS = 2**22
"""Sums of distances in memory at once, for each thread."""

_BOUND_BYTES = 2**30
"""Memory for bounds that save distances."""


@dataclass(frozen=True)
class MovedCenters:
    """Centers after some iterations.

    Attributes
    ----------
    centers : float64 (k, d)
    n_iter : int
    """

    centers: NDArray[np.float64]
    n_iter: int


def move_centers(
    X: NDArray[Any],
    sample_weight: NDArray[Any],
    centers: NDArray[Any],
    max_iter: int,
    tol: float,
    n_threads: int,
) -> MovedCenters:
    """Move centers by Lloyd iterations until they converge.

    Rows in float64 are rounded to float32 for the iterations. The mean rounding error of the rows
    of each cluster is added to its center at the end.

    Parameters
    ----------
    X : float32 or float64 (n, d), C-order
        Its columns have the mean zero.
    sample_weight : float (n,), >= 0
    centers : float (k, d)
        Where they start.
    tol : float
        Stop when Σ|Δcenter|² is at most this.

    Raises
    ------
    ConfigError, DataError, ResourceError
        Where gpuseg cannot compute it.
    """
    scale, x = _as_float32(X)
    start = (centers * scale).astype(X.dtype)
    if X.dtype == np.float64:  # a center that is a row stays at distance zero from it
        start = start.astype(np.float32)
    weight = None if (sample_weight == 1).all() else sample_weight.astype(np.float64)
    executor = _executor(Shard(x, weight), n_threads)
    backend = registry.choose_backend("auto").name
    statistics = measure(executor, backend)
    variance = statistics.mean_variance
    values = {
        "n_clusters": len(centers),
        "init": start.tolist(),
        "n_init": 1,
        "max_iter": int(max_iter),
        "tol": float(tol * scale * scale / variance) if variance > 0 else 0.0,
    }
    params = validated(KMeansParams, values)
    fit = fit_kmeans(executor, params, backend, spare_bytes=_BOUND_BYTES, statistics=statistics)
    moved = fit.centers.values
    if X.dtype == np.float64:
        (labels,) = executor.map(lambda shard, context: shard.labels)
        moved = moved + _mean_rounding(X, scale, x, sample_weight, labels, len(centers))
    return MovedCenters(moved / scale, fit.n_iter)


def _mean_rounding(
    X: NDArray[Any],
    scale: float,
    x: NDArray[np.float32],
    weight: NDArray[Any],
    labels: NDArray[np.int32],
    k: int,
) -> NDArray[np.float64]:
    """Return by cluster what rounding took from the mean of its rows, (k, d)."""
    sums, total = np.zeros((k, X.shape[1])), np.zeros(k)
    for start in range(0, len(X), _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        label, w = labels[rows], weight[rows]
        member = csr_matrix((w, (label, np.arange(len(label)))), shape=(k, len(label)))
        sums += member @ (X[rows] * scale - x[rows])
        total += np.bincount(label, w, minlength=k)
    return sums / np.where(total > 0, total, 1.0)[:, None]


def cluster_by_density(
    X: NDArray[Any],
    sample_weight: NDArray[Any] | None,
    eps: float,
    min_samples: int,
    metric: Metric,
    n_jobs: int | None,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return DBSCAN's labels, and which rows are core.

    Parameters
    ----------
    X : (n, d), finite
    sample_weight : (n,) or None
        Whole numbers, >= 0.
    n_jobs : int or None
        As in scikit-learn, but None means all processors.

    Raises
    ------
    ConfigError, DataError, ResourceError
        Where gpuseg cannot compute it.
    """
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    weight = None if sample_weight is None else sample_weight.astype(np.float64)
    shard = Shard(np.ascontiguousarray(X, dtype), weight)
    values = {"eps": float(eps), "min_samples": int(min_samples), "metric": metric}
    params = validated(DBSCANParams, values)
    executor = _executor(shard, _n_threads(n_jobs))
    fit_dbscan(executor, params, registry.choose_backend("auto").name, distances=False)
    return labels_of(shard)


def distance_sums_by_label(
    X: NDArray[Any], labels: NDArray[Any], k: int, n_jobs: int | None
) -> Iterator[NDArray[np.float64]]:
    """Yield for block after block of the rows Σ |x - y| over the rows y of each label, (m, k).

    Parameters
    ----------
    X : float32 or float64 (n, d)
    labels : int (n,), from 0 to k - 1
    n_jobs : as in `cluster_by_density`
    """
    with np.errstate(over="ignore"):
        is_exact = bool((X.astype(np.float32) == X).all())
    scale, x = _as_float32(X if is_exact else X - X.mean(axis=0))
    backend = registry.get(registry.choose_backend("auto").name)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(k + 1))
    rows = backend.to_device(np.ascontiguousarray(x[order]))
    diagonal = float(np.linalg.norm(np.ptp(x, axis=0).astype(np.float64)))
    magic = grid_magic(len(x), max(diagonal, 2.0**-100) * (1 + 2.0**-10))
    step = max(min(_POINTS, _SUMS // k), 1)
    points = [x[start : start + step] for start in range(0, len(x), step)]
    context = LocalExecutor(_n_threads(n_jobs)).context
    for sums in context.map(lambda some: backend.distance_sums(rows, starts, some, magic), points):
        yield sums.T / scale


def _n_threads(n_jobs: int | None) -> int:
    """Return the number of threads; -1 means all processors, -2 all but one."""
    if n_jobs is None or n_jobs < 0:
        return max(available_cpus() + 1 + (n_jobs or -1), 1)
    return n_jobs


def _executor(shard: Shard, n_threads: int | None) -> LocalExecutor:
    """Return an executor that holds the shard."""
    executor = LocalExecutor(n_threads)
    executor.load(lambda shard, context: shard, [shard])
    return executor


def _as_float32(X: NDArray[Any]) -> tuple[float, NDArray[np.float32]]:
    """Return a power of two, and X times this power as float32, C-order.

    It brings the values near one if they are so large or small that squares would be out of range.
    """
    largest = max(float(X.max(initial=0.0)), -float(X.min(initial=0.0)))
    exponent = max(int(np.frexp(largest)[1]), _LEAST_EXPONENT[X.dtype.char])
    scale = 1.0 if abs(exponent) <= _SAFE_EXPONENT or largest == 0 else 2.0**-exponent
    scaled = X if scale == 1.0 else X * scale
    return scale, np.ascontiguousarray(scaled, np.float32)
