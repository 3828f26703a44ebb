"""Exact quantiles of sharded columns, by radix selection on the sort keys of their values.

A float32 has a uint32 key that sorts as the values do. One pass counts the upper 16 bits of the
keys, which gives the bucket of each rank. A second pass counts the lower 16 bits within that
bucket, which gives the key of the rank. Counts are integers, so shards merge exactly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.sort_keys import float32_from_keys
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns


def quantiles(
    executor: Executor, backend: str, features: list[int], probabilities: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return exact quantiles of some features; NaN is ignored.

    Between two ranks the value is interpolated linearly, as by ``numpy.quantile``. Each feature
    must have at least one value.

    Returns
    -------
    float64 (len(features), len(probabilities))
    """
    high = _counts(executor, backend, features, None)
    ranks = [_ranks(int(counts.sum()), probabilities) for counts in high]
    prefixes = [
        np.searchsorted(np.cumsum(counts), rank, side="right").tolist()
        for counts, rank in zip(high, ranks, strict=True)
    ]
    low = _counts(executor, backend, features, prefixes)
    result = np.empty((len(features), len(probabilities)))
    for i, (rank, prefix) in enumerate(zip(ranks, prefixes, strict=True)):
        n_before = np.concatenate([[0], np.cumsum(high[i])])[prefix]
        suffix = [
            int(np.searchsorted(np.cumsum(counts), r, side="right"))
            for counts, r in zip(low[i], rank - n_before, strict=True)
        ]
        values = float32_from_keys(np.array(prefix) << 16 | np.array(suffix)).astype(np.float64)
        result[i] = _interpolate(values, int(high[i].sum()), probabilities)
    return result


def _counts(
    executor: Executor, backend: str, features: list[int], prefixes: list[list[int]] | None
) -> list[NDArray[np.int64]]:
    shards: list[list[Any]] = executor.map(columns.key_histogram, backend, features, prefixes)
    return [np.sum(counts, axis=0) for counts in zip(*shards, strict=True)]


def _ranks(count: int, probabilities: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the ranks below and above each probability, (2·len(probabilities),)."""
    position = np.array(probabilities) * (count - 1)
    return np.concatenate([np.floor(position), np.ceil(position)]).astype(np.int64)


def _interpolate(
    values: NDArray[np.float64], count: int, probabilities: tuple[float, ...]
) -> NDArray[np.float64]:
    below, above = values.reshape(2, -1)
    position = np.array(probabilities) * (count - 1)
    result: NDArray[np.float64] = below + (position - np.floor(position)) * (above - below)
    return result
