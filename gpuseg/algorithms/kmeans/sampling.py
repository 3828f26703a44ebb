"""A sample of the data for seeding: weighted, hashed, the same for any sharding of the rows.

The rows are laid out on the axis of cumulated weight: row i covers the interval from the weight
of all rows before it to that plus its own. The axis is divided into equal intervals, one for each
row of the sample, and a hash of the seed chooses a position in each; the row at that position is
drawn. Neither the sharding nor the order of any sum matters, and a row of weight 5 is drawn exactly
as 5 consecutive copies of it would be.

Equal rows are then merged, their weights added, and the sample is ordered by the content of the
rows: seeding gets the same sample for copies and weights, and for any order of few rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import DataStatistics
from gpuseg.backends import registry
from gpuseg.backends.digest import digest_factors
from gpuseg.numerics.hashing import hash_uniform, splitmix64
from gpuseg.numerics.sum_grid import on_grid
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding.shard import Block, Shard

SAMPLE_ROWS = 32_768
SAMPLE_ROWS_PER_CENTER = 64

_SAMPLE_STREAM = 0

_VALUES_PER_STEP = 2**14
"""Values hashed at a time, in the cache."""


@dataclass(frozen=True)
class SeedingSample:
    """Rows that represent the data in seeding.

    Attributes
    ----------
    x : float32 (m, d)
    weight : float64 (m,) or None
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float64] | None

    def shard(self) -> Shard:
        """Return the sample as a shard."""
        return Shard(self.x, self.weight)


class BlockWeight(NamedTuple):
    """Position of the first row of a block in the shard, and Σ w of its rows, on the grid."""

    first_row: int
    weight: float


@dataclass(frozen=True)
class ShardWeight:
    """Weight of a shard.

    Attributes
    ----------
    blocks : tuple of BlockWeight
    whole_numbers : bool
        Whether all weights are whole numbers.
    """

    blocks: tuple[BlockWeight, ...]
    whole_numbers: bool

    @property
    def total(self) -> float:
        """Σ w of the shard; exact, since all are multiples of one power of two."""
        return sum(block.weight for block in self.blocks)


@dataclass(frozen=True)
class Positions:
    """Positions on the axis of cumulated weight that are in one shard.

    Attributes
    ----------
    positions : float64 (m,)
        Measured from the start of the data.
    before : float
        Weight of all shards before this one.
    """

    positions: NDArray[np.float64]
    before: float


class WeightedSample(NamedTuple):
    """Rows, float32 (m, d), and their weights, float64 (m,)."""

    x: NDArray[np.float32]
    weight: NDArray[np.float64]


def sample_size(k: int) -> int:
    """Return how many rows a sample for seeding k centers has."""
    return max(SAMPLE_ROWS, SAMPLE_ROWS_PER_CENTER * k)


def draw_sample(
    executor: Executor, backend: str, statistics: DataStatistics, k: int, random_state: int
) -> SeedingSample:
    """Draw the sample for seeding k centers.

    Data with no more rows than the sample is taken completely. Weights that are whole numbers
    count rows: a row of weight 5 counts as five rows, one of weight 0 as none.
    """
    size = sample_size(k)
    magic = float(statistics.sum_grid().weight[0])
    shards = executor.map(weigh, backend, magic)
    total = sum(shard.total for shard in shards)
    whole_numbers = all(shard.whole_numbers for shard in shards)
    if (total if whole_numbers else statistics.n_rows) <= size:
        parts = executor.map(all_rows, backend)
    else:
        draws = hash_uniform(random_state, _SAMPLE_STREAM, size)
        positions = (np.arange(size) + draws) * (total / size)
        starts = [0.0, *accumulate(shard.total for shard in shards)]
        shares = [
            Positions(positions[(positions >= low) & (positions < high)], low)
            for low, high, shard in zip(starts[:-1], starts[1:], shards, strict=True)
        ]
        drawn = executor.map(rows_at, backend, magic, per_shard=shares)
        parts = [WeightedSample(x, np.ones(len(x))) for x in drawn]
    return merge_equal(*_concatenate(parts))


def merge_equal(x: NDArray[np.float32], weight: NDArray[np.float64]) -> SeedingSample:
    """Return the distinct rows of positive weight, each with the weight of all its copies."""
    if not weight.all():
        x, weight = x[weight > 0], weight[weight > 0]
    x = x + np.float32(0)  # -0.0 equals 0.0
    keys = _content_keys(x)
    order = np.argsort(keys, kind="stable")
    x, weight, keys = x[order], weight[order], keys[order]
    is_first = np.append(True, keys[1:] != keys[:-1])
    others = np.flatnonzero(~is_first)
    is_first[others] = (x[others] != x[others - 1]).any(axis=1)
    if is_first.all():
        return SeedingSample(x, None if (weight == 1).all() else weight)
    merged = np.add.reduceat(weight, np.flatnonzero(is_first))
    return SeedingSample(x[is_first], None if (merged == 1).all() else merged)


def _content_keys(x: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a hash of the bits of each row, uint64 (n,)."""
    factors, sums = digest_factors(x.shape[1]), np.empty(len(x), np.uint64)
    n_rows = max(_VALUES_PER_STEP // x.shape[1], 1)
    for start in range(0, len(x), n_rows):
        rows = slice(start, start + n_rows)
        bits = x[rows].view(np.uint32).astype(np.uint64)
        sums[rows] = np.multiply(bits, factors, out=bits).sum(axis=1, dtype=np.uint64)
    return splitmix64(sums)


def weigh(shard: Shard, context: TaskContext, backend: str, magic: float) -> ShardWeight:
    """Return the weight of the shard, block by block."""
    if not shard.weighted:
        return ShardWeight((BlockWeight(0, float(shard.n_rows)),), True)

    b = registry.get(backend)

    def weigh_block(block: Block) -> tuple[BlockWeight, bool]:
        weight = b.to_host(block.weights())
        whole_numbers = bool((weight == np.floor(weight)).all())
        total = float(on_grid(weight, magic).sum())
        return BlockWeight(block.rows.start, total), whole_numbers

    weights = list(shard.map_blocks(context, weigh_block))
    return ShardWeight(
        tuple(block for block, _ in weights), all(whole_numbers for _, whole_numbers in weights)
    )


def rows_at(
    shard: Shard, context: TaskContext, backend: str, magic: float, share: Positions
) -> NDArray[np.float32]:
    """Return the rows at some positions on the axis of cumulated weight."""
    b = registry.get(backend)
    start_by_row, start = {}, share.before
    if shard.weighted:  # weighed again: a shard that was rebuilt may have other blocks
        for first_row, weight in weigh(shard, context, backend, magic).blocks:
            start_by_row[first_row] = start
            start += weight

    def rows_in_block(block: Block) -> NDArray[np.float32]:
        if block.weight is None:
            index = np.floor(share.positions - share.before).astype(np.int64) - block.rows.start
            return b.to_host(block.x, index[(index >= 0) & (index < len(block.x))])
        if not len(block.x):
            return b.to_host(block.x)
        low = start_by_row[block.rows.start]
        ends = low + np.cumsum(on_grid(b.to_host(block.weight), magic))
        inside = share.positions[(share.positions >= low) & (share.positions < ends[-1])]
        return b.to_host(block.x, np.searchsorted(ends, inside, side="right"))

    return np.concatenate(list(shard.map_blocks(context, rows_in_block)))


def all_rows(shard: Shard, context: TaskContext, backend: str) -> WeightedSample:
    """Return the rows of positive weight; only for few rows."""
    b = registry.get(backend)

    def rows_in_block(block: Block) -> WeightedSample:
        if block.weight is None:
            return WeightedSample(b.to_host(block.x), np.ones(len(block.x)))
        weight = b.to_host(block.weight)
        return WeightedSample(b.to_host(block.x, np.flatnonzero(weight > 0)), weight[weight > 0])

    return _concatenate(list(shard.map_blocks(context, rows_in_block)))


def _concatenate(parts: Sequence[WeightedSample]) -> WeightedSample:
    """Return all rows, in the order of the parts; those of a single part are not copied."""
    if len(parts) == 1:
        return parts[0]
    return WeightedSample(
        np.concatenate([part.x for part in parts]), np.concatenate([part.weight for part in parts])
    )
