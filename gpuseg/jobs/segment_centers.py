"""Centers of the segments on the scales of the features, before and after their transforms."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.segmentation.base import SegmentationResult


def scaled_centers(fit: PreprocessingFit, result: SegmentationResult) -> NDArray[np.float64]:
    """Return the centers of all segments in scaled features, float64 (n, d)."""
    projection = fit.feature_transform.projection
    return result.centers if projection is None else projection.inverse(result.centers)


def deviations(fit: PreprocessingFit, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scaled centers minus the mean of all customers, in standard deviations, (n, d)."""
    p = fit.feature_transform
    scaled_mean = (fit.mean - p.shift) / p.scale
    scaled_std = np.where(fit.std > 0, fit.std, 1.0) / p.scale
    deviation: NDArray[np.float64] = (scaled - scaled_mean) / scaled_std
    return deviation


def centers_in_units(fit: PreprocessingFit, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scaled centers in the units of the input, float64 (n, d)."""
    p = fit.feature_transform
    transformed = scaled * p.scale + p.shift
    if not p.unit:  # principal components may exceed the range of a bounded transform
        transformed = np.clip(transformed, *fit.extremes)
    centers = p.undo_transform(transformed)
    if not p.unit:  # rounding may put a mean outside its range, such as −1e−8 for an amount
        centers = np.clip(centers, *p.undo_transform(fit.extremes))
    return centers
