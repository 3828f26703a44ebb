"""Sums that do not depend on the order of their terms.

There are two methods:

* `grid_magic`, if a bound of the terms is known. Each term is rounded to a multiple of a power
  of two q, chosen so that every partial sum is a multiple of q below 2^53·q, hence exact in
  float64. Any order, thread count or sharding gives the same bits, for two extra additions per
  term. (Pre-rounding: Demmel and Nguyen, "Fast reproducible floating-point summation",
  ARITH 2013.)
* `numerics.moments.Moments`, if nothing is known yet, as in the first pass over the data. The
  significands of float32 values are added as integers, one integer per exponent, so Σx and Σx²
  are exact.
"""

import math

import numpy as np
from numpy.typing import NDArray

_LOWEST_EXPONENT = -900


def grid_magic(n_terms: int, largest: float) -> float:
    """Return the rounding constant M: ``(v + M) - M`` rounds v to the grid for `n_terms` terms.

    With n·largest < 2^e and q = 2^(e-52), M = 1.5·2^52·q: a term is at most 2^51·q for n >= 2,
    so v + M stays within M's binade, whose spacing is q; and n terms, each rounded by at
    most q/2, add up to at most 2^52·q + n·q/2 <= 2^53·q, where all multiples of q are exact.

    Parameters
    ----------
    n_terms : int
        Upper bound of the number of terms, over all shards; at most 2^52.
    largest : float
        Upper bound of their magnitude.

    Returns
    -------
    float
        1.5·2^e. The rounding error of a term is at most q/2 = 2^(e-53). Terms below 2^-900 are
        rounded to zero.

    Raises
    ------
    ValueError
        If n_terms·largest is not finite.
    """
    if not math.isfinite(n_terms * largest):
        raise ValueError(f"n_terms * largest = {n_terms * largest}: must be finite")
    exponent = math.frexp(max(n_terms, 2) * largest * (1.0 + 2.0**-50))[1]
    return math.ldexp(1.5, max(exponent, _LOWEST_EXPONENT))


def finer_magic(n_terms: int, magic: float) -> float:
    """Return the M of the second grid, for the remainders of the grid of `magic`.

    The remainders are at most q/2 = magic / (1.5·2^53) each.
    """
    return grid_magic(n_terms, magic / 1.5 * 2.0**-53)


def grid_magics(n_terms: int, largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `grid_magic` of each element, float64.

    Raises
    ------
    ValueError
        If a product n_terms·largest is not finite.
    """
    if not math.isfinite(n_terms * float(np.max(largest, initial=0.0))):
        raise ValueError("n_terms * largest: must be finite")
    exponents = np.frexp(max(n_terms, 2) * largest * (1.0 + 2.0**-50))[1]
    magics: NDArray[np.float64] = np.ldexp(1.5, np.maximum(exponents, _LOWEST_EXPONENT))
    return magics


def finer_magics(n_terms: int, magics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `finer_magic` of each element, float64."""
    return grid_magics(n_terms, magics / 1.5 * 2.0**-53)
