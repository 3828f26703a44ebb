"""Exact sums of float32 columns, before anything is known about the columns."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

N_EXPONENTS = 256
HALF_BITS = 24


@dataclass
class Moments:
    """Exact Σx and Σx² of float32 columns, as integers per exponent; merged by addition.

    A finite float32 is s·m·2^(e-150) with a significand m < 2^24 and a biased exponent
    1 <= e <= 254 (subnormal numbers share e = 1). An integer counted at e means that many units
    u = 2^(e-150), or u² for squares; the latter are kept as two parts, 24 bits apart. A backend
    may count a sum at any exponents: only the totals are the same for all. A row adds at most
    2^25 to an integer, so an int64 holds 2^38 rows.

    Attributes
    ----------
    first : int64 (d, 256)
        Σx as multiples of u: for example Σ s·m of the values with an exponent.
    second_high, second_low : int64 (d, 256)
        Σx² as multiples of 2^24·u² and of u²: Σ of the upper and lower 24 bits of m².
    """

    first: NDArray[np.int64]
    second_high: NDArray[np.int64]
    second_low: NDArray[np.int64]

    @classmethod
    def zeros(cls, n_features: int) -> "Moments":
        """Return the moments of no rows."""
        shape = (n_features, N_EXPONENTS)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64))

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of rows together."""
        return Moments(
            self.first + other.first,
            self.second_high + other.second_high,
            self.second_low + other.second_low,
        )

    def take(self, features: NDArray[np.int64]) -> "Moments":
        """Return the moments of some of the columns."""
        return Moments(self.first[features], self.second_high[features], self.second_low[features])

    def totals(self, feature: int) -> tuple[Fraction, Fraction]:
        """Return the exact (Σx, Σx²) of one feature."""
        first, high, low = self.first[feature], self.second_high[feature], self.second_low[feature]
        exponents = np.flatnonzero(first | high | low)
        if not exponents.size:
            return Fraction(0), Fraction(0)
        least, total, squares = int(exponents[0]), 0, 0  # multiples of the smallest unit
        used = (column[exponents].tolist() for column in (first, high, low))
        for e, sum_, upper, lower in zip(exponents.tolist(), *used, strict=True):
            total += sum_ << (e - least)
            squares += ((upper << HALF_BITS) + lower) << 2 * (e - least)
        unit = Fraction(2) ** (least - 150)
        return total * unit, squares * unit * unit


def mean_and_variance(total: Fraction, squares: Fraction, count: int) -> tuple[float, float]:
    """Return the mean and the population variance, each rounded once from the exact value."""
    mean = total / count
    return float(mean), float(squares / count - mean * mean)
