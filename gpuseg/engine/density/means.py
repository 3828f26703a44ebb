"""Where clusters lie: the mean of their rows, summed on grids, so that no order enters."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.sums import SumGrid
from gpuseg.engine.density.fit import DBSCANFit
from gpuseg.engine.density.region import labels_of
from gpuseg.engine.measure import Measured
from gpuseg.engine.shard import Block, Shard
from gpuseg.runtime.executor import Env, Executor


def mean_rows(executor: Executor, fit: DBSCANFit, measured: Measured) -> NDArray[np.float64]:
    """Return the mean row of each cluster and, last, of noise, float64 (n_clusters + 1, d).

    Weights do not enter. NaN where there are no rows.
    """
    grid = SumGrid(*_grids(measured), measured.n_rows)
    sums = sum(executor.run(_sums, fit.n_clusters, grid, measured.shift))
    sizes = np.append(fit.sizes, fit.n_noise)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = np.sum(sums, axis=0) / sizes[:, None] + measured.shift
    return means


def _grids(measured: Measured) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grid = replace(measured, largest_weight=1.0).sum_grid()
    return grid.sums, grid.weight


def _sums(
    shard: Shard, env: Env, n_clusters: int, grid: SumGrid, shift: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return Σ (x - shift) of the rows of each cluster, level by level, (levels, k + 1, d)."""
    labels, _ = labels_of(shard)

    def on(block: Block) -> NDArray[np.float64]:
        own = np.where(labels[block.rows] < 0, n_clusters, labels[block.rows])
        z = block.x.astype(np.float64) - shift
        return np.array([
            np.stack([np.bincount(own, part[:, f], n_clusters + 1) for f in range(z.shape[1])], 1)
            for part in SumGrid.split(z, grid.sums[:, None, :])
        ])  # fmt: skip

    total: NDArray[np.float64] = sum(shard.map_blocks(env, on))  # type: ignore[assignment]
    return total
