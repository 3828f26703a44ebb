"""Bounds between which float32 cannot decide whether two rows are within eps.

The exact definition is rdist(p, q) <= rdist_limit. The reduced distance (rdist) is Σ (p_f - q_f)²,
Σ |p_f - q_f| or max |p_f - q_f|, in float64 with the features in order, and the limit is eps² or
eps. Kernels compare float32 copies z of the rows instead,

    z = fl32((p - shift)·scale),   scale a power of two, so that 1 <= eps·scale < 2,

and compute the rdist of those in float32. With u = 2^-24 and m the largest |z|, the error of each
z is at most u·m (zero if p is float32 and shift is 0), that of a difference 2·u·m and one
rounding, that of the root of an rdist or of the sum of |t| √d or d times as much, and the sum of d
terms adds one rounding each. The largest of d terms is as wrong as a single one, and adds no
rounding. So an rdist below `rdist_lower` is within eps, one above `rdist_upper`
is not, and those between have to be decided exactly.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.distance_metrics import MAXIMUM

_U = 2.0**-24
_TINY = 2.0**-100
"""Upper bound of what scaling costs small values, in units of about eps."""

_MAX_EXPONENT = 100
_ROWS_PER_CHUNK = 256
"""Rows that NumPy reduces together: it compares rows of many values fast, rows of few slowly."""

_MAX_FLOAT32 = float(np.finfo(np.float32).max)

_SMALLEST_RDIST = 2.0**-100
"""Smallest float32 rdist that may decide "within eps": smaller ones lose their last bits."""


@dataclass(frozen=True)
class EpsBounds:
    """Decide "within eps" in float32 as far as rounding allows.

    Attributes
    ----------
    p : int
        2 if the rdist is a sum of squares, 1 if it is a sum of absolute values, and
        `distance_metrics.MAXIMUM` if it is the largest absolute value.
    rdist_limit : float
        The rdist of rows at distance eps, in float64.
    shift : float64 (d,)
    scale : float
    abs_error : float
        Bound of the error of the root of a float32 rdist that the rounding of z causes.
    rounding_factor : float
        Bound of the relative error of a float32 rdist from the operations on z, as a factor
        above 1.
    """

    p: int
    rdist_limit: float
    shift: NDArray[np.float64]
    scale: float
    abs_error: float
    rounding_factor: float

    @classmethod
    def from_ranges(
        cls, low: NDArray[Any], high: NDArray[Any], rdist_limit: float, p: int
    ) -> "EpsBounds":
        """Return the bounds for rows in a box.

        Parameters
        ----------
        low, high : float32 or float64 (d,)
            Corners of the box.
        rdist_limit : float
            Must be positive.
        p : int
        """
        d = len(low)
        exponent = 1 - math.frexp(distance_of(rdist_limit, p))[1]
        scale = 2.0 ** max(-_MAX_EXPONENT, min(exponent, _MAX_EXPONENT))
        shift = np.zeros(d) if low.dtype == np.float32 else low / 2 + high / 2
        n_summed = 0 if p == MAXIMUM else d
        bounds = cls(p, rdist_limit, shift, scale, _TINY, 1 + (2 * n_summed + 16) * _U)
        return bounds.extend(low, high)

    def extend(self, low: NDArray[Any], high: NDArray[Any]) -> "EpsBounds":
        """Return bounds that hold for rows in another box too, with the same shift and scale."""
        d, z_error = len(low), _TINY
        with np.errstate(over="ignore"):
            farthest = np.maximum(np.abs(low - self.shift), np.abs(high - self.shift))
        largest = float(farthest.max(initial=0.0))
        if low.dtype != np.float32:
            z_error += 2 * _U * 1.01 * largest * self.scale
        if self.p == MAXIMUM and largest * self.scale >= _MAX_FLOAT32:
            z_error = math.inf  # ∞ - ∞ is NaN, which a maximum may lose: all is decided exactly
        terms = {1: d, MAXIMUM: 1}.get(self.p, math.sqrt(d))
        return replace(self, abs_error=max(self.abs_error, terms * z_error))

    @property
    def rdist_lower(self) -> float:
        """A float32 rdist below this is within eps."""
        root = distance_of(self.rdist_limit, self.p) * self.scale
        inner = max(root / self.rounding_factor - self.abs_error, 0.0)
        rdist = (inner * inner if self.p == 2 else inner) / self.rounding_factor
        if rdist < _SMALLEST_RDIST:
            return 0.0
        with np.errstate(over="ignore"):
            return float(np.nextafter(np.float32(rdist), np.float32(0)))

    @property
    def rdist_upper(self) -> float:
        """A float32 rdist above this is beyond eps."""
        root = distance_of(self.rdist_limit, self.p) * self.scale
        outer = (root + self.abs_error) * self.rounding_factor
        rdist = (outer * outer if self.p == 2 else outer) * self.rounding_factor
        with np.errstate(over="ignore"):
            return float(np.nextafter(np.float32(rdist), np.float32(np.inf)))

    def scaled(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return z for rows x."""
        with np.errstate(over="ignore", under="ignore"):
            if x.dtype == np.float32 and not self.shift.any():
                exact: NDArray[np.float32] = np.multiply(x, np.float32(self.scale))
                return exact
            return ((x - self.shift) * self.scale).astype(np.float32)


def distance_of(rdist: float, p: int) -> float:
    """Return the distance of points whose reduced distance is given, see `EpsBounds.p`."""
    return float(rdist ** (1 / 2)) if p == 2 else rdist


def bounding_box(points: NDArray[Any]) -> NDArray[Any]:
    """Return the lower and the upper corner of rows (n, d), (2, d) of their dtype."""
    n, d = points.shape
    end = n - n % _ROWS_PER_CHUNK
    chunks, rest = points[:end].reshape(-1, _ROWS_PER_CHUNK * d), points[end:]
    low = chunks.min(axis=0, initial=np.inf).reshape(-1, d)
    high = chunks.max(axis=0, initial=-np.inf).reshape(-1, d)
    lower = np.concatenate([low, rest]).min(axis=0, initial=np.inf)
    upper = np.concatenate([high, rest]).max(axis=0, initial=-np.inf)
    return np.array([lower, upper])
