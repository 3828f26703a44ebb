"""The transform from raw feature vectors to those that are clustered."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.log1p import log1p
from gpuseg.numerics.yeo_johnson import inverse_yeo_johnson, is_beyond_yeo_johnson, yeo_johnson

TRANSFORMS = ("none", "log1p", "yeo-johnson")
"""Names of the transforms of a single feature; the code of a transform is its index here."""

LOG1P, YEO_JOHNSON = 1, 2


@dataclass(frozen=True)
class Projection:
    """Principal components: ``y_j = Σ_f (z_f - mean_f)·components_jf``, f in order, in float64.

    Attributes
    ----------
    mean : float64 (d,)
    components : float64 (p, d)
        Orthonormal rows, in descending order of the variance along them.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]

    def apply(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the projections of points, float64 (n, p)."""
        deviations = points - self.mean
        projected = np.zeros((len(points), len(self.components)))
        for f, component in enumerate(self.components.T):
            projected += deviations[:, f, None] * component
        return projected

    def inverse(self, projected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points of the hyperplane that have these projections, float64 (n, d)."""
        points = np.repeat(self.mean[None], len(projected), axis=0)
        for j, component in enumerate(self.components):
            points = points + projected[:, j, None] * component
        return points


@dataclass(frozen=True)
class FeatureTransform:
    """Fill, clip, transform and scale each feature; then project and normalize the row.

    ``z = (transform(clip(fill(x))) - shift) / scale``, evaluated in float64, rounded to float32
    after log1p and at the end. The projection, if there is one, follows and is rounded to float32.
    With `unit`, ``z / |z|`` follows, rounded likewise; |z|² is summed with the features in order.

    Attributes
    ----------
    fill : float32 (d,)
        Replaces a missing value; NaN leaves it missing.
    transform : int64 (d,)
        Codes of `TRANSFORMS`.
    shift, scale : float64 (d,)
    unit : bool
        Whether rows are scaled to length one; a row of zeros has no direction and becomes NaN.
    clip : float32 (2, d) or None
        Lower and upper bounds of the values; None if nothing is clipped.
    power : float64 (d,) or None
        λ of the features with a Yeo-Johnson transform; None if there are no such features.
    projection : Projection or None
    origin : float64 (d,) or None
        What was subtracted from the values of the columns before they became the input
        (`numerics.origin`); None if nothing was. Features with a transform have none.
    """

    fill: NDArray[np.float32]
    transform: NDArray[np.int64]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    unit: bool = False
    clip: NDArray[np.float32] | None = None
    power: NDArray[np.float64] | None = None
    projection: Projection | None = None
    origin: NDArray[np.float64] | None = None

    @property
    def n_features(self) -> int:
        """Number of features of the input."""
        return len(self.fill)

    @property
    def n_columns(self) -> int:
        """Number of columns of the output."""
        return len(self.fill if self.projection is None else self.projection.components)

    @property
    def keeps_features(self) -> bool:
        """Whether the columns of a row are its features, each by itself."""
        return self.projection is None and not self.unit

    @cached_property
    def only_scales(self) -> bool:
        """Whether nothing is filled, clipped or transformed before shift and scale."""
        keeps_values = self.clip is None and not self.transform.any()
        return keeps_values and bool(np.isnan(self.fill).all())

    def bounds(self) -> NDArray[np.float32]:
        """Return the clipping bounds, float32 (2, d); infinite if nothing is clipped."""
        if self.clip is not None:
            return self.clip
        bounds = np.array([[-np.inf], [np.inf]], np.float32)
        return np.repeat(bounds, len(self.fill), axis=1)

    def powers(self) -> NDArray[np.float64]:
        """Return λ of every feature, float64 (d,); by default 1, the identity."""
        return np.ones(len(self.fill)) if self.power is None else self.power

    def take(self, features: NDArray[np.int64]) -> "FeatureTransform":
        """Return the transform of some of the features; there must be no projection."""
        return replace(
            self,
            fill=self.fill[features],
            transform=self.transform[features],
            shift=self.shift[features],
            scale=self.scale[features],
            clip=None if self.clip is None else np.ascontiguousarray(self.clip[:, features]),
            power=None if self.power is None else self.power[features],
            origin=None if self.origin is None else self.origin[features],
        )

    def apply(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points in the units of the columns, such as centers, as points of the output.

        This is the reverse of `inverse`, float64 (n, p): unlike rows, points are not filled, and
        not rounded to float32. Values outside the domain of a transform, and points of zeros that
        are to have length one, become NaN or infinite.
        """
        low, high = self.bounds().astype(np.float64)
        z = np.clip(points if self.origin is None else points - self.origin, low, high)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for f in np.flatnonzero(self.transform == LOG1P):
                z[:, f] = log1p(z[:, f])
            for f in np.flatnonzero(self.transform == YEO_JOHNSON):
                z[:, f] = yeo_johnson(z[:, f], float(self.powers()[f]))
            z = (z - self.shift) / self.scale
            if self.projection is not None:
                z = self.projection.apply(z)
            if self.unit:
                z = z / np.sqrt(np.add.accumulate(z * z, axis=1)[:, -1:])
        return z

    def inverse(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows of the output, such as centers, in the units of the columns, float64 (n, d).

        What the projection left out is lost; what was filled or clipped stays so.
        """
        return self.undo_transform(self._undo_scaling(z))

    def is_beyond_range(self, z: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which values of `inverse` no row has, since their transform is bounded, (n, d)."""
        values = self._undo_scaling(z)
        beyond = np.zeros(values.shape, bool)
        for f in np.flatnonzero(self.transform == YEO_JOHNSON):
            beyond[:, f] = is_beyond_yeo_johnson(values[:, f], float(self.powers()[f]))
        return beyond

    def _undo_scaling(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows of the output as transformed features, float64 (n, d)."""
        scaled = z if self.projection is None else self.projection.inverse(z)
        return scaled * self.scale + self.shift

    def undo_transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return transformed values in the units of the columns, float64 (n, d) or (d,).

        Undoes log1p, Yeo-Johnson and the origin, but not scaling.
        """
        result = self.add_origin(values)
        for f in np.flatnonzero(self.transform == LOG1P):
            result[..., f] = np.expm1(result[..., f])
        for f in np.flatnonzero(self.transform == YEO_JOHNSON):
            result[..., f] = inverse_yeo_johnson(result[..., f], float(self.powers()[f]))
        return result

    def add_origin(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return values of the input in the units of the columns, float64, copied."""
        result = np.array(values, np.float64)
        return result if self.origin is None else result + self.origin

    @classmethod
    def identity(cls, n_features: int) -> "FeatureTransform":
        """Return the transform that changes nothing."""
        return cls(
            np.full(n_features, np.nan, np.float32),
            np.zeros(n_features, np.int64),
            np.zeros(n_features),
            np.ones(n_features),
        )
