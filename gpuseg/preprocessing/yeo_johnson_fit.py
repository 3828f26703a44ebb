"""λ of the Yeo-Johnson transform: where the likelihood of a normal distribution is greatest.

For a feature of n values with transforms t(λ), a row's share of the log-likelihood is

    l(λ) = -½·log var t(λ) + (λ - 1)·Σ ±log(1 + |x|) / n,    the sign that of x.

Each pass evaluates it exactly for several λ of all features at once, over all rows up to a million,
and beyond that over as many, drawn by a hash of their places:

1. on a lattice, which is moved and widened while its best point is its first or last, and narrowed
   again from then on;
2. at five points around the peak of the parabola through the best three;
3. at five points close to the peak of the quartic through those, whose own peak is λ.

Source: Yeo and Johnson, "A new family of power transformations to improve normality or symmetry",
Biometrika 87 (2000).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.numerics.log1p import LOG_2, log1p
from gpuseg.numerics.moments import mean_and_variance
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.yeo_johnson import yeo_johnson
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding.column_passes import PowerRequest

_LATTICE = np.arange(-8.0, 9.0)
_SPACING = 0.5
"""Of the lattice, at first and at last."""

_FIVE = np.arange(-2.0, 3.0)
_STEPS = (0.05, 0.005)
"""Between the five points, first and at last."""

SAMPLE_ROWS = 2**20
_MAX_PASSES = 30
_WIDEST = 1e7
_FINEST = 2.0**-30
"""A transform whose values differ by less, as shares of themselves, is lost in their rounding."""

_LARGEST_EXPONENT = 300.0
"""Of e, in a transform: beyond it its square is no float64."""


@dataclass(frozen=True)
class Powers:
    """λ of some features, and what the transforms are like.

    Attributes
    ----------
    power, mean, variance : float64 (m,)
        Population variance.
    ends : float64 (m, 2)
        Least and largest value.
    """

    power: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    ends: NDArray[np.float64]


def fit_powers(
    executor: Executor, backend: str, features: Sequence[int], summary: ColumnSummary
) -> Powers:
    """Find λ of some features; 1 for constant ones.

    Parameters
    ----------
    summary : Summary
        Of all features, as they are before the transform.
    """
    every = [_Search.start(f, summary) for f in features]
    for _ in range(_MAX_PASSES):
        open_ones = [search for search in every if not search.done]
        if not open_ones:
            break
        _learn(executor, backend, open_ones, SAMPLE_ROWS)
    for search in every:
        search.points, search.done = np.array([search.power]), True
    _learn(executor, backend, every, summary.rows)
    return Powers(
        np.array([search.power for search in every]),
        np.array([search.mean for search in every]),
        np.array([search.variance for search in every]),
        np.array([yeo_johnson(search.ends[[0, 2]], search.power) for search in every]),
    )


def _learn(executor: Executor, backend: str, searches: Sequence["_Search"], wanted: int) -> None:
    """Evaluate the likelihoods at the points of some searches, in one pass."""
    requests = [search.request() for search in searches]
    found = executor.map(columns.power_sums, backend, requests, wanted, searches[0].all_rows)
    rows = sum(count for count, _ in found)
    shards = [sums for _, sums in found]
    for search, request, *parts in zip(searches, requests, *shards, strict=True):
        search.learn(rows, request.origin, np.sum(parts, axis=0).sum(axis=0))


@dataclass(eq=False)
class _Search:
    """What is known of the λ of one feature.

    Attributes
    ----------
    feature, all_rows : int
    ends : float64 (3,)
        Least value, mean and greatest.
    points : float64 (m,)
        Where the likelihood is asked for next.
    spacing : float
        Of the lattice.
    found_peak : bool
        Whether the lattice holds it.
    step : int
        -1 on the lattice, else which of `_STEPS` lies between the points.
    power, mean, variance : float
        The best λ so far; of the transform with it.
    """

    feature: int
    all_rows: int
    ends: NDArray[np.float64]
    points: NDArray[np.float64] = field(default_factory=lambda: 1.0 + _SPACING * _LATTICE)
    spacing: float = _SPACING
    found_peak: bool = False
    step: int = -1
    power: float = 1.0
    done: bool = False
    mean: float = 0.0
    variance: float = 0.0

    @classmethod
    def start(cls, feature: int, summary: ColumnSummary) -> "_Search":
        low, high = summary.minimum[feature], summary.maximum[feature]
        mean, _ = mean_and_variance(*summary.moments.totals(feature), summary.rows)
        search = cls(feature, summary.rows, np.array([low, mean, high]), done=bool(low == high))
        search.points = search.possible(search.points)
        return search

    def possible(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return those of the points whose transforms are not too large to be squared."""
        below, _, above = log1p(np.abs(self.ends))
        above, below = above * (self.ends[2] > 0), below * (self.ends[0] < 0)
        exponent = np.maximum(points * above, (2.0 - points) * below)
        kept: NDArray[np.float64] = points[exponent <= _LARGEST_EXPONENT]
        return kept

    def request(self) -> PowerRequest:
        """Return what is to be summed, on grids that hold all of it."""
        n = self.all_rows
        low, origin, high = np.array([yeo_johnson(self.ends, p) for p in self.points.tolist()]).T
        size = np.maximum(high - origin, origin - low) * (1 + 2.0**-40)
        logs = float(log1p(np.abs(self.ends)).max())
        coarse = [grid_magic(n, bound) for bound in (*size, *(size * size), logs)]
        grids = np.array([coarse, [finer_magic(n, magic) for magic in coarse]])
        return PowerRequest(self.feature, self.points, origin, grids)

    def learn(self, n: int, origin: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
        """Go on from the sums over n rows at the points: to other points, or to the end."""
        m = len(self.points)
        offset, logs = sums[:m] / n, sums[2 * m] / n
        variance = np.maximum(sums[m : 2 * m] / n - offset * offset, 0.0)
        likelihood = _log(variance) * -0.5 + (self.points - 1.0) * logs
        likelihood[variance <= (_FINEST * origin) ** 2] = -np.inf
        best = int(likelihood.argmax())
        self.power = float(self.points[best])
        self.mean, self.variance = float((origin + offset)[best]), float(variance[best])
        if self.done:
            return
        if self.step < 0:
            self._leave_lattice(likelihood, best)
            return
        place = _peak_of_quartic(likelihood)
        if place is None:
            self.done = True
            return
        self.power = float(self.points[2]) + _STEPS[self.step] * place
        inside = abs(place) < 2
        self.done = inside and self.step == len(_STEPS) - 1
        if not self.done:
            self._around(self.power, self.step + inside)

    def _leave_lattice(self, likelihood: NDArray[np.float64], best: int) -> None:
        """Move and widen the lattice, narrow it, or go on to five points."""
        at_end = best in (0, len(likelihood) - 1)
        self.found_peak |= not at_end
        if not self.found_peak or self.spacing > _SPACING:
            self.spacing *= 0.25 if self.found_peak else 4.0
            moved = self.possible(self.power + self.spacing * _LATTICE)
            if len(moved) > 2 and self.spacing <= _WIDEST and not _same(moved, self.points):
                self.points = moved
                return
        if at_end:
            self._around(self.power, 0)
            return
        before, own, after = likelihood[best - 1 : best + 2].tolist()
        bend = before - 2 * own + after
        place = 0.5 * (before - after) / bend if bend < 0 else 0.0
        self._around(self.power + place * float(self.points[1] - self.points[0]), 0)

    def _around(self, power: float, step: int) -> None:
        points = power + _STEPS[step] * _FIVE
        if len(self.possible(points)) < len(points):
            self.done = True
        self.points, self.step = points, step


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return len(one) == len(other) and bool((one == other).all())


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of values >= 0, the same on any processor; of 0 a very small one."""
    mantissa, exponent = np.frexp(np.maximum(values, np.finfo(float).tiny))
    logs: NDArray[np.float64] = exponent * LOG_2 + log1p(mantissa - 1.0)
    return logs


def _peak_of_quartic(y: NDArray[np.float64]) -> float | None:
    """Return where the quartic through y at -2 … 2 is greatest, in [-2, 2]; None where it bends up.

    Newton's method on its derivative, from the middle.
    """
    a, b, c, d, e = y.tolist()
    slope = (a - 8 * b + 8 * d - e) / 12
    bend = (-a + 16 * b - 30 * c + 16 * d - e) / 12
    third = (-a + 2 * b - 2 * d + e) / 4
    fourth = (a - 4 * b + 6 * c - 4 * d + e) / 6
    place = 0.0
    for _ in range(20):
        steepness = bend + place * (2 * third + place * 3 * fourth)
        if not steepness < 0 or not math.isfinite(steepness):
            return None
        gradient = slope + place * (bend + place * (third + place * fourth))
        place = min(2.0, max(-2.0, place - gradient / steepness))
    return place
