"""What the preparation is asked to be, feature by feature."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NUMBER, FLAG = -1, -2
"""Kinds of columns that are no part of a category: see `PreprocessingPlan.kinds`."""


@dataclass(frozen=True)
class PreprocessingPlan:
    """What the job asks for.

    Attributes
    ----------
    features : names, in the order of the columns
    missing : {"error", "drop", "mean", "median", "zero"}
    transform : names of `TRANSFORMS`, one for each feature
    scale : {"none", "standard", "robust", "minmax"}
    unit : bool
        Whether rows are scaled to length one at last, as the cosine wants them.
    clip : (float, float) or None
        Quantiles between which values are clipped, before the transform.
    drop_near_constant : bool
        Whether features are left out that are the same for nearly all rows.
    drop_correlated : float or None
        From which |r| on a feature is left out that repeats one before it.
    pca : int, float or None
        How many principal components replace the features; below 1 the share of the variance
        that they keep.
    kinds : tuple of int, or None
        What each column holds: `NUMBER`; `FLAG`, 0 or 1, which stays so; from 0 on the number of
        the category to which a one-hot column belongs. None: all are numbers.
    keys : str
        What stands before the names of parameters in messages.
    columns : str
        What holds the names of features, in messages.
    """

    features: tuple[str, ...]
    missing: str
    transform: tuple[str, ...]
    scale: str
    unit: bool = False
    clip: tuple[float, float] | None = None
    drop_near_constant: bool = False
    drop_correlated: float | None = None
    pca: float | None = None
    kinds: tuple[int, ...] | None = None
    keys: str = "prepare."
    columns: str = "input.features"

    def kind(self) -> NDArray[np.int64]:
        """Return `kinds`, int64 (d,)."""
        default = (NUMBER,) * len(self.features)
        return np.array(default if self.kinds is None else self.kinds, np.int64)

    def numbers(self) -> NDArray[np.bool_]:
        """Return which columns are numbers, bool (d,)."""
        numbers: NDArray[np.bool_] = self.kind() == NUMBER
        return numbers

    def take(self, kept: list[int]) -> "PreprocessingPlan":
        """Return the recipe for some of the columns."""
        return replace(
            self,
            features=tuple(self.features[f] for f in kept),
            transform=tuple(self.transform[f] for f in kept),
            kinds=tuple(int(kind) for kind in self.kind()[kept]),
        )
