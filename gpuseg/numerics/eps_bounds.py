"""What "within eps" means, exactly and for float32: three answers, and which one rounding allows.

Exactly: size(p, q) <= limit, where the size is Σ (p_f - q_f)² or Σ |p_f - q_f| in float64 with
the features in order, and the limit eps² or eps. Kernels look at copies z of the rows instead,

    z = fl32((p - shift)·scale),   scale a power of two, so that 1 <= eps·scale < 2,

and at sizes of differences of those in float32. With u = 2^-24 and m the largest |z|, each z is
off by at most u·m (not at all where p is float32 and shift is 0), a difference by 2·u·m and a
rounding, the root of a size or the sum of |t| by √d or d times as much, and the sum of d terms by
one rounding each. So what is below `sure` is within eps, what is above `far` is not, and the
rest has to be decided exactly.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_U = 2.0**-24
_TINY = 2.0**-100
"""More than small values lose by being scaled, in units of about eps."""

_MAX_EXPONENT = 100
_ROWS_TOGETHER = 256
"""Whose corners NumPy finds at once: it compares rows of many values fast, of few one by one."""

_SMALLEST = 2.0**-100
"""Of a size that float32 may take for one within eps: smaller ones lose their last bits."""


@dataclass(frozen=True)
class EpsBounds:
    """How near is near.

    Attributes
    ----------
    p : int
        2 for sizes that are sums of squares, 1 for sums of absolute values.
    limit : float
        Of a size in float64.
    shift : float64 (d,)
    scale : float
    off : float
        How much the root of a size in float32 may be off for the rounding of z.
    rounding : float
        By which factor a size may be off for the rounding of what is done to z; above 1.
    """

    p: int
    limit: float
    shift: NDArray[np.float64]
    scale: float
    off: float
    rounding: float

    @classmethod
    def from_ranges(
        cls, low: NDArray[Any], high: NDArray[Any], limit: float, p: int
    ) -> "EpsBounds":
        """Return the reach for rows between two corners, float32 or float64 (d,).

        The limit is positive.
        """
        d = len(low)
        exponent = 1 - math.frexp(limit ** (1 / p))[1]
        scale = 2.0 ** max(-_MAX_EXPONENT, min(exponent, _MAX_EXPONENT))
        shift = np.zeros(d) if low.dtype == np.float32 else low / 2 + high / 2
        return cls(p, limit, shift, scale, _TINY, 1 + (2 * d + 16) * _U).also(low, high)

    def also(self, low: NDArray[Any], high: NDArray[Any]) -> "EpsBounds":
        """Return the reach for rows between two corners that have the same shift and scale."""
        d, off = len(low), _TINY
        if low.dtype != np.float32:
            with np.errstate(over="ignore"):
                farthest = np.maximum(np.abs(low - self.shift), np.abs(high - self.shift))
            off += 2 * _U * 1.01 * float(farthest.max(initial=0.0)) * self.scale
        terms = d if self.p == 1 else math.sqrt(d)
        return replace(self, off=max(self.off, terms * off))

    @property
    def sure(self) -> float:
        """A size in float32 below this is within eps."""
        root = self.limit ** (1 / self.p) * self.scale
        inner = max(root / self.rounding - self.off, 0.0)
        least = (inner * inner if self.p == 2 else inner) / self.rounding
        if least < _SMALLEST:
            return 0.0
        with np.errstate(over="ignore"):
            return float(np.nextafter(np.float32(least), np.float32(0)))

    @property
    def far(self) -> float:
        """A size in float32 above this is beyond eps."""
        root = self.limit ** (1 / self.p) * self.scale
        outer = (root + self.off) * self.rounding
        most = (outer * outer if self.p == 2 else outer) * self.rounding
        with np.errstate(over="ignore"):
            return float(np.nextafter(np.float32(most), np.float32(np.inf)))

    def scaled(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return z for rows x."""
        with np.errstate(over="ignore", under="ignore"):
            if x.dtype == np.float32 and not self.shift.any():
                exact: NDArray[np.float32] = np.multiply(x, np.float32(self.scale))
                return exact
            return ((x - self.shift) * self.scale).astype(np.float32)


def corners(points: NDArray[Any]) -> NDArray[Any]:
    """Return the lower and the upper corner of rows (n, d), (2, d) of their dtype."""
    n, d = points.shape
    tail = n - n % _ROWS_TOGETHER
    together = points[:tail].reshape(-1, _ROWS_TOGETHER * d)
    low = together.min(axis=0, initial=np.inf).reshape(-1, d)
    high = together.max(axis=0, initial=-np.inf).reshape(-1, d)
    return np.array([
        np.concatenate([low, points[tail:]]).min(axis=0, initial=np.inf),
        np.concatenate([high, points[tail:]]).max(axis=0, initial=-np.inf),
    ])  # fmt: skip
