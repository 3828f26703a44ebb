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
