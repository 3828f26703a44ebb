"""The way back: from scaled units to those of the input."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.feature_transform import LOG1P, YEO_JOHNSON, FeatureTransform
from gpuseg.numerics.yeo_johnson import undone


@dataclass(frozen=True)
class Scale:
    """The way back from scaled units to those of the input.

    Attributes
    ----------
    preparation : Preparation
    """

    preparation: FeatureTransform

    def to_input_units(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo projection, scale and transform; what the projection left out is lost."""
        p = self.preparation
        whole = scaled if p.projection is None else p.projection.undone(scaled)
        return self.untransformed(whole * p.scale + p.shift)

    def untransformed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo the transform, float64 (n, d)."""
        p = self.preparation
        result = np.array(values, np.float64)
        for f in np.flatnonzero(p.transform == LOG1P):
            result[..., f] = np.expm1(result[..., f])
        for f in np.flatnonzero(p.transform == YEO_JOHNSON):
            result[..., f] = undone(result[..., f], float(p.powers()[f]))
        return result
