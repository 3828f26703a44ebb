"""Whether two samples differ by more than chance, at a level of any size.

The tests use only the logarithm and the normal distribution of Python, which cost no import.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

_LEAST_EXPECTED = 5
"""Rows that chance must give a range, on the smaller side, for the range to be tested by itself."""


def shares_differ(before: Counts, now: Counts, level: float) -> bool:
    """Return whether the shares of ranges differ by more than chance: the likelihood-ratio test.

    Ranges with few rows are tested together: there, the test statistic has not its distribution.

    Parameters
    ----------
    before, now : int64 (n_ranges,)
    level : float
        The probability of True, at most about, if both are samples of one distribution.
    """
    n, m = int(before.sum()), int(now.sum())
    if not n or not m:
        return False
    both = before + now
    is_rare = both * (min(n, m) / (n + m)) < _LEAST_EXPECTED
    table = np.array([_with_rare(counts, is_rare) for counts in (before, now)], np.float64)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / (n + m)
    is_there = table > 0
    statistic = 2 * float((table[is_there] * np.log(table[is_there] / expected[is_there])).sum())
    n_ranges = int(np.count_nonzero(table.any(axis=0)))
    return n_ranges > 1 and statistic > _chi_square(n_ranges - 1, level)


def _with_rare(counts: Counts, is_rare: NDArray[np.bool_]) -> list[int]:
    rare = int(counts[is_rare].sum())
    return [*counts[~is_rare].tolist(), rare]


def _chi_square(degrees: int, level: float) -> float:
    """Return the value that chi-square exceeds with this probability.

    That of several degrees is by Wilson and Hilferty (1931), and up to a tenth too high at
    levels of one in a million.
    """
    if degrees == 1:
        return NormalDist().inv_cdf(1 - level / 2) ** 2
    part = 2 / (9 * degrees)
    z = NormalDist().inv_cdf(1 - level)
    return float(degrees * (1 - part + z * math.sqrt(part)) ** 3)


def ranks_differ(before: Counts, now: Counts, level: float) -> bool:
    """Return whether one side has higher values than chance gives: the test of Mann and Whitney.

    Rows of a bin are ties.

    Parameters
    ----------
    before, now : int64 (n_bins,)
        In the order of the values.
    level : float
        See `shares_differ`.
    """
    n, m = float(before.sum()), float(now.sum())
    both = (before + now).astype(np.float64)
    rows = n + m
    if not n or not m or both.max() == rows:
        return False
    middle = (np.cumsum(both) - both / 2) / rows  # the rank of a bin as a share
    difference = float(middle @ now) / m - float(middle @ before) / n
    return abs(difference) > _largest_by_chance(middle, both / rows, (n, m), level / 2)


def _largest_by_chance(
    values: NDArray[np.float64],
    shares: NDArray[np.float64],
    rows: tuple[float, float],
    level: float,
) -> float:
    """Return what the difference of two means exceeds with this probability.

    It is that of the normal distribution, and what Cornish and Fisher (1938) add for the third
    and the fourth moment: few rows of a rare value are not normal. They take nothing away.
    """
    deviations = values - float(values @ shares)
    second, third, fourth = (float(deviations**power @ shares) for power in (2, 3, 4))
    n, m = rows
    inverse = 1 / n + 1 / m
    skew = abs(third) / second**1.5 * abs(1 / n**2 - 1 / m**2) / inverse**1.5
    excess = max(fourth / second**2 - 3, 0.0) * (1 / n**3 + 1 / m**3) / inverse**2
    z = NormalDist().inv_cdf(1 - level)
    added = max(z**2 - 1, 0.0) / 6 * skew + max(z**3 - 3 * z, 0.0) / 24 * excess
    return float((z + added) * math.sqrt(second * inverse))


def mean_exceeds(
    before: tuple[int, float, float], now: tuple[int, float, float], factor: float, level: float
) -> bool:
    """Return whether a mean exceeds `factor` times another one by more than chance.

    Both sides take the larger of the two variances: a small sample of values with heavy tails, in
    which there are no outliers, has a mean and a variance that are too small at the same time.

    Parameters
    ----------
    before, now : (rows, mean, mean square)
    level : float
        See `shares_differ`.
    """
    (n, mean, square), (m, mean_now, square_now) = before, now
    if not n or not m:
        return False
    largest = max(factor**2 * (square - mean**2), square_now - mean_now**2, 0.0)
    variance = largest * (1 / n + 1 / m)
    return mean_now - factor * mean > NormalDist().inv_cdf(1 - level) * math.sqrt(variance)


def is_more_than_unseen(
    n: int, seen_once: int, seen_twice: int, m: int, unseen: int, level: float
) -> bool:
    """Return whether there are more rows of unseen categories than rare categories explain.

    By Good (The population frequencies of species, 1953), rows of a category that a sample has not
    met are as frequent as those that it has met once. The variance of this estimate and the
    chance of the new sample are bounded as in Bernstein's inequality.

    Parameters
    ----------
    n : int
        Rows of the fit.
    seen_once, seen_twice : int
        Categories with one row and with two rows there.
    m, unseen : int
        Rows that are compared, and those with an unseen category.
    level : float
        See `shares_differ`.
    """
    if not n or not m:
        return False
    z = NormalDist().inv_cdf(1 - level)
    expected, inverse = seen_once / n, 1 / n + 1 / m
    variance = (seen_once + 2 * seen_twice) / n**2 + expected / m
    return unseen / m > expected + z * math.sqrt(variance) + z**2 / 2 * inverse
