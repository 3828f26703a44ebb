"""The Yeo-Johnson transform, using only additions, multiplications and divisions.

It has the same bits on every processor, as `numerics.log1p` has:

    y = k·log 2 + r with an integer k and |r| <= ½·log 2,    e^r - 1 = r + r²/2! + … + r¹⁴/14!
    e^y - 1 = 2^k·(e^r - 1) + (2^k - 1)

The series ends where its next term is below 2^-60 of the sum; log 2 is split into two parts, so
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
"""Coefficients of r¹⁴, r¹³, …, r, in the order of Horner's rule."""

LARGEST = 700.0
"""Largest |y| of `expm1`: e^700 is far beyond float32 and still a float64."""


def expm1(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e^y - 1, float64, elementwise; y is clipped to ±`LARGEST`."""
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
    magnitude = log
    for t, rows in ((power, ~negative), (2.0 - power, negative)):
        if t != 0:
            magnitude = np.where(rows, expm1(t * log) / t, magnitude)
    result: NDArray[np.float64] = np.where(negative, -magnitude, magnitude)
    return result


def inverse_yeo_johnson(values: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return x from the values of the transform, float64; the last bits may differ by processor.

    With λ < 0 or λ > 2 the transform is bounded; values beyond its bound get the x of a value just
    within it.
    """
    negative = values < 0
    transformed = np.abs(values)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        magnitude = np.expm1(transformed)
        for t, rows in ((power, ~negative), (2.0 - power, negative)):
            if t != 0:
                within = np.maximum(t * transformed, 2.0**-40 - 1.0)
                magnitude = np.where(rows, np.expm1(np.log1p(within) / t), magnitude)
    result: NDArray[np.float64] = np.where(negative, -magnitude, magnitude)
    return result


def is_beyond_yeo_johnson(values: NDArray[np.float64], power: float) -> NDArray[np.bool_]:
    """Return which values no x has as its transform, bool: those beyond its bound.

    Values within the rounding of float32 of the bound do not count.
    """
    t = np.where(values < 0, 2.0 - power, power)
    beyond: NDArray[np.bool_] = t * np.abs(values) < -(1.0 + 2.0**-20)
    return beyond
