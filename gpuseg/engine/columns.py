"""Passes over the columns that run where a shard lives.

Each is called as ``function(shard, env, backend, ...)``, see `runtime.executor`.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.base import Preparation, Summary
from gpuseg.engine.shard import Shard
from gpuseg.runtime.executor import Env


def summarize(shard: Shard, env: Env, backend: str, transform: NDArray[np.int64]) -> Summary:
    """Summarise the columns of the shard; rows are those of `Shard.x`, from 0."""
    b = registry.get(backend)
    parts = env.map_blocks(
        lambda rows: b.summarize(shard.x[rows], transform, rows.start), shard.n_rows
    )
    return reduce(Summary.merge, parts, Summary.empty(shard.x.shape[1]))


def digest(shard: Shard, env: Env, backend: str) -> int:
    """Return `Backend.digest` of the rows at their places in the data."""
    b = registry.get(backend)

    def block(rows: slice) -> int:
        weight = None if shard.weight is None else shard.weight[rows]
        return b.digest(shard.x[rows], weight, shard.first_row + rows.start)

    return sum(env.map_blocks(block, shard.n_rows)) % 2**64


def key_histogram(
    shard: Shard, env: Env, backend: str, features: list[int], prefixes: list[list[int]] | None
) -> list[NDArray[np.int64]]:
    """Return `Backend.key_histogram` for each of the features."""
    b = registry.get(backend)

    def count(rows: slice) -> list[NDArray[np.int64]]:
        return [
            b.key_histogram(
                np.ascontiguousarray(shard.x[rows, f]), None if prefixes is None else prefixes[i]
            )
            for i, f in enumerate(features)
        ]

    def added(a: list[NDArray[np.int64]], b: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        return [one + other for one, other in zip(a, b, strict=True)]

    return reduce(added, env.map_blocks(count, shard.n_rows))


def prepare(shard: Shard, env: Env, backend: str, preparation: Preparation) -> None:
    """Apply the preparation to the shard, in place."""
    b = registry.get(backend)
    for _ in env.map_blocks(lambda rows: b.prepare(shard.x[rows], preparation), shard.n_rows):
        pass


def merged(parts: Sequence[Summary]) -> Summary:
    """Return the summary of several shards together; `first_*` are then meaningless."""
    return reduce(Summary.merge, parts)
