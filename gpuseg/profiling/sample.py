"""A hashed sample of the customers, before and after preparation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ProfilingSample:
    """Customers drawn by a hash of their position in the data; all of them where they are few.

    Attributes
    ----------
    index : int64 (m,)
        Positions in the data, rising.
    x : float32 (m, d)
        Features as read, NaN where one is missing; measured from `origin`. Those that are
        described.
    scaled : float32 (m, d)
        The same features filled, clipped, transformed and scaled.
    rows : float32 (m, p)
        Rows as clustered: `scaled`, its principal components, or rows of length one.
    label : int32 (m,)
        Segment of each customer; -1 for noise, `NOT_DESCRIBED` if it is not described.
    distance : float32 (m,)
        Distance to the center, or to the nearest core row, in scaled units.
    features : sequence of str
        Names of the d features.
    total : int
        Number of customers in the data.
    origin : float64 (d,) or None
        See `FeatureTransform`.
    """

    index: NDArray[np.int64]
    x: NDArray[np.float32]
    scaled: NDArray[np.float32]
    rows: NDArray[np.float32]
    label: NDArray[np.int32]
    distance: NDArray[np.float32]
    features: Sequence[str]
    total: int
    origin: NDArray[np.float64] | None = None

    def in_column_units(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return rows of `x` in the units of the columns, float64 (m, d) or (d,)."""
        values = x.astype(np.float64)
        return values if self.origin is None else values + self.origin

    @property
    def is_complete(self) -> bool:
        """Whether the sample has all customers."""
        return len(self.index) == self.total

    def describe(self) -> str:
        """Return the number of customers in words."""
        if self.is_complete:
            return "all customers"
        return f"a random sample of {len(self.index):,} of {self.total:,} customers"
