"""Exact sums of distances by segment; they are the same in any order of the rows."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

_EXPONENTS = 256
_FRACTION_BITS = 23
_INFINITE = 255
"""The exponent of float32 values that are not finite."""

_LOWEST = -149
"""float32 values are multiples of 2 to this power."""

_HALF_BITS = 24
"""Bits of a half of a squared significand, of which a sum has many."""

_MAX_SUMS = 2**22
"""Sums of segments and exponents that are made at once."""


class DistanceSums:
    """The exact sum of the float32 distances of each segment, or of their squares.

    The significands are added as integers, one integer for each segment and exponent. The squares
    of significands are added as two halves.

    Parameters
    ----------
    n_segments : int
        Number of segments, noise included.
    power : {1, 2}, default 1
        2 for sums of squares.
    """

    def __init__(self, n_segments: int, power: Literal[1, 2] = 1) -> None:
        self._n_segments, self._power = n_segments, power
        self._by_exponent: dict[int, NDArray[np.int64]] = {}

    def add(self, segment: NDArray[np.int64], distance: NDArray[np.float32]) -> None:
        """Add distances (n,), none negative or NaN, to those of the segments (n,), from 0."""
        bits = distance.view(np.int32)
        exponent = bits >> _FRACTION_BITS
        significand = bits & (2**_FRACTION_BITS - 1)
        significand += (exponent > 0).astype(np.int32) << _FRACTION_BITS
        low, high = int(exponent.min(initial=_EXPONENTS)), int(exponent.max(initial=-1))
        if (high - low + 1) * self._n_segments > _MAX_SUMS:
            for value in np.unique(exponent).tolist():
                rows = exponent == value
                self._add(value, segment[rows], significand[rows], 1)
        elif high >= low:
            keys = (exponent - low).astype(np.int64) * self._n_segments + segment
            self._add(low, keys, significand, high - low + 1)

    def _add(
        self, low: int, keys: NDArray[np.int64], significand: NDArray[np.int32], n_exponents: int
    ) -> None:
        # A float64 holds the sum of 2**29 significands, or halves of squares, exactly.
        terms: list[NDArray[np.signedinteger]] = [significand]
        if self._power == 2:
            squares = significand.astype(np.int64) ** 2
            terms = [squares >> _HALF_BITS, squares & (2**_HALF_BITS - 1)]
        n_sums = self._n_segments * n_exponents
        sums = np.stack([np.bincount(keys, term, n_sums) for term in terms]).astype(np.int64)
        for i, of_exponent in enumerate(
            sums.reshape(len(terms), n_exponents, -1).transpose(1, 0, 2)
        ):
            if of_exponent.any():
                self._merge(low + i, of_exponent)

    def _merge(self, exponent: int, sums: NDArray[np.int64]) -> None:
        older = self._by_exponent.get(exponent)
        self._by_exponent[exponent] = sums.copy() if older is None else older + sums

    def merge(self, other: "DistanceSums") -> None:
        """Add the distances of other rows."""
        for exponent, sums in other._by_exponent.items():
            self._merge(exponent, sums)

    def means(self, sizes: NDArray[np.int64]) -> list[float | None]:
        """Return the mean of each segment, correctly rounded.

        It is None where there are no rows, and where a distance is infinite.
        """
        totals, infinite = self._totals()
        return [
            self._mean(total, size) if size and not is_infinite else None
            for total, size, is_infinite in zip(totals, sizes.tolist(), infinite, strict=True)
        ]

    def mean(self, sizes: NDArray[np.int64]) -> float | None:
        """Return the mean of all segments together, as `means` does that of each."""
        totals, infinite = self._totals()
        size = int(sizes.sum())
        return self._mean(sum(totals), size) if size and not any(infinite) else None

    def _mean(self, total: int, size: int) -> float:
        return total / (size << -_LOWEST * self._power)

    def _totals(self) -> tuple[list[int], list[bool]]:
        """Return the sum of each segment, in units of the lowest power, and which are infinite."""
        totals, infinite = [0] * self._n_segments, [False] * self._n_segments
        for exponent, parts in self._by_exponent.items():
            shift = max(exponent - 1, 0) * self._power
            for segment in np.flatnonzero(parts.any(axis=0)).tolist():
                total = 0
                for part in parts[:, segment].tolist():
                    total = (total << _HALF_BITS) + part
                totals[segment] += total << shift
                infinite[segment] |= exponent == _INFINITE
        return totals, infinite
