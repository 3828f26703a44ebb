"""The Yeo-Johnson transform from additions, multiplications and divisions alone.

For the same bits on every processor, as `numerics.log1p`:

    y = k·log 2 + r with whole k and |r| <= ½·log 2,    e^r - 1 = r + r²/2! + … + r¹⁴/14!
    e^y - 1 = 2^k·(e^r - 1) + (2^k - 1)

The series is cut where its next term is below 2^-60 of the sum; log 2 is taken in two parts, so
that k times the first is exact. With t = λ for x >= 0, and t = 2 - λ for x < 0,

    transform(x) = ±(e^(t·log(1 + |x|)) - 1) / t,    ±log(1 + |x|) where t = 0.

Source: Yeo and Johnson, "A new family of power transformations to improve normality or symmetry",
Biometrika 87 (2000).
"""

import math

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.log1p import log1p

INVERSE_LOG_2 = 1.4426950408889634
LOG_2_HIGH = 6.93147180369123816490e-01
LOG_2_LOW = 1.90821492927058770002e-10
FACTORIALS = tuple(1.0 / math.factorial(n) for n in range(14, 0, -1))
"""Coefficients of r¹⁴, r¹³, …, r: the order in which Horner's rule takes them."""

LARGEST = 700.0
"""Beyond it, e^y is no float32 by far; a bound keeps it a float64."""


def expm1(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e^y - 1, float64, elementwise; y beyond ±`LARGEST` is taken for that."""
    y = np.where(y > LARGEST, LARGEST, np.where(y < -LARGEST, -LARGEST, y))
    k = np.rint(y * INVERSE_LOG_2)
    r = (y - k * LOG_2_HIGH) - k * LOG_2_LOW
    series = np.full_like(r, FACTORIALS[0])
    for coefficient in FACTORIALS[1:]:
        series = series * r + coefficient
    with np.errstate(invalid="ignore"):  # NaN stays NaN, whatever its exponent
        power = np.ldexp(1.0, k.astype(np.int32))
    result: NDArray[np.float64] = power * (series * r) + (power - 1.0)
    return result


def yeo_johnson(x: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return the transform with λ = `power`, float64, elementwise; NaN stays NaN."""
    negative = x < 0
    log = log1p(np.abs(x))
    grown = log
    for t, rows in ((power, ~negative), (2.0 - power, negative)):
        if t != 0:
            grown = np.where(rows, expm1(t * log) / t, grown)
    result: NDArray[np.float64] = np.where(negative, -grown, grown)
    return result


def undone(values: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return x of the transform's values, float64; not to the last bit the same everywhere.

    With λ < 0 or λ > 2 the transform is bounded; what lies beyond becomes the x of what is just
    within.
    """
    negative = values < 0
    size = np.abs(values)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        grown = np.expm1(size)
        for t, rows in ((power, ~negative), (2.0 - power, negative)):
            if t != 0:
                within = np.maximum(t * size, 2.0**-40 - 1.0)
                grown = np.where(rows, np.expm1(np.log1p(within) / t), grown)
    result: NDArray[np.float64] = np.where(negative, -grown, grown)
    return result
