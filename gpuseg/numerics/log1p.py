"""log(1 + x), using only additions, multiplications and divisions.

The logarithms of libraries differ in the last bits from one processor to the next. IEEE 754 fixes
the results of + - × ÷, so this formula gives the same bits on every CPU and GPU:

    u = 1 + x = m·2^e with √½ <= m < √2,    s = (m - 1) / (m + 1)
    log u = e·log 2 + 2s·(1 + s²/3 + s⁴/5 + … + s²⁰/21),    |s| <= 0.1716
    log(1 + x) = log u + (x - (u - 1)) / u,    the last term corrects the rounding of u

The series ends where its next term is below 2^-58 of the sum. Evaluated in float64 the
error is a few units of 2^-53, far below half a unit of the float32 it is rounded to.
"""

import numpy as np
from numpy.typing import NDArray

LOG_2 = 0.6931471805599453
SQRT_HALF = 0.7071067811865476
SERIES = tuple(1.0 / n for n in range(21, 0, -2))
"""Coefficients of s²⁰, s¹⁸, …, s⁰, in the order of Horner's rule."""


def log1p(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(1 + x), float64, elementwise; NaN unless x > -1."""
    x = np.where(x > -1.0, x, np.nan)
    u = 1.0 + x
    mantissa, exponent = np.frexp(u)
    low = mantissa < SQRT_HALF
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    power_of_2 = exponent.astype(np.float64) - low
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    series = np.full_like(s, SERIES[0])
    for coefficient in SERIES[1:]:
        series = series * square + coefficient
    log: NDArray[np.float64] = (power_of_2 * LOG_2 + 2.0 * s * series) + (x - (u - 1.0)) / u
    return log
