"""Random draws as hashes: a draw depends on the seed and on what it is for, on nothing else.

A generator that walks through the rows would give other draws for another partitioning.
A hash of (seed, stream, counter) does not, and needs no state on any worker.
"""

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.splitmix import mix

_BLOCK = 2**14
"""Rows hashed at once: a fresh array of every row costs more than hashing them."""

__all__ = ["drawn", "mix", "uniform"]


def drawn(index: NDArray[np.int64], wanted: int, of: int, seed: int = 0) -> NDArray[np.bool_]:
    """Draw about `wanted` of `of` rows, each by a hash of its number and the seed; bool (n,)."""
    last = np.uint64(min(wanted * 2**64 // max(of, 1), 2**64) - 1)
    own, key = np.empty(len(index), bool), mix(np.array([seed], np.uint64))
    for start in range(0, len(index), _BLOCK):
        rows = slice(start, start + _BLOCK)
        own[rows] = mix(index[rows].astype(np.uint64) ^ key) <= last
    return own


def uniform(seed: int, stream: int, count: int) -> NDArray[np.float64]:
    """Draw `count` numbers in [0, 1), float64 (count,), from (seed, stream)."""
    words = np.array([seed & 0xFFFFFFFFFFFFFFFF, stream], dtype=np.uint64)
    key = mix(mix(words[:1]) ^ words[1:])
    bits = mix(key ^ mix(np.arange(count, dtype=np.uint64)))
    drawn: NDArray[np.float64] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn
