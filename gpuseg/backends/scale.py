"""The way back: from scaled units to those of the input."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import TRANSFORMS, Preparation


@dataclass(frozen=True)
class Scale:
    """The way back from scaled units to those of the input.

    Attributes
    ----------
    preparation : Preparation
    """

    preparation: Preparation

    def to_input_units(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo scale and transform."""
        return self.untransformed(scaled * self.preparation.scale + self.preparation.shift)

    def untransformed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo the transform."""
        p = self.preparation
        logged = p.transform == TRANSFORMS.index("log1p")
        return np.where(logged, np.expm1(np.where(logged, values, 0.0)), values)
