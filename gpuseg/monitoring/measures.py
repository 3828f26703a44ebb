"""How far two distributions are from each other, by counts of the same bins."""

import math

import numpy as np
from numpy.typing import NDArray

N_RANGES = 10
"""Ranges of a feature that its population stability index compares."""

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def ranges_of(counts: Counts) -> Counts:
    """Return the range of each bin: rising numbers below `N_RANGES`.

    Bins are not cut. A bin is in the range in which the middle of its rows is, so that the ranges
    have about as many rows each as the bins allow.

    Parameters
    ----------
    counts : int64 (..., n_bins)
        Rows at the fit.

    Returns
    -------
    int64 (..., n_bins)
    """
    twice_middle = 2 * np.cumsum(counts, axis=-1) - counts
    rows = np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    ranges: Counts = np.minimum(twice_middle * N_RANGES // (2 * rows), N_RANGES - 1)
    return ranges


def in_ranges(counts: Counts, ranges: Counts) -> Counts:
    """Return the rows of each range, int64 (..., `N_RANGES`)."""
    return np.stack([np.where(ranges == i, counts, 0).sum(-1) for i in range(N_RANGES)], -1)


def psi(before: Counts, now: Counts) -> Values:
    """Return the population stability index: the sum of (p - q) ln(p / q) over the ranges.

    Half a row is added to each range on both sides, so that a range that is empty on one side
    counts as one that was rarely met. A range that is empty on both sides is none.

    Parameters
    ----------
    before, now : int64 (..., n_ranges)

    Returns
    -------
    float64 (...)
        0 where one side has no rows.
    """
    is_range = (before > 0) | (now > 0)
    p, q = (_smoothed(counts, is_range) for counts in (before, now))
    terms = np.where(is_range, (p - q) * np.log(p / q), 0.0)
    return np.where(_have_rows(before, now), terms.sum(axis=-1), 0.0)


def _smoothed(counts: Counts, is_range: NDArray[np.bool_]) -> Values:
    """Return shares with half a row more in each range; 1 where there is none."""
    more = np.where(is_range, counts + 0.5, 0.0)
    shares: Values = more / np.maximum(more.sum(axis=-1, keepdims=True), 0.5)
    return np.where(is_range, shares, 1.0)


def psi_chance(before: Counts, now: Counts) -> Values:
    """Return the mean of `psi` if both sides are samples of one distribution.

    By Yurdakul (Statistical properties of population stability index, 2018), psi over the sum of
    the inverse numbers of rows has about a chi-square distribution.
    """
    n_ranges = np.count_nonzero((before > 0) | (now > 0), axis=-1)
    mean: Values = spread(before, now) * np.maximum(n_ranges - 1, 0)
    return mean


def spread(before: Counts, now: Counts) -> Values:
    """Return 1 / rows before + 1 / rows now; 0 where one side has no rows."""
    n, m = before.sum(axis=-1), now.sum(axis=-1)
    return np.where(_have_rows(before, now), 1 / np.maximum(n, 1) + 1 / np.maximum(m, 1), 0.0)


def _have_rows(before: Counts, now: Counts) -> NDArray[np.bool_]:
    has_rows: NDArray[np.bool_] = (before.sum(axis=-1) > 0) & (now.sum(axis=-1) > 0)
    return has_rows


def _distribution(counts: Counts) -> Values:
    """Return the share of rows up to each bin."""
    up_to = np.cumsum(counts, axis=-1)
    shares: Values = up_to / np.maximum(up_to[..., -1:], 1)
    return shares


def ks(before: Counts, now: Counts) -> Values:
    """Return the largest difference of the two distribution functions, (...).

    It is 0 where one side has no rows.
    """
    difference = np.abs(_distribution(before) - _distribution(now)).max(axis=-1)
    return np.where(_have_rows(before, now), difference, 0.0)


_MEAN_OF_KOLMOGOROV = math.sqrt(math.pi / 2) * math.log(2)
"""Mean of Kolmogorov's distribution: of the largest deviation of a Brownian bridge from 0."""


def ks_chance(before: Counts, now: Counts) -> Values:
    """Return the mean of `ks` if both sides are samples of one continuous distribution.

    It is smaller where many rows are in one bin.
    """
    return _MEAN_OF_KOLMOGOROV * np.sqrt(spread(before, now))


def wasserstein(before: Counts, now: Counts, positions: Values) -> Values:
    """Return the area between the two distribution functions, (...).

    Parameters
    ----------
    before, now : int64 (..., n_bins)
    positions : float64 (..., n_bins)
        Where the rows of a bin are.

    Returns
    -------
    float64 (...)
        In the unit of the positions; 0 where one side has no rows.
    """
    widths, (p, q) = _by_position([before, now], positions)
    area = (np.abs(p - q) * widths).sum(axis=-1)
    return np.where(_have_rows(before, now), area, 0.0)


def wasserstein_chance(before: Counts, now: Counts, positions: Values) -> Values:
    """Return the mean of `wasserstein` if both sides are samples of one distribution.

    The difference of the two distribution functions at a place has about a normal distribution with
    variance F (1 - F) (1 / rows before + 1 / rows now), where F is that of all rows together.
    """
    widths, (together,) = _by_position([before + now], positions)
    deviation = np.sqrt(together * (1 - together) * spread(before, now)[..., None])
    area: Values = math.sqrt(2 / math.pi) * (deviation * widths).sum(axis=-1)
    return area


def _by_position(all_counts: list[Counts], positions: Values) -> tuple[Values, list[Values]]:
    """Return the distances between the positions in their order, and each distribution there."""
    positions = np.broadcast_to(positions, all_counts[0].shape)
    order = np.argsort(positions, axis=-1, kind="stable")
    widths = np.diff(np.take_along_axis(positions, order, -1))
    ordered = (np.take_along_axis(counts, order, -1) for counts in all_counts)
    return widths, [_distribution(counts)[..., :-1] for counts in ordered]
