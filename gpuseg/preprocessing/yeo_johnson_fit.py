"""Fit λ of the Yeo-Johnson transform by maximum likelihood of a normal distribution.

For a feature of n values with transforms t(λ), the log-likelihood per row is

    l(λ) = -½·log var t(λ) + (λ - 1)·Σ ±log(1 + |x|) / n,    the sign that of x.

Each pass evaluates it exactly for several λ of all features at once, over all rows up to about a
million, otherwise over a sample of that size, drawn by a hash of the row index:

1. on a lattice, which is moved and widened while its best point is its first or last, and then
   narrowed again;
2. at five points around the peak of the parabola through the best three;
3. at five points near the peak of the quartic through those; the peak of their own quartic is λ.

Source: Yeo and Johnson, "A new family of power transformations to improve normality or symmetry",
Biometrika 87 (2000).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.column_summary import ColumnSummary
from gpuseg.numerics.log1p import LOG_2, log1p
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.numerics.yeo_johnson import yeo_johnson
from gpuseg.preprocessing.scaling import Statistics
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding.column_passes import PowerRequest

SAMPLE_ROWS = 2**20
_MAX_PASSES = 30

_LATTICE = np.arange(-8.0, 9.0)
_SPACING = 0.5
"""Spacing of the lattice at the start and at the end."""

_MAX_SPACING = 1e7
_FIVE_POINTS = np.arange(-2.0, 3.0)

_MIN_RELATIVE_STD = 2.0**-30
"""Smallest relative spread of transformed values that is not lost in their rounding."""

_MAX_EXPONENT = 300.0
"""Largest exponent of e in a transform: the square of a larger value is no float64."""


class _Phase(Enum):
    """Phases of the search for λ."""

    WIDEN = auto()
    """Move and widen the lattice until its best point is not at an end."""
    NARROW = auto()
    """Narrow the lattice around its best point."""
    COARSE = auto()
    """Evaluate five points around the peak of the parabola."""
    FINE = auto()
    """Evaluate five points around the peak of the quartic."""
    DONE = auto()


_STEPS = {_Phase.COARSE: 0.05, _Phase.FINE: 0.005}
"""Distance between the five points."""


@dataclass(frozen=True)
class Powers:
    """λ of some features, float64 (m,), and the statistics of their transforms."""

    power: NDArray[np.float64]
    statistics: Statistics


def fit_powers(
    executor: Executor, backend: str, features: Sequence[int], summary: ColumnSummary
) -> Powers:
    """Fit λ of some features; 1 for constant ones.

    Parameters
    ----------
    summary : ColumnSummary
        Of all features before the transform.
    """
    searches = [_Search.start(f, summary) for f in features]
    for _ in range(_MAX_PASSES):
        active = [search for search in searches if search.phase is not _Phase.DONE]
        if not active:
            break
        _evaluate(executor, backend, active, SAMPLE_ROWS)
    for search in searches:
        search.points, search.phase = np.array([search.power]), _Phase.DONE
    _evaluate(executor, backend, searches, summary.rows)
    minimum, maximum = np.array([search.transformed_range() for search in searches]).T
    return Powers(
        np.array([search.power for search in searches]),
        Statistics(
            summary.rows,
            np.array([search.mean for search in searches]),
            np.array([search.variance for search in searches]),
            minimum,
            maximum,
        ),
    )


def _evaluate(
    executor: Executor, backend: str, searches: Sequence["_Search"], n_samples: int
) -> None:
    """Evaluate the likelihoods at the points of some searches in one pass, and update them."""
    requests = [search.request() for search in searches]
    results = executor.map(columns.power_sums, backend, requests, n_samples, searches[0].n_total)
    rows = sum(count for count, _ in results)
    sums_by_shard = [sums for _, sums in results]
    for search, request, *parts in zip(searches, requests, *sums_by_shard, strict=True):
        search.update(rows, request.origin, np.sum(parts, axis=0).sum(axis=0))


@dataclass(eq=False)
class _Search:
    """The search for λ of one feature.

    Attributes
    ----------
    feature : int
    n_total : int
        Number of rows of the data.
    landmarks : float64 (3,)
        Minimum, mean and maximum of the feature.
    points : float64 (m,)
        λ at which the likelihood is evaluated next.
    spacing : float
        Spacing of the lattice.
    phase : _Phase
    power : float
        Best λ so far.
    mean, variance : float
        Of the transform with the best of the points evaluated last.
    """

    feature: int
    n_total: int
    landmarks: NDArray[np.float64]
    points: NDArray[np.float64] = field(default_factory=lambda: 1.0 + _SPACING * _LATTICE)
    spacing: float = _SPACING
    phase: _Phase = _Phase.WIDEN
    power: float = 1.0
    mean: float = 0.0
    variance: float = 0.0

    @classmethod
    def start(cls, feature: int, summary: ColumnSummary) -> "_Search":
        low, high = summary.minimum[feature], summary.maximum[feature]
        mean = float(summary.moments.totals(feature)[0] / summary.rows)
        phase = _Phase.DONE if low == high else _Phase.WIDEN
        search = cls(feature, summary.rows, np.array([low, mean, high]), phase=phase)
        search.points = search.computable(search.points)
        return search

    def computable(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points with transforms that are small enough to be squared."""
        log_low, _, log_high = log1p(np.abs(self.landmarks))
        log_high, log_low = log_high * (self.landmarks[2] > 0), log_low * (self.landmarks[0] < 0)
        exponent = np.maximum(points * log_high, (2.0 - points) * log_low)
        kept: NDArray[np.float64] = points[exponent <= _MAX_EXPONENT]
        return kept

    def request(self) -> PowerRequest:
        """Return the sums to compute next, with grids that hold them."""
        n = self.n_total
        transforms = [yeo_johnson(self.landmarks, power) for power in self.points.tolist()]
        low, origin, high = np.array(transforms).T
        deviation = np.maximum(high - origin, origin - low) * (1 + 2.0**-40)
        log = float(log1p(np.abs(self.landmarks)).max())
        coarse = [grid_magic(n, bound) for bound in (*deviation, *(deviation * deviation), log)]
        grids = np.array([coarse, [finer_magic(n, magic) for magic in coarse]])
        return PowerRequest(self.feature, self.points, origin, grids)

    def update(self, n: int, origin: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
        """Take the sums over n rows at the points, and choose the next points or finish."""
        m = len(self.points)
        offset, logs = sums[:m] / n, sums[2 * m] / n
        variance = np.maximum(sums[m : 2 * m] / n - offset * offset, 0.0)
        likelihood = _log(variance) * -0.5 + (self.points - 1.0) * logs
        likelihood[variance <= (_MIN_RELATIVE_STD * origin) ** 2] = -np.inf
        best = int(likelihood.argmax())
        self.power = float(self.points[best])
        self.mean, self.variance = float((origin + offset)[best]), float(variance[best])
        if self.phase in _STEPS:
            self._refine(likelihood)
        elif self.phase is not _Phase.DONE:
            self._move_lattice(likelihood, best)

    def transformed_range(self) -> NDArray[np.float64]:
        """Return minimum and maximum of the transform, float64 (2,)."""
        return yeo_johnson(self.landmarks[[0, 2]], self.power)

    def _move_lattice(self, likelihood: NDArray[np.float64], best: int) -> None:
        """Move and widen the lattice, narrow it, or go on to five points."""
        is_at_end = best in (0, len(likelihood) - 1)
        if not is_at_end:
            self.phase = _Phase.NARROW
        if self.phase is _Phase.WIDEN or self.spacing > _SPACING:
            self.spacing *= 4.0 if self.phase is _Phase.WIDEN else 0.25
            points = self.computable(self.power + self.spacing * _LATTICE)
            is_new = not np.array_equal(points, self.points)
            if len(points) > 2 and self.spacing <= _MAX_SPACING and is_new:
                self.points = points
                return
        if is_at_end:
            self._use_five_points(self.power, _Phase.COARSE)
            return
        left, center, right = likelihood[best - 1 : best + 2].tolist()
        curvature = left - 2 * center + right
        peak = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
        spacing = float(self.points[1] - self.points[0])
        self._use_five_points(self.power + peak * spacing, _Phase.COARSE)

    def _refine(self, likelihood: NDArray[np.float64]) -> None:
        """Move λ to the peak of the quartic through five points; then use finer ones or finish."""
        peak = _peak_of_quartic(likelihood)
        if peak is None:
            self.phase = _Phase.DONE
            return
        self.power = float(self.points[2]) + _STEPS[self.phase] * peak
        is_inside = abs(peak) < 2
        if is_inside and self.phase is _Phase.FINE:
            self.phase = _Phase.DONE
        else:
            self._use_five_points(self.power, _Phase.FINE if is_inside else self.phase)

    def _use_five_points(self, center: float, phase: _Phase) -> None:
        self.points = center + _STEPS[phase] * _FIVE_POINTS
        is_computable = len(self.computable(self.points)) == len(self.points)
        self.phase = phase if is_computable else _Phase.DONE


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of values >= 0, with the same bits everywhere; of 0 a very small one."""
    mantissa, exponent = np.frexp(np.maximum(values, np.finfo(float).tiny))
    logs: NDArray[np.float64] = exponent * LOG_2 + log1p(mantissa - 1.0)
    return logs


def _peak_of_quartic(y: NDArray[np.float64]) -> float | None:
    """Return the maximum in [-2, 2] of the quartic through y at -2 … 2; None if it is not concave.

    Uses Newton's method on its derivative, from the middle.
    """
    a, b, c, d, e = y.tolist()
    first = (a - 8 * b + 8 * d - e) / 12
    second = (-a + 16 * b - 30 * c + 16 * d - e) / 12
    third = (-a + 2 * b - 2 * d + e) / 4
    fourth = (a - 4 * b + 6 * c - 4 * d + e) / 6
    x = 0.0
    for _ in range(20):
        curvature = second + x * (2 * third + x * 3 * fourth)
        if not curvature < 0 or not math.isfinite(curvature):
            return None
        gradient = first + x * (second + x * (third + x * fourth))
        x = min(2.0, max(-2.0, x - gradient / curvature))
    return x
