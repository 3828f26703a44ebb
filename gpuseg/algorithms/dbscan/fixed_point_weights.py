"""Fixed-point weights: whole numbers have sums that do not depend on their order."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FRACTION_BITS = 40
"""Bits after the binary point, for weights that are not whole numbers."""

_TOLERANCE = 2.0**-33
"""Share of `min_samples` by which a sum of rounded weights may be too small."""


@dataclass(frozen=True)
class FixedPointWeights:
    """How weights become whole numbers.

    Attributes
    ----------
    min_samples : int
        A neighbor that makes a row core by itself need not weigh more than this.
    scale : float
        Power of two that weights are multiplied by before they are rounded.
    min_weight : int
        Scaled weight that makes a row core.
    dtype : type
        int32 or int64, for sums of scaled weights.
    """

    min_samples: int
    scale: float
    min_weight: int
    dtype: type[Any]

    @classmethod
    def fit(cls, min_samples: int, total: float, whole_numbers: bool) -> "FixedPointWeights":
        """Choose the scale for weights of at most `min_samples` each and `total` together.

        Whole numbers stay as they are; other weights keep 40 bits after the binary point, or
        fewer, so that the sum fits into an int64.
        """
        free_bits = 61 - math.ceil(math.log2(max(total, 1.0)))
        scale = 2.0 ** min(free_bits, 0 if whole_numbers else _FRACTION_BITS)
        scaled = min_samples * scale
        min_weight = max(1, round(scaled * (1 - _TOLERANCE) if scale > 1 else scaled))
        # Rounding at most doubles a weight: the sum stays below 2^30, and so below `min_weight`.
        dtype = np.int32 if total * scale < 2**29 else np.int64
        return cls(min_samples, scale, min(min_weight, np.iinfo(dtype).max), dtype)

    def quantize(self, weight: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
        """Return weights as whole numbers, int64 (n,)."""
        if weight is None:
            return None
        return np.rint(np.minimum(weight, self.min_samples) * self.scale).astype(np.int64)
