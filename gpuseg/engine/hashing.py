"""Random draws as hashes: a draw depends on the seed and on what it is for, on nothing else.

A generator that walks through the rows would give other draws for another partitioning.
A hash of (seed, stream, counter) does not, and needs no state on any worker.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers, one to one.

    The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", OOPSLA 2014): a bijection, so distinct inputs stay distinct.
    """
    with np.errstate(over="ignore"):
        z = values + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def uniform(seed: int, stream: int, count: int) -> NDArray[np.float64]:
    """Draw `count` numbers in [0, 1), float64 (count,), from (seed, stream)."""
    words = np.array([seed & 0xFFFFFFFFFFFFFFFF, stream], dtype=np.uint64)
    key = mix(mix(words[:1]) ^ words[1:])
    bits = mix(key ^ mix(np.arange(count, dtype=np.uint64)))
    drawn: NDArray[np.float64] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn


def rows_digest(x: NDArray[np.float32], weight: NDArray[np.float64] | None, first_row: int) -> int:
    """Return a 64-bit digest of rows at their places; digests of runs of rows add, mod 2^64.

    A row's bits are multiplied with random odd numbers, one for each feature, added, and mixed
    with the row's place: another value, order of rows or order of columns gives another digest.
    """
    n, d = x.shape
    factors = mix(np.arange(d, dtype=np.uint64)) | np.uint64(1)
    place = mix(np.arange(first_row, first_row + n, dtype=np.uint64))
    with np.errstate(over="ignore"):
        bits = (x.view(np.uint32).astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
        if weight is not None:
            bits = mix(bits) ^ weight.view(np.uint64)
        return int(mix(mix(bits) ^ place).sum(dtype=np.uint64))
