"""Weights as whole numbers, whose sums do not depend on their order."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = 40
"""Behind the point, of weights that are not whole numbers."""

_TOLERANCE = 2.0**-33
"""By which a sum of weights that were rounded may fall short of `min_samples`."""


@dataclass(frozen=True)
class FixedPointWeights:
    """How weights are counted.

    Attributes
    ----------
    enough : int
        `min_samples`: a neighbour that is enough alone need not weigh more.
    scale : float
        The power of two that weights are multiplied with, before they are rounded.
    least : int
        The scaled weight that makes a row core.
    dtype : type
        int32 or int64, for sums of scaled weights.
    """

    enough: int
    scale: float
    least: int
    dtype: type[Any]

    @classmethod
    def fit(cls, enough: int, total: float, whole_numbers: bool) -> "FixedPointWeights":
        """Choose, for weights that are no more than `enough` and have a sum of `total`.

        Whole numbers stay as they are; others keep 40 bits behind the point, or as many as leave
        room for the sum.
        """
        room = 61 - math.ceil(math.log2(max(total, 1.0)))
        scale = 2.0 ** min(room, 0 if whole_numbers else _BITS)
        weighs = enough * scale
        least = max(1, round(weighs * (1 - _TOLERANCE) if scale > 1 else weighs))
        # rounding no more than doubles a weight: the sum stays below 2^30, and so below `least`
        dtype = np.int32 if total * scale < 2**29 else np.int64
        return cls(enough, scale, min(least, np.iinfo(dtype).max), dtype)

    def whole(self, weight: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
        """Return weights as whole numbers, int64 (n,)."""
        if weight is None:
            return None
        return np.rint(np.minimum(weight, self.enough) * self.scale).astype(np.int64)
