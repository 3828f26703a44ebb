"""log1p and the Yeo-Johnson transform, with the same operations as the specification."""

import math
from functools import partial

import numpy as np

from gpuseg.backends.numba.inline import uncounted
from gpuseg.numerics.log1p import LOG_2, SERIES, SQRT_HALF
from gpuseg.numerics.yeo_johnson import (
    FACTORIALS,
    INVERSE_LOG_2,
    LARGEST,
    LOG_2_HIGH,
    LOG_2_LOW,
)


@partial(uncounted, error_model="numpy")
def log1p(x: float) -> float:
    """Return log(1 + x), see `numerics.log1p.log1p`."""
    if not x > -1.0:
        return np.nan
    u = 1.0 + x
    mantissa, exponent = math.frexp(u)
    power = np.float64(exponent)
    if mantissa < SQRT_HALF:
        mantissa = 2.0 * mantissa
        power = power - 1.0
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    series = SERIES[0]
    for i in range(1, len(SERIES)):
        series = series * square + SERIES[i]
    return (power * LOG_2 + 2.0 * s * series) + (x - (u - 1.0)) / u


@uncounted
def expm1(y: float) -> float:
    """Return e^y - 1, see `numerics.yeo_johnson.expm1`."""
    if np.isnan(y):
        return y
    y = LARGEST if y > LARGEST else -LARGEST if y < -LARGEST else y
    k = np.rint(y * INVERSE_LOG_2)
    r = (y - k * LOG_2_HIGH) - k * LOG_2_LOW
    series = FACTORIALS[0]
    for i in range(1, len(FACTORIALS)):
        series = series * r + FACTORIALS[i]
    power = math.ldexp(1.0, int(k))
    result: float = power * (series * r) + (power - 1.0)
    return result


@partial(uncounted, error_model="numpy")
def box_cox(log: float, t: float) -> float:
    """Return (e^(t·log) - 1) / t, and `log` where t is 0."""
    return log if t == 0.0 else expm1(t * log) / t


@partial(uncounted, error_model="numpy")
def yeo_johnson(x: float, power: float) -> float:
    """Return the transform with λ = `power`, see `numerics.yeo_johnson.yeo_johnson`."""
    if x < 0.0:
        return -box_cox(log1p(-x), 2.0 - power)
    return box_cox(log1p(x), power)
