"""Where segments lie: the mean of their rows, summed on grids, so that no order enters."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.statistics import DataStatistics
from gpuseg.backends import registry
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.runtime.executor import CacheLost, Executor, TaskContext
from gpuseg.sharding.shard import Block, Shard


def mean_rows(
    executor: Executor, backend: str, sizes: NDArray[np.int64], measured: DataStatistics
) -> NDArray[np.float64]:
    """Return the mean row of each segment, float64 (n, d); the last one is that of noise.

    Weights do not enter. NaN where there are no rows. `sizes` (n,) are the rows of each.
    """
    grid = SumGrid(*_grids(measured), measured.n_rows)
    sums = sum(executor.map(_sums, backend, len(sizes), grid, measured.shift))
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = np.sum(sums, axis=0) / sizes[:, None] + measured.shift
    return means


def _grids(measured: DataStatistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grid = replace(measured, largest_weight=1.0).sum_grid()
    return grid.sums, grid.weight


def _sums(
    shard: Shard, env: TaskContext, backend: str, n: int, grid: SumGrid, shift: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return Σ (x - shift) of the rows of each segment, level by level, (levels, n, d)."""
    if shard.labels is None:
        raise CacheLost
    labels, b = shard.labels, registry.get(backend)

    def on(block: Block) -> NDArray[np.float64]:
        own = np.where(labels[block.rows] < 0, n - 1, labels[block.rows])
        z = b.to_host(block.x).astype(np.float64) - shift
        return np.array([
            np.stack([np.bincount(own, part[:, f], n) for f in range(z.shape[1])], 1)
            for part in SumGrid.split(z, grid.sums[:, None, :])
        ])  # fmt: skip

    total: NDArray[np.float64] = sum(shard.map_blocks(env, on))  # type: ignore[assignment]
    return total
