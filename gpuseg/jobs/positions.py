"""Positions in the data, and in the shards."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.runtime.executor import Executor
from gpuseg.sharding import row_passes as passes


def rows_by_shard(executor: Executor, positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split rising positions in the data by shard; return rows of the shards."""
    starts = np.cumsum([0, *executor.map(passes.n_rows)])
    bounds = np.searchsorted(positions, starts)
    return [
        positions[a:b] - start
        for a, b, start in zip(bounds[:-1], bounds[1:], starts[:-1], strict=True)
    ]
