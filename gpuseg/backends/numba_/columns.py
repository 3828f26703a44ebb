"""Kernels that go through the columns once: digest, summary, and the preparation in place."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gpuseg.backends.log1p import LOG_2, SERIES, SQRT_HALF
from gpuseg.backends.mix import GOLDEN, MIX_1, MIX_2
from gpuseg.backends.moments import HALF_BITS

_LOW_HALF = (1 << HALF_BITS) - 1


@njit(nogil=True, cache=True, error_model="numpy")
def log1p(x: float) -> float:
    """Return log(1 + x), operation for operation as `backends.log1p.log1p`."""
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


@njit(nogil=True, cache=True, error_model="numpy")
def summarize(
    x: NDArray[np.float32],
    transform: NDArray[np.int64],
    first_row: int,
    counts: NDArray[np.int64],
    firsts: NDArray[np.int64],
    minimum: NDArray[np.float64],
    maximum: NDArray[np.float64],
    first: NDArray[np.int64],
    second_high: NDArray[np.int64],
    second_low: NDArray[np.int64],
) -> None:
    """Add the block to a `backends.base.Summary`: counts and firsts (3, d), moments (d, 256)."""
    value = np.empty(1, np.float32)
    bits = value.view(np.uint32)
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            v = x[row, f]
            kind = -1
            if np.isnan(v):
                kind = 0
            elif np.isinf(v):
                kind = 1
            elif transform[f] != 0:
                if v <= -1:
                    kind = 2
                else:
                    v = np.float32(log1p(np.float64(v)))
            if kind >= 0:
                counts[kind, f] += 1
                firsts[kind, f] = min(firsts[kind, f], first_row + row)
                continue
            wide = np.float64(v) + 0.0  # no negative zero: which of two zeros is less is undefined
            minimum[f] = min(minimum[f], wide)
            maximum[f] = max(maximum[f], wide)
            value[0] = v
            field = np.int64((bits[0] >> np.uint32(23)) & np.uint32(0xFF))
            significand = np.int64(bits[0] & np.uint32(0x7FFFFF))
            if field > 0:
                significand |= np.int64(1) << 23
            exponent = max(field, np.int64(1))
            square = significand * significand
            first[f, exponent] += -significand if v < 0 else significand
            second_high[f, exponent] += square >> HALF_BITS
            second_low[f, exponent] += square & _LOW_HALF


@njit(nogil=True, cache=True, error_model="numpy")
def prepare(
    x: NDArray[np.float32],
    fill: NDArray[np.float32],
    transform: NDArray[np.int64],
    shift: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> None:
    """Replace x by (transform(fill(x)) - shift) / scale, in float64, rounded to float32."""
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            v = fill[f] if np.isnan(x[row, f]) else x[row, f]
            if transform[f] != 0:
                v = np.float32(log1p(np.float64(v)))
            x[row, f] = (np.float64(v) - shift[f]) / scale[f]


@njit(nogil=True, cache=True)
def mix(value: np.uint64) -> np.uint64:
    """Scramble one integer, operation for operation as `backends.mix.mix`."""
    z = value + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def digest(
    bits: NDArray[np.uint32],
    weight_bits: NDArray[np.uint64],
    factors: NDArray[np.uint64],
    first_row: int,
) -> np.uint64:
    """Return `Backend.digest` of rows given as their bits; empty `weight_bits` means no weights."""
    total = np.uint64(0)
    for row in range(bits.shape[0]):
        own = np.uint64(0)
        for f in range(bits.shape[1]):
            own += np.uint64(bits[row, f]) * factors[f]
        own = mix(own)
        if weight_bits.size > 0:
            own = mix(own ^ weight_bits[row])
        total += mix(own ^ mix(np.uint64(first_row + row)))
    return total
