"""Requested preprocessing, feature by feature."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FeatureRole:
    """How preprocessing treats a feature.

    Attributes
    ----------
    kind : {"number", "flag", "one_hot"}
        A number is filled, clipped, transformed and scaled. A flag stays 0 or 1. The one-hot
        features of a category are scaled together, and are kept or dropped together.
    category : str
        Column of the category, for "one_hot" and for the share of the rows of a category.
    """

    kind: Literal["number", "flag", "one_hot"]
    category: str = ""


NUMBER, FLAG = FeatureRole("number"), FeatureRole("flag")


@dataclass(frozen=True)
class PreprocessingPlan:
    """Requested preprocessing; see `preprocessing.params.PreprocessingParams`.

    Attributes
    ----------
    features : tuple of str
        Names, in the order of the columns.
    missing : {"error", "drop", "mean", "median", "zero"}
    transform : tuple of str
        One of `TRANSFORMS` for each feature.
    scale : {"none", "standard", "robust", "minmax"}
    unit : bool
        Whether rows are scaled to length one at the end, as the cosine metric needs.
    clip : (float, float) or None
        Quantiles at which values are clipped, before the transform.
    drop_near_constant : bool
        Whether to drop features with the same value in nearly all rows.
    drop_correlated : float or None
        Drop a feature if its |r| with an earlier one is at least this.
    pca : int, float or None
        Number of principal components that replace the features; below 1, the share of the
        variance that they keep.
    roles : tuple of FeatureRole or None
        Role of each feature; None if all are numbers.
    origins : tuple of float or None
        What was subtracted from each feature as it was read; None if nothing was.
    scales_constants : bool
        Whether a feature without spread is divided by 1; otherwise it is refused.
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
    roles: tuple[FeatureRole, ...] | None = None
    origins: tuple[float, ...] | None = None
    scales_constants: bool = False

    def feature_roles(self) -> tuple[FeatureRole, ...]:
        """Return the role of each feature."""
        return (NUMBER,) * len(self.features) if self.roles is None else self.roles

    def origin(self) -> NDArray[np.float64] | None:
        """Return the origin of each feature, float64 (d,); None if nothing was subtracted."""
        return None if self.origins is None else np.array(self.origins)

    def is_number(self) -> NDArray[np.bool_]:
        """Return which features are numbers, bool (d,)."""
        return np.array([role.kind == "number" for role in self.feature_roles()], bool)

    def categories(self) -> list[NDArray[np.int64]]:
        """Return the indices of the one-hot features of each category, int64 (m,)."""
        features: dict[str, list[int]] = {}
        for f, role in enumerate(self.feature_roles()):
            if role.kind == "one_hot":
                features.setdefault(role.category, []).append(f)
        return [np.array(indices, np.int64) for indices in features.values()]

    def take(self, kept: list[int]) -> "PreprocessingPlan":
        """Return the plan of some of the features."""
        roles = self.feature_roles()
        return replace(
            self,
            features=tuple(self.features[f] for f in kept),
            transform=tuple(self.transform[f] for f in kept),
            roles=tuple(roles[f] for f in kept),
            origins=None if self.origins is None else tuple(self.origins[f] for f in kept),
        )
