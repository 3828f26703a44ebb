"""Scrambling of 64-bit integers: the root of all hashes and draws."""

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
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
