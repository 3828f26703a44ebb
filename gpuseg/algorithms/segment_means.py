"""Mean row of each segment, summed on grids, so that the order of the rows does not matter."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import DataStatistics
from gpuseg.backends import registry
from gpuseg.numerics.sum_grid import SumGrid
from gpuseg.runtime.executor import CacheLost, Executor, TaskContext
from gpuseg.sharding.shard import Block, Shard


def mean_rows(
    executor: Executor, backend: str, sizes: NDArray[np.int64], statistics: DataStatistics
) -> NDArray[np.float64]:
    """Return the mean row of each segment, float64 (n, d), without weights.

    The last segment is noise. A segment without rows has NaN.

    Parameters
    ----------
    sizes : int64 (n,)
        Rows of each segment.
    """
    grid = replace(statistics, max_weight=1.0).sum_grid()
    sums = sum(executor.map(_sum_rows, backend, len(sizes), grid, statistics.shift))
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = np.sum(sums, axis=0) / sizes[:, None] + statistics.shift
    return means


def _sum_rows(
    shard: Shard,
    context: TaskContext,
    backend: str,
    n: int,
    grid: SumGrid,
    shift: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return Σ (x - shift) of the rows of each segment, level by level, (levels, n, d)."""
    if shard.labels is None:
        raise CacheLost
    labels, b = shard.labels, registry.get(backend)

    def sum_block(block: Block) -> NDArray[np.float64]:
        segment = np.where(labels[block.rows] < 0, n - 1, labels[block.rows])
        z = b.to_host(block.x).astype(np.float64) - shift
        levels = SumGrid.split(z, grid.sums[:, None, :])
        return np.array(
            [
                np.stack([np.bincount(segment, part[:, f], n) for f in range(z.shape[1])], 1)
                for part in levels
            ]
        )

    total: NDArray[np.float64] = sum(shard.map_blocks(context, sum_block))  # type: ignore[assignment]
    return total
