"""Where numbers are in a list of them, so that counts of few large numbers stay small."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


class NumberPositions:
    """Distinct numbers in some order, and the position of each.

    Parameters
    ----------
    numbers : array-like of int (m,), m >= 1

    Attributes
    ----------
    numbers : int64 (m,)
    """

    def __init__(self, numbers: ArrayLike) -> None:
        self.numbers: NDArray[np.int64] = np.asarray(numbers, np.int64)
        first = int(self.numbers[0])
        self._is_range = np.array_equal(self.numbers, np.arange(first, first + len(self)))
        self._order = np.argsort(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, values: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the position of each value, int64 (n,); each must be one of the numbers."""
        if self._is_range:
            positions: NDArray[np.int64] = values.astype(np.int64) - self.numbers[0]
        else:
            order = self._order
            positions = order[np.searchsorted(self.numbers, values, sorter=order)]
        return positions
