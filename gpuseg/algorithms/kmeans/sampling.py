"""A sample of the data for seeding: weighted, hashed, the same however the rows are filed.

The rows lie one after the other on the axis of cumulated weight, row i from the weight of all
rows before it to that plus its own. The axis is cut into equal intervals, one for each row of
the sample, and a hash of the seed chooses a position in each; the row there is drawn. Neither
the sharding nor the order of any sum enters, and a row of weight 5 is met exactly as 5 copies
of it, one after the other, would be.

Rows that are equal are then merged, their weights added, and the sample is ordered by what is
in the rows: seeding sees the same for copies and weights, and for any order of few rows.
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.statistics import DataStatistics
from gpuseg.backends import registry
from gpuseg.backends.digest import digest_factors
from gpuseg.numerics.hashing import hash_uniform, splitmix64
from gpuseg.numerics.sum_grid import on_grid
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding.shard import Block, Shard

SAMPLE_ROWS = 32_768
SAMPLE_ROWS_PER_CENTER = 64

_SAMPLE_STREAM = 0


@dataclass(frozen=True)
class Sample:
    """Rows that stand for the data in seeding.

    Attributes
    ----------
    x : float32 (m, d)
    weight : float64 (m,) or None
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float64] | None

    def shard(self) -> Shard:
        """Return the sample as a shard of its own."""
        return Shard(self.x, self.weight)


def sample_size(k: int) -> int:
    """Return how many rows a sample for seeding k centres has."""
    return max(SAMPLE_ROWS, SAMPLE_ROWS_PER_CENTER * k)


def draw_sample(
    executor: Executor, backend: str, measured: DataStatistics, k: int, seed: int
) -> Sample:
    """Draw the sample for seeding k centres.

    Data of no more rows than the sample is taken whole. Whole numbers as weights count rows: a
    row of weight 5 is five rows then, one of weight 0 none.
    """
    size = sample_size(k)
    magic = float(measured.sum_grid().weight[0])
    shards = executor.map(weigh, backend, magic)
    total = sum(own.total for own in shards)
    whole_numbers = all(own.whole_numbers for own in shards)
    if (total if whole_numbers else measured.n_rows) <= size:
        parts = executor.map(all_rows, backend)
    else:
        at = (np.arange(size) + hash_uniform(seed, _SAMPLE_STREAM, size)) * (total / size)
        starts = [0.0, *accumulate(own.total for own in shards)]
        shares = [
            Positions(at[(at >= low) & (at < high)], low, own.blocks)
            for low, high, own in zip(starts[:-1], starts[1:], shards, strict=True)
        ]
        rows = executor.map(rows_at, backend, magic, per_shard=shares)
        parts = [(x, np.ones(len(x))) for x in rows]
    return merge_equal(np.concatenate([x for x, _ in parts]), np.concatenate([w for _, w in parts]))


def merge_equal(x: NDArray[np.float32], weight: NDArray[np.float64]) -> Sample:
    """Return the distinct rows of positive weight, each with the weight of all its copies."""
    x = x[weight > 0] + np.float32(0)  # -0.0 equals 0.0
    weight = weight[weight > 0]
    bits = x.view(np.uint32).astype(np.uint64)
    with np.errstate(over="ignore"):
        key = splitmix64((bits * digest_factors(x.shape[1])).sum(axis=1, dtype=np.uint64))
    order = np.argsort(key, kind="stable")
    x, weight = x[order], weight[order]
    first = np.flatnonzero(np.append(True, (x[1:] != x[:-1]).any(axis=1)))
    merged = np.add.reduceat(weight, first)
    return Sample(x[first], None if (merged == 1).all() else merged)


@dataclass(frozen=True)
class Weighed:
    """What a shard weighs.

    Attributes
    ----------
    blocks : tuple of (int, float)
        First row and Σ w of each block, each weight on the grid.
    whole_numbers : bool
        Whether all weights are whole numbers.
    """

    blocks: tuple[tuple[int, float], ...]
    whole_numbers: bool

    @property
    def total(self) -> float:
        """Σ w of the shard; exact, since all are multiples of one power of two."""
        return sum(weight for _, weight in self.blocks)


@dataclass(frozen=True)
class Positions:
    """Positions on the axis of cumulated weight that fall into one shard.

    Attributes
    ----------
    at : float64 (m,)
        From the start of the data.
    before : float
        Weight of all shards before this one.
    blocks : as in `Weighed`
    """

    at: NDArray[np.float64]
    before: float
    blocks: tuple[tuple[int, float], ...]


def weigh(shard: Shard, env: TaskContext, backend: str, magic: float) -> Weighed:
    """Weigh the shard, block by block."""
    if not shard.weighted:
        return Weighed(((0, float(shard.n_rows)),), True)

    b = registry.get(backend)

    def on(block: Block) -> tuple[int, float, bool]:
        weight = b.to_host(block.weights())
        whole = bool((weight == np.floor(weight)).all())
        return block.rows.start, float(on_grid(weight, magic).sum()), whole

    found = list(shard.map_blocks(env, on))
    return Weighed(tuple((start, own) for start, own, _ in found), all(w for *_, w in found))


def rows_at(
    shard: Shard, env: TaskContext, backend: str, magic: float, share: Positions
) -> NDArray[np.float32]:
    """Return the rows that lie at some positions on the axis of cumulated weight."""
    b = registry.get(backend)
    starts, weights = zip(*share.blocks, strict=True)
    befores = dict(zip(starts, accumulate(weights, initial=share.before), strict=False))

    def on(block: Block) -> NDArray[np.float32]:
        if block.weight is None:
            index = np.floor(share.at - share.before).astype(np.int64) - block.rows.start
            return b.to_host(block.x, index[(index >= 0) & (index < len(block.x))])
        if not len(block.x):
            return b.to_host(block.x)
        before = befores[block.rows.start]
        after = before + np.cumsum(on_grid(b.to_host(block.weight), magic))
        inside = share.at[(share.at >= before) & (share.at < after[-1])]
        return b.to_host(block.x, np.searchsorted(after, inside, side="right"))

    return np.concatenate(list(shard.map_blocks(env, on)))


def all_rows(
    shard: Shard, env: TaskContext, backend: str
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the rows of positive weight and their weights; only where they are few."""

    def on(block: Block) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        weight = b.to_host(block.weights())
        return b.to_host(block.x, np.flatnonzero(weight > 0)), weight[weight > 0]

    b = registry.get(backend)
    parts = list(shard.map_blocks(env, on))
    return np.concatenate([x for x, _ in parts]), np.concatenate([w for _, w in parts])
