"""Exact quantiles of sharded columns, by radix selection on the values' sort keys.

A float32 has a uint32 key that sorts as the values do. One pass counts the keys' upper 16
bits; that tells in which bucket a rank falls. A second pass counts the lower 16 bits within
that bucket, and the rank's key is known. Counts are integers, so shards merge exactly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.sort_keys import values_of
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns


def quantiles(
    executor: Executor, backend: str, features: list[int], probabilities: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return exact quantiles of some features, NaN left out.

    Between two ranks the value is interpolated linearly, as by ``numpy.quantile``. The
    features must have at least one value each.

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
        before = np.concatenate([[0], np.cumsum(high[i])])[prefix]
        suffix = [
            int(np.searchsorted(np.cumsum(counts), r, side="right"))
            for counts, r in zip(low[i], rank - before, strict=True)
        ]
        values = values_of(np.array(prefix) << 16 | np.array(suffix)).astype(np.float64)
        result[i] = _interpolated(values, int(high[i].sum()), probabilities)
    return result


def _counts(
    executor: Executor, backend: str, features: list[int], prefixes: list[list[int]] | None
) -> list[NDArray[np.int64]]:
    shards: list[list[Any]] = executor.map(columns.key_histogram, backend, features, prefixes)
    return [np.sum(parts, axis=0) for parts in zip(*shards, strict=True)]


def _ranks(count: int, probabilities: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the ranks below and above each probability, (2·len(probabilities),)."""
    place = np.array(probabilities) * (count - 1)
    return np.concatenate([np.floor(place), np.ceil(place)]).astype(np.int64)


def _interpolated(
    values: NDArray[np.float64], count: int, probabilities: tuple[float, ...]
) -> NDArray[np.float64]:
    below, above = values.reshape(2, -1)
    place = np.array(probabilities) * (count - 1)
    result: NDArray[np.float64] = below + (place - np.floor(place)) * (above - below)
    return result
