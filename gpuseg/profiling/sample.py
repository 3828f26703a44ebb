"""A hashed sample of the customers, as they came and as they were clustered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """Customers drawn by a hash of their place in the data, all of them where they are few.

    Attributes
    ----------
    index : int64 (m,)
        Place in the data, rising.
    x : float32 (m, d)
        Features as they came, NaN where one is missing.
    scaled : float32 (m, d)
        The same filled, clipped, transformed and scaled.
    rows : float32 (m, p)
        What is clustered: `scaled`, or principal components of it, or rows of length one.
    label : int32 (m,)
        -1 for noise.
    distance : float32 (m,)
        To the centre, or to the nearest core row, in scaled units.
    features : sequence of str
    total : int
        Customers that there are.
    """

    index: NDArray[np.int64]
    x: NDArray[np.float32]
    scaled: NDArray[np.float32]
    rows: NDArray[np.float32]
    label: NDArray[np.int32]
    distance: NDArray[np.float32]
    features: Sequence[str]
    total: int

    @property
    def is_whole(self) -> bool:
        """Whether these are all customers."""
        return len(self.index) == self.total

    def said(self) -> str:
        """Say how many they are."""
        if self.is_whole:
            return "all customers"
        return f"{len(self.index):,} of {self.total:,} customers, drawn by a hash of their place"
