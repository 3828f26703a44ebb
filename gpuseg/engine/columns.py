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


def key_histogram(
    shard: Shard, env: Env, backend: str, features: list[int], prefixes: list[list[int]] | None
) -> list[NDArray[np.int64]]:
    """Return `Backend.key_histogram` for each of the features."""
    b = registry.get(backend)

    def count(i: int) -> NDArray[np.int64]:
        column = np.ascontiguousarray(shard.x[:, features[i]])
        return b.key_histogram(column, None if prefixes is None else prefixes[i])

    return list(env.map(count, range(len(features))))


def prepare(shard: Shard, env: Env, backend: str, preparation: Preparation) -> None:
    """Apply the preparation to the shard, in place."""
    b = registry.get(backend)
    for _ in env.map_blocks(lambda rows: b.prepare(shard.x[rows], preparation), shard.n_rows):
        pass


def merged(parts: Sequence[Summary]) -> Summary:
    """Return the summary of several shards together; `first_*` are then meaningless."""
    return reduce(Summary.merge, parts)
