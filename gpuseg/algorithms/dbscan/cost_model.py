"""How much work DBSCAN will be, from some of the rows: pairs of rows, and seconds.

The sweep that counts neighbours is run for a hashed sample of the rows of each region, against
all rows of the region, and its pairs are multiplied up. What the other sweeps add was found by
measuring: a row that is not core looks about as far when it is claimed, and farther when it
searches for its nearest core row; most links need no look. Over twelve data sets of 2 to 32
features and 3 to 95 % noise the forecast was within a factor of 1.6 of the pairs looked at
(`benchmarks/dbscan_work.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.partition_state import region_of
from gpuseg.backends import registry
from gpuseg.backends.protocols import ParallelMap
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

SAMPLE_ROWS = 2**12

_ALL_SWEEPS, WITHOUT_DISTANCES = 3.6, 2.0
"""Pairs of all sweeps, as multiples of those of the first."""

_SECONDS_PER_VALUE = 3.8e-11
_VALUES_BESIDES = 16
_SECONDS_PER_ROW_VALUE = 2.4e-7
"""On one thread: for each feature of a pair, with what a pair takes besides, and of a row."""

_GRID_SWEEPS = 1.2
_SECONDS_PER_GRID_PAIR, _SECONDS_PER_GRID_ROW = 8e-9, 1.4e-7
"""The same for rows in a grid. Distances are found in tiles, which have to be laid out, too."""

_WHOLE_ROWS = 2**20
"""No more rows in a grid are counted at once: passing over all to look at some takes as long."""

_CORE_PAIRS = 256
"""That a row in a dense place is compared with, about: its own tile, mostly, and links."""

_REACH_OF_TILES = 2.0
"""A row that is not core looks at tiles of which some row may be within eps: about so far."""


@dataclass(frozen=True)
class CostEstimate:
    """What clustering will take.

    Attributes
    ----------
    pairs : float
        Of rows whose distance is computed, by all shards together.
    seconds : float
        Of the busiest shard. Measured on processors of a server; a GPU is faster.
    """

    pairs: float
    seconds: float


@dataclass(frozen=True)
class FirstSweep:
    """The sweep that counts neighbours, for one region, as a sample of its rows tells.

    Attributes
    ----------
    pairs : float
    n, d : int
        Rows and features.
    threads : int
    in_grid : bool
        Whether rows lie in a grid.
    """

    pairs: float
    n: int
    d: int
    threads: int
    in_grid: bool

    def whole(self, distances: bool) -> CostEstimate:
        """Return the work of all sweeps."""
        without = _GRID_SWEEPS if self.in_grid else WITHOUT_DISTANCES
        pairs = self.pairs * (_ALL_SWEEPS if distances else without)
        in_tiles = distances or not self.in_grid
        seconds = seconds_of(pairs, self.n, self.d, self.in_grid, in_tiles)
        return CostEstimate(pairs, float(seconds) / self.threads)


def count_some(shard: Shard, env: TaskContext, backend: str, least: int) -> FirstSweep:
    """Run the first sweep for some rows, or for all where they are few and lie in a grid."""
    own, b = region_of(shard), registry.get_neighbors(backend)
    n, d = own.points.shape
    own.in_grid = b.uses_grid(own.layout, env.map)
    if n <= _WHOLE_ROWS and own.in_grid:
        own.count(b, least, env.map)
        return FirstSweep(own.looked, n, d, env.threads, True)
    some = hash_sample_mask(own.index, SAMPLE_ROWS, n)
    found = np.full(n, least, own.found.dtype)
    found[some] = 0
    silent = TaskContext(env.threads).map
    looked = b.count_neighbors(own.layout, own.layout, own.weight, least, found, silent)
    pairs = looked * n / max(int(some.sum()), 1)
    return FirstSweep(pairs, n, d, env.threads, own.in_grid)


def seconds_of(
    pairs: Any, rows: Any, n_features: int, in_grid: bool = False, in_tiles: bool = True
) -> Any:
    """Return the seconds that pairs and rows take on one thread, laid out in one way or both."""
    a_pair = (n_features + _VALUES_BESIDES) * _SECONDS_PER_VALUE
    a_row = n_features * _SECONDS_PER_ROW_VALUE if in_tiles else 0.0
    if in_grid:
        a_pair, a_row = _SECONDS_PER_GRID_PAIR, a_row + _SECONDS_PER_GRID_ROW
    return pairs * a_pair + rows * a_row


def work_of_rows(
    sample: NDArray[Any],
    reach: EpsBounds,
    min_samples: int,
    n_total: int,
    backend: str,
    each: ParallelMap,
) -> NDArray[np.float64]:
    """Return the seconds that each row of a sample, and those that it stands for, will take.

    Rows that will not be core are compared with all that is near; the sample tells how much.
    """
    m, d = sample.shape
    if not m:
        return np.empty(0)
    wider = replace(reach, rdist_limit=reach.rdist_limit * _REACH_OF_TILES**reach.p)
    within, near = (_count_all(sample, own, backend, each) for own in (reach, wider))
    share = n_total / m
    is_core = (within - 1) * share + 1 >= min_samples
    pairs = np.where(is_core, _CORE_PAIRS, near * share * _ALL_SWEEPS)
    work: NDArray[np.float64] = seconds_of(pairs, 1.0, d)
    return work


def _count_all(
    sample: NDArray[Any], reach: EpsBounds, backend: str, each: ParallelMap
) -> NDArray[np.int64]:
    b, found = registry.get_neighbors(backend), np.zeros(len(sample), np.int64)
    layout = b.build_index(sample, reach, each)
    b.count_neighbors(layout, layout, None, 2**62, found, each)
    return found


def forecast_of(regions: Sequence[FirstSweep], distances: bool) -> CostEstimate:
    """Return the work of all regions: their pairs, and the seconds of the busiest."""
    works = [region.whole(distances) for region in regions]
    return CostEstimate(sum(work.pairs for work in works), max(work.seconds for work in works))
