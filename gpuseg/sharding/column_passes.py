"""Passes over the columns of a shard.

Each is called as ``function(shard, context, ...)``, see `runtime.executor`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Block, Shard


def summarize(
    shard: Shard, context: TaskContext, backend: str, transform: NDArray[np.int64]
) -> ColumnSummary:
    """Summarise the columns of the shard; rows are numbered from 0 in the shard."""
    b = registry.get(backend)
    summaries = shard.map_blocks(
        context, lambda block: b.summarize(block.x, transform, block.rows.start)
    )
    first = next(summaries, None) or ColumnSummary.empty(shard.n_features)
    return reduce(ColumnSummary.merge, summaries, first)


def merge_summaries(summaries: Sequence[ColumnSummary]) -> ColumnSummary:
    """Return the summary of several shards together; its `firsts` have no meaning."""
    return reduce(ColumnSummary.merge, summaries)


def digest(shard: Shard, context: TaskContext, backend: str) -> int:
    """Return `Backend.digest` of the rows, numbered as in the whole data."""
    b = registry.get(backend)
    first = shard.first_row
    digests = shard.map_blocks(
        context, lambda block: b.digest(block.x, block.weight, first + block.rows.start)
    )
    return sum(digests) % 2**64


def key_histogram(
    shard: Shard,
    context: TaskContext,
    backend: str,
    features: list[int],
    prefixes: list[list[int]] | None,
) -> list[NDArray[np.int64]]:
    """Return `Backend.key_histogram` for each of the features."""
    b = registry.get(backend)

    def count(block: Block) -> list[NDArray[np.int64]]:
        return [
            b.key_histogram(block.x, f, None if prefixes is None else prefixes[i])
            for i, f in enumerate(features)
        ]

    def add(
        total: list[NDArray[np.int64]], counts: list[NDArray[np.int64]]
    ) -> list[NDArray[np.int64]]:
        return [one + other for one, other in zip(total, counts, strict=True)]

    return reduce(add, shard.map_blocks(context, count))


def prepare(shard: Shard, context: TaskContext, backend: str, transform: FeatureTransform) -> None:
    """Apply a transform to the rows of the shard."""
    b = registry.get(backend)
    shard.transform_rows(context, lambda x: b.prepare(x, transform))


def select_columns(shard: Shard, context: TaskContext, kept: list[int]) -> None:
    """Drop all columns except those at the indices `kept`."""
    shard.transform_rows(context, lambda x: x[:, kept].copy())


def sample(
    shard: Shard, context: TaskContext, backend: str, n_samples: int, n_total: int
) -> NDArray[np.float32]:
    """Sample about `n_samples` of `n_total` rows, by a hash of their index in the data."""
    return sample_with_index(shard, context, backend, n_samples, n_total)[1]


def sample_with_index(
    shard: Shard, context: TaskContext, backend: str, n_samples: int, n_total: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the indices in the data and the rows of `sample`, int64 (m,) and float32 (m, d)."""
    b = registry.get(backend)

    def sample_block(block: Block) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        first = shard.first_row + block.rows.start
        index = np.arange(first, first + len(block.x))
        sampled = np.flatnonzero(hash_sample_mask(index, n_samples, n_total))
        return index[sampled], b.to_host(block.x, sampled)

    indices, rows = zip(*shard.map_blocks(context, sample_block), strict=True)
    return np.concatenate(indices), np.concatenate(rows)


def gram(
    shard: Shard,
    context: TaskContext,
    backend: str,
    mean: NDArray[np.float64],
    grids: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return `Backend.gram` of the shard."""
    b = registry.get(backend)
    return reduce(np.add, shard.map_blocks(context, lambda block: b.gram(block.x, mean, grids)))


@dataclass(frozen=True)
class PowerRequest:
    """Arguments of `Backend.power_sums`."""

    feature: int
    powers: NDArray[np.float64]
    origin: NDArray[np.float64]
    grids: NDArray[np.float64]


def power_sums(
    shard: Shard,
    context: TaskContext,
    backend: str,
    requests: list[PowerRequest],
    n_samples: int,
    n_total: int,
) -> tuple[int, list[NDArray[np.float64]]]:
    """Return the number of rows used and `Backend.power_sums` of them for each request.

    About `n_samples` of `n_total` rows are used, the same ones as by `sample`.
    """
    b = registry.get(backend)

    def sum_block(block: Block) -> tuple[int, list[NDArray[np.float64]]]:
        x = block.x
        if n_samples < n_total:
            first = shard.first_row + block.rows.start
            index = np.arange(first, first + len(x))
            x = b.to_host(x, np.flatnonzero(hash_sample_mask(index, n_samples, n_total)))
        return len(x), [b.power_sums(x, r.feature, r.powers, r.origin, r.grids) for r in requests]

    counts, sums = zip(*shard.map_blocks(context, sum_block), strict=True)
    return sum(counts), [reduce(np.add, parts) for parts in zip(*sums, strict=True)]
