"""Random draws as hashes: a draw depends only on the seed and on what it is for.

A generator that steps through the rows would give other draws for another partitioning.
A hash of (seed, stream, counter) does not, and needs no state on any worker.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)

_BLOCK = 2**14
"""Rows hashed at once: allocating an array for every row costs more than hashing them."""


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers, one to one.

    The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", OOPSLA 2014): a bijection, so distinct inputs stay distinct.
    """
    with np.errstate(over="ignore"):
        z: NDArray[np.uint64] = np.add(values, GOLDEN)
        upper = np.empty_like(z)
        for shift, factor in ((30, MIX_1), (27, MIX_2), (31, None)):
            np.right_shift(z, np.uint64(shift), out=upper)
            z ^= upper
            if factor is not None:
                z *= factor
    return z


def hash_sample_mask(
    index: NDArray[np.int64], n_samples: int, n_total: int, seed: int = 0
) -> NDArray[np.bool_]:
    """Sample about `n_samples` of `n_total` rows by a hash of row index and seed; bool (n,)."""
    last = np.uint64(min(n_samples * 2**64 // max(n_total, 1), 2**64) - 1)
    mask, key = np.empty(len(index), bool), splitmix64(np.array([seed], np.uint64))
    for start in range(0, len(index), _BLOCK):
        rows = slice(start, start + _BLOCK)
        mask[rows] = splitmix64(index[rows].astype(np.uint64) ^ key) <= last
    return mask


def hash_uniform(seed: int, stream: int, count: int) -> NDArray[np.float64]:
    """Draw `count` numbers in [0, 1), float64 (count,), from (seed, stream)."""
    draws: NDArray[np.float64] = hash_uniform_streams(seed, [stream], count)[0]
    return draws


def hash_uniform_streams(seed: int, streams: Sequence[int], count: int) -> NDArray[np.float64]:
    """Return `hash_uniform` of several streams, float64 (streams, count)."""
    words = np.array([seed & 0xFFFFFFFFFFFFFFFF, *streams], dtype=np.uint64)
    key = splitmix64(splitmix64(words[:1]) ^ words[1:])
    bits = splitmix64(key[:, None] ^ splitmix64(np.arange(count, dtype=np.uint64)))
    draws: NDArray[np.float64] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return draws
