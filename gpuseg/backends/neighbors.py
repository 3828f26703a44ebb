"""Rules that the neighbor kernels of all backends share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.protocols import ParallelMap

NO_CLUSTER = 2**32 - 1
"""The cluster of rows that have none, uint32; above all clusters. As int32 it is -1, noise."""


def report_rows(query: Any, target: Any, n_rows: int, parallel_map: ParallelMap) -> None:
    """Report progress of a query within one index that is answered in one piece."""
    if query is target:
        list(parallel_map(int, [0], n_rows))


def assigning_rows(
    query: Any, border: NDArray[np.bool_], target: Any, cluster: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Return the target rows that pass on their cluster: within one index, no border rows."""
    core: NDArray[np.bool_] = cluster != NO_CLUSTER
    return core & ~border if query is target else core
