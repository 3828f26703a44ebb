"""How a raw feature vector becomes the one that is clustered."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

TRANSFORMS = ("none", "log1p", "yeo-johnson")
"""Names of the feature transforms; a transform's code is its place in this tuple."""

LOG1P, YEO_JOHNSON = 1, 2


@dataclass(frozen=True)
class Projection:
    """Principal components: ``y_j = Σ_f (z_f - mean_f)·components_jf``, f in order, in float64.

    Attributes
    ----------
    mean : float64 (d,)
    components : float64 (p, d)
        Orthonormal rows, the one along which the data varies most first.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]

    def undone(self, projected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points of the plane that project to these, float64 (n, d)."""
        points = np.repeat(self.mean[None], len(projected), axis=0)
        for j, component in enumerate(self.components):
            points = points + projected[:, j, None] * component
        return points


@dataclass(frozen=True)
class FeatureTransform:
    """Fill, clip, transform and scale each feature; then project, and scale the row.

    ``z = (transform(clip(fill(x))) - shift) / scale``, evaluated in float64, rounded to float32
    after log1p and at the end; then the projection, where there is one, rounded to
    float32; where `unit` is set, then ``z / |z|`` likewise, |z|² summed with the features in order.

    Attributes
    ----------
    fill : float32 (d,)
        Replaces a missing value; NaN where nothing is replaced.
    transform : int64 (d,)
        Codes of `TRANSFORMS`.
    shift, scale : float64 (d,)
    unit : bool
        Whether rows are scaled to length one; a row of zeros has no direction and becomes NaN.
    clip : float32 (2, d) or None
        What is below the first row, or above the second, becomes that; None: nothing does.
    power : float64 (d,) or None
        λ of the Yeo-Johnson transform, for the features that have it; None: none has.
    projection : Projection or None
    """

    fill: NDArray[np.float32]
    transform: NDArray[np.int64]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    unit: bool = False
    clip: NDArray[np.float32] | None = None
    power: NDArray[np.float64] | None = None
    projection: Projection | None = None

    @property
    def n_features(self) -> int:
        """Features that come in."""
        return len(self.fill)

    @property
    def n_columns(self) -> int:
        """Columns of what is clustered."""
        return len(self.fill if self.projection is None else self.projection.components)

    def bounds(self) -> NDArray[np.float32]:
        """Return the bounds, float32 (2, d); infinite where nothing is clipped."""
        if self.clip is not None:
            return self.clip
        ends = np.array([[-np.inf], [np.inf]], np.float32)
        return np.repeat(ends, len(self.fill), axis=1)

    def powers(self) -> NDArray[np.float64]:
        """Return λ of every feature, float64 (d,); 1, which changes nothing, by default."""
        return np.ones(len(self.fill)) if self.power is None else self.power

    def take(self, features: NDArray[np.int64]) -> "FeatureTransform":
        """Return the preparation of some of the features, before any projection."""
        return replace(
            self,
            fill=self.fill[features],
            transform=self.transform[features],
            shift=self.shift[features],
            scale=self.scale[features],
            clip=None if self.clip is None else np.ascontiguousarray(self.clip[:, features]),
            power=None if self.power is None else self.power[features],
        )

    @classmethod
    def identity(cls, n_features: int) -> "FeatureTransform":
        """Return the preparation that changes nothing."""
        return cls(
            np.full(n_features, np.nan, np.float32),
            np.zeros(n_features, np.int64),
            np.zeros(n_features),
            np.ones(n_features),
        )
