"""Estimate the work of DBSCAN from a sample of rows: pairs of rows, and seconds.

The sweep that counts neighbors is run for a hashed sample of the rows of each partition, against
all its rows, and its number of pairs is scaled up. The share of the other sweeps was measured: a
row that is not core needs about as many pairs again to be assigned, and more to find its nearest
core row; most connections between core rows need none. On twelve data sets of 2 to 32 features
with 3 to 95 % noise, the estimate was within a factor of 1.6 of the pairs that were compared
(`benchmarks/dbscan_work.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.core_counts import count_within
from gpuseg.algorithms.dbscan.partition_state import PartitionState, current_attempt
from gpuseg.backends import registry
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

SAMPLE_ROWS = 2**12

_ALL_SWEEPS, WITHOUT_DISTANCES = 3.6, 2.0
"""Pairs of all sweeps, as multiples of the pairs of the first sweep."""

_SECONDS_PER_VALUE = 3.8e-11
_OVERHEAD_VALUES = 16
_SECONDS_PER_ROW_VALUE = 2.4e-7
"""Costs on one thread. A pair costs its features plus an overhead, in values; a row costs its
features."""

_GRID_SWEEPS = 1.2
_SECONDS_PER_GRID_PAIR, _SECONDS_PER_GRID_ROW = 8e-9, 1.4e-7
"""The same costs for rows in a cell grid. Distances are found in tiles, which cost extra."""

_MAX_GRID_ROWS = 2**20
"""Maximum rows in a grid that the estimate counts fully. Fewer rows than this are as fast to count
as to sample."""

_CORE_PAIRS = 256
"""Typical pairs of a row in a dense region: mostly its own tile, and connections."""

_TILE_EPS = 2.0
"""A row that is not core is compared with all tiles that may have a row within eps; this covers
about such a multiple of eps."""


@dataclass(frozen=True)
class CostEstimate:
    """Estimated work of clustering.

    Attributes
    ----------
    distances : float
        Distances to compute, over all shards.
    seconds : float
        Time of the busiest shard. Measured on server CPUs; a GPU is faster.
    """

    distances: float
    seconds: float


@dataclass(frozen=True)
class SampledCost:
    """Estimated work of the sweep that counts neighbors, for one partition.

    Attributes
    ----------
    pairs : float
        Pairs of rows to compare.
    n_rows, n_features : int
    threads : int
    in_grid : bool
        Whether the rows are in a cell grid.
    """

    pairs: float
    n_rows: int
    n_features: int
    threads: int
    in_grid: bool

    def all_sweeps(self, distances: bool) -> CostEstimate:
        """Return the work of all sweeps, with or without distances to core rows."""
        without = _GRID_SWEEPS if self.in_grid else WITHOUT_DISTANCES
        pairs = self.pairs * (_ALL_SWEEPS if distances else without)
        in_tiles = distances or not self.in_grid
        seconds = estimate_seconds(pairs, self.n_rows, self.n_features, self.in_grid, in_tiles)
        return CostEstimate(pairs, float(seconds) / self.threads)


def sample_cost(
    shard: Shard, context: TaskContext, backend: str, min_weight: int, dtype: type[Any]
) -> SampledCost:
    """Run the counting sweep for a sample of rows, or for all where those are few and in a grid."""
    attempt, neighbors = current_attempt(shard), registry.get_neighbors(backend)
    partition = attempt.load(PartitionState).partition
    n_rows, n_features = partition.points.shape
    partition.in_grid = neighbors.uses_grid(partition.index, context.map)
    if n_rows <= _MAX_GRID_ROWS and partition.in_grid:
        count_within(attempt, context, backend, min_weight, dtype)
        return SampledCost(partition.n_distances, n_rows, n_features, context.threads, True)
    sampled = hash_sample_mask(partition.row_numbers, SAMPLE_ROWS, n_rows)
    weight_within = np.full(n_rows, min_weight, dtype)
    weight_within[sampled] = 0
    without_progress = TaskContext(context.threads).map
    n_distances = neighbors.count_neighbors(
        partition.index, partition.index, partition.weight, min_weight, weight_within,
        without_progress,
    )  # fmt: skip
    pairs = n_distances * n_rows / max(int(sampled.sum()), 1)
    return SampledCost(pairs, n_rows, n_features, context.threads, partition.in_grid)


def estimate_seconds(
    pairs: Any, n_rows: Any, n_features: int, in_grid: bool = False, in_tiles: bool = True
) -> Any:
    """Return the seconds that pairs and rows take on one thread, in a grid, in tiles or both."""
    per_pair = (n_features + _OVERHEAD_VALUES) * _SECONDS_PER_VALUE
    per_row = n_features * _SECONDS_PER_ROW_VALUE if in_tiles else 0.0
    if in_grid:
        per_pair, per_row = _SECONDS_PER_GRID_PAIR, per_row + _SECONDS_PER_GRID_ROW
    return pairs * per_pair + n_rows * per_row


def estimate_row_work(
    sample: NDArray[Any],
    eps_bounds: EpsBounds,
    min_samples: int,
    n_total: int,
    backend: str,
    parallel_map: ParallelMap,
) -> NDArray[np.float64]:
    """Return the seconds that each row of a sample, and the rows that it represents, will take.

    Rows that are not core are compared with all rows near them; the sample shows how many.
    """
    m, n_features = sample.shape
    if not m:
        return np.empty(0)
    power = 2 if eps_bounds.p == 2 else 1
    rdist_limit = eps_bounds.rdist_limit * _TILE_EPS**power
    within = _count_within(sample, eps_bounds, backend, parallel_map)
    wider = replace(eps_bounds, rdist_limit=rdist_limit)
    near = _count_within(sample, wider, backend, parallel_map)
    share = n_total / m
    is_core = (within - 1) * share + 1 >= min_samples
    pairs = np.where(is_core, _CORE_PAIRS, near * share * _ALL_SWEEPS)
    work: NDArray[np.float64] = estimate_seconds(pairs, 1.0, n_features)
    return work


def _count_within(
    sample: NDArray[Any], eps_bounds: EpsBounds, backend: str, parallel_map: ParallelMap
) -> NDArray[np.int64]:
    neighbors, counts = registry.get_neighbors(backend), np.zeros(len(sample), np.int64)
    index = neighbors.build_index(sample, eps_bounds, parallel_map)
    neighbors.count_neighbors(index, index, None, 2**62, counts, parallel_map)
    return counts


def total_cost(partitions: Sequence[SampledCost], distances: bool) -> CostEstimate:
    """Return the pairs of all partitions, and the seconds of the busiest one."""
    costs = [partition.all_sweeps(distances) for partition in partitions]
    return CostEstimate(sum(cost.distances for cost in costs), max(cost.seconds for cost in costs))
