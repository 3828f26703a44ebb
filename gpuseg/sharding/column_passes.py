"""Passes over the columns that run where a shard lives.

Each is called as ``function(shard, env, backend, ...)``, see `runtime.executor`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.backends.feature_transform import FeatureTransform
from gpuseg.numerics.hashing import drawn
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Block, Shard


def summarize(
    shard: Shard, env: TaskContext, backend: str, transform: NDArray[np.int64]
) -> ColumnSummary:
    """Summarise the columns of the shard; rows are those of the shard, from 0."""
    b = registry.get(backend)
    parts = shard.map_blocks(env, lambda block: b.summarize(block.x, transform, block.rows.start))
    return reduce(ColumnSummary.merge, parts, ColumnSummary.empty(shard.n_features))


def digest(shard: Shard, env: TaskContext, backend: str) -> int:
    """Return `Backend.digest` of the rows at their places in the data."""
    b = registry.get(backend)
    first = shard.first_row
    parts = shard.map_blocks(
        env, lambda block: b.digest(block.x, block.weight, first + block.rows.start)
    )
    return sum(parts) % 2**64


def key_histogram(
    shard: Shard,
    env: TaskContext,
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

    def added(a: list[NDArray[np.int64]], b: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        return [one + other for one, other in zip(a, b, strict=True)]

    return reduce(added, shard.map_blocks(env, count))


def prepare(shard: Shard, env: TaskContext, backend: str, preparation: FeatureTransform) -> None:
    """Apply the preparation to the rows of the shard."""
    b = registry.get(backend)
    shard.transform_rows(env, lambda x: b.prepare(x, preparation))


def select(shard: Shard, env: TaskContext, kept: list[int]) -> None:
    """Leave out all columns but some."""
    shard.transform_rows(env, lambda x: x[:, kept].copy())


def sample(
    shard: Shard, env: TaskContext, backend: str, wanted: int, of: int
) -> NDArray[np.float32]:
    """Return about `wanted` of `of` rows, drawn by a hash of their place in the data."""
    return placed_sample(shard, env, backend, wanted, of)[1]


def placed_sample(
    shard: Shard, env: TaskContext, backend: str, wanted: int, of: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows of `sample` behind their places in the data, int64 (m,) and (m, d)."""
    b = registry.get(backend)

    def on(block: Block) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        first = shard.first_row + block.rows.start
        index = np.arange(first, first + len(block.x))
        own = np.flatnonzero(drawn(index, wanted, of))
        return index[own], b.to_host(block.x, own)

    places, rows = zip(*shard.map_blocks(env, on), strict=True)
    return np.concatenate(places), np.concatenate(rows)


def gram(
    shard: Shard,
    env: TaskContext,
    backend: str,
    mean: NDArray[np.float64],
    grids: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return `Backend.gram` of the shard."""
    b = registry.get(backend)
    return reduce(np.add, shard.map_blocks(env, lambda block: b.gram(block.x, mean, grids)))


@dataclass(frozen=True)
class PowerRequest:
    """The arguments of `Backend.power_sums`, which see."""

    feature: int
    powers: NDArray[np.float64]
    origin: NDArray[np.float64]
    grids: NDArray[np.float64]


def power_sums(
    shard: Shard, env: TaskContext, backend: str, requests: list[PowerRequest], wanted: int, of: int
) -> tuple[int, list[NDArray[np.float64]]]:
    """Return `Backend.power_sums` for each request, and of how many rows.

    About `wanted` of all `of` rows are taken, drawn as those of `sample`.
    """
    b = registry.get(backend)

    def on(block: Block) -> tuple[int, list[NDArray[np.float64]]]:
        x = block.x
        if wanted < of:
            first = shard.first_row + block.rows.start
            rows = np.flatnonzero(drawn(np.arange(first, first + len(x)), wanted, of))
            x = b.to_host(x, rows)
        return len(x), [
            b.power_sums(x, own.feature, own.powers, own.origin, own.grids) for own in requests
        ]

    counts, sums = zip(*shard.map_blocks(env, on), strict=True)
    return sum(counts), [reduce(np.add, parts) for parts in zip(*sums, strict=True)]


def merged(parts: Sequence[ColumnSummary]) -> ColumnSummary:
    """Return the summary of several shards together; `first_*` are then meaningless."""
    return reduce(ColumnSummary.merge, parts)
