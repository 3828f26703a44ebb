"""The mean silhouette of given labels: exact for some rows or for all, each against all rows.

Silhouette: Rousseeuw, J. Comput. Appl. Math. 20 (1987). What the rows of each cluster add to the
distances of a sampled row is summed on a grid, so that the sharding of the rows does not matter.
With the cosine, Σ 1 - cos(x, y) over the rows y of a cluster is their number minus x·Σy, of rows
of length one.
"""

import math
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import measure
from gpuseg.backends import registry
from gpuseg.backends.backend import Backend
from gpuseg.model_selection.quality import DEVICE_ROWS, reorder, silhouettes_from_sums
from gpuseg.numerics.hashing import hash_uniform
from gpuseg.numerics.intervals import Z_95
from gpuseg.numerics.reproducible_sums import grid_magic
from gpuseg.numerics.sum_grid import on_grid
from gpuseg.runtime.executor import BLOCK_ROWS, Executor, TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Block, Shard

_MAX_SUMS = 2**22
"""Sums of sampled rows and clusters in memory at once: 32 MiB a thread."""


@dataclass(frozen=True)
class MeanSilhouette:
    """A mean silhouette, and half the width of its 95 % interval.

    The width is 0 for that of all rows, and NaN for that of one row, which tells nothing of others.
    """

    mean: float
    error: float


def mean_silhouette(
    executor: Executor,
    backend: str,
    labels: NDArray[np.int64],
    metric: str,
    sample_size: int | None,
    seed: int,
) -> MeanSilhouette:
    """Return the mean silhouette of the rows of all shards.

    Parameters
    ----------
    labels : int64 (n,), from 0 on
        Of all rows, in their order.
    metric : {"euclidean", "cosine"}
        For the cosine the rows have length one.
    sample_size : int or None
        Rows with a computed silhouette; None for all.
    seed : int
        Of the sample.

    Raises
    ------
    DataError
        For values that are not finite.
    """
    n, k = len(labels), int(labels.max()) + 1
    statistics = measure(executor, backend, metric)
    deviation = math.sqrt(math.fsum((statistics.max_deviation**2).tolist()))
    largest = 1.0 if metric == "cosine" else 2 * deviation * (1 + 2.0**-10)
    magic = grid_magic(n, largest)
    ends = list(accumulate(executor.map(passes.n_rows), initial=0))
    by_shard = [labels[start:stop] for start, stop in pairwise(ends)]
    sizes = np.bincount(labels, minlength=k)
    index = np.arange(n) if sample_size is None else _sample(n, sample_size, seed)
    silhouettes = []
    step = max(_MAX_SUMS // k, 1)
    for start in range(0, len(index), step):
        some = index[start : start + step]
        rows = np.concatenate(executor.map(_rows_at, backend, some))
        sums = executor.map(_sum_distances, backend, rows, k, metric, magic, per_shard=by_shard)
        total = reduce(np.add, sums)
        if metric == "cosine":
            total = sizes - rows.astype(np.float64) @ total.T
        silhouettes.append(silhouettes_from_sums(total, sizes, labels[some]))
    return _mean(np.concatenate(silhouettes), n)


def _mean(silhouettes: NDArray[np.float64], n: int) -> MeanSilhouette:
    m = len(silhouettes)
    if m == n:
        return MeanSilhouette(float(silhouettes.mean()), 0.0)
    deviation = float(silhouettes.std(ddof=1)) if m > 1 else math.nan
    error = Z_95 * deviation * math.sqrt(1 / m - 1 / n)
    return MeanSilhouette(float(silhouettes.mean()), error)


def _sample(n: int, m: int, seed: int) -> NDArray[np.int64]:
    """Draw one of n rows from each of m equal parts, int64 (m,), increasing."""
    starts = np.arange(m + 1) * n // m
    drawn = starts[:-1] + np.floor(hash_uniform(seed, 0, m) * np.diff(starts)).astype(np.int64)
    return np.minimum(drawn, starts[1:] - 1)


def _rows_at(
    shard: Shard, context: TaskContext, backend: str, index: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the rows of the shard whose numbers in the data are in `index`, which increases."""
    b = registry.get(backend)

    def rows_of_block(block: Block) -> NDArray[np.float32]:
        first = shard.first_row + block.rows.start
        low, high = np.searchsorted(index, [first, first + len(block.x)])
        return b.to_host(block.x, index[low:high] - first)

    return np.concatenate(list(shard.map_blocks(context, rows_of_block)))


def _sum_distances(
    shard: Shard,
    context: TaskContext,
    backend: str,
    points: NDArray[np.float32],
    k: int,
    metric: str,
    magic: float,
    labels: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return Σ of the distances of each point to the rows of each cluster, float64 (m, k).

    With the cosine, return Σ of the rows of each cluster, float64 (k, d).
    """
    b = registry.get(backend)

    def sum_block(block: Block) -> NDArray[np.float64]:
        of_block = labels[block.rows]
        step = BLOCK_ROWS if isinstance(block.x, np.ndarray) else DEVICE_ROWS
        parts = [
            _sum_rows(b, block.x[i : i + step], of_block[i : i + step], points, k, metric, magic)
            for i in range(0, max(len(block.x), 1), step)
        ]
        return reduce(np.add, parts)

    blocks = shard.map_blocks(context, sum_block)
    return reduce(np.add, blocks)


def _sum_rows(
    b: Backend,
    x: Any,
    labels: NDArray[np.int64],
    points: NDArray[np.float32],
    k: int,
    metric: str,
    magic: float,
) -> NDArray[np.float64]:
    order = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[order], return_index=True)
    rows = reorder(b, x, order)
    if metric == "cosine":
        sums = np.zeros((k, x.shape[1]))
        on_host = on_grid(b.to_host(rows).astype(np.float64), magic)
        if len(present):
            sums[present] = np.add.reduceat(on_host, first, axis=0)
        return sums
    distances = np.zeros((len(points), k))
    if len(present):
        starts = np.append(first, len(labels))
        distances[:, present] = b.distance_sums(rows, starts, points, magic).T
    return distances
