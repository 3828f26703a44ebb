"""Exact sums of float32 columns, before anything is known about the columns."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

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
        (integers,) = self.take(np.array([feature]))._integers()
        unit = Fraction(2) ** integers.exponent
        return integers.total * unit, integers.squares * unit * unit

    def means_and_variances(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return mean and population variance of each feature, float64 (2, d).

        Each is rounded once, as Python rounds a quotient of two integers of any size.

        Parameters
        ----------
        counts : int64 (d,)
            Number of values.
        """
        pairs = map(_ExactSums.mean_and_variance, self._integers(), counts.tolist())
        by_feature = np.array(list(pairs), np.float64).reshape(-1, 2)
        return np.ascontiguousarray(by_feature.T)

    def _integers(self) -> "list[_ExactSums]":
        """Return the sums of each feature."""
        sums = [_ExactSums(0, 0, 0)] * len(self.first)
        at = np.nonzero(self.first | self.second_high | self.second_low)
        parts = (part[at].tolist() for part in (self.first, self.second_high, self.second_low))
        entries = zip(at[0].tolist(), at[1].tolist(), *parts, strict=True)
        for feature, group in groupby(entries, key=itemgetter(0)):
            least, total, squares = -1, 0, 0
            for _, e, sum_, upper, lower in group:
                least = e if least < 0 else least
                total += sum_ << (e - least)
                squares += ((upper << HALF_BITS) + lower) << 2 * (e - least)
            sums[feature] = _ExactSums(total, squares, least - 150)
        return sums


class _ExactSums(NamedTuple):
    """Σx in units u = 2^exponent, and Σx² in units u²."""

    total: int
    squares: int
    exponent: int

    def mean_and_variance(self, count: int) -> tuple[float, float]:
        """Return the mean and the population variance of `count` values."""
        deviations = self.squares * count - self.total * self.total  # u²·count² is the unit
        if self.exponent < 0:
            divisor = count << -self.exponent
            return self.total / divisor, deviations / (divisor * divisor)
        multiple = 1 << self.exponent
        return self.total * multiple / count, deviations * multiple * multiple / (count * count)
