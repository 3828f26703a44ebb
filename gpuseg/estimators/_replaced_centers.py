"""Centers that a caller sets on a fitted k-means, in place of those of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.lloyd import normalize
from gpuseg.backends.types import Centers
from gpuseg.errors import ConfigError
from gpuseg.estimators._inputs.gpu import to_host


def checked_centers(centers: Any, n_features: int) -> NDArray[np.float64]:
    """Return a copy of centers as float64 (n_clusters, n_features).

    Raises
    ------
    ConfigError
        For centers that are not numbers, not finite or of another shape.
    """
    try:
        values = np.array(to_host(centers), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "cluster_centers.not_numeric",
            "cannot be read as numbers",
            rule="must have one row of numbers for each cluster",
            parameter="cluster_centers_",
            reason=str(error),
        ) from None
    if values.ndim != 2 or not len(values) or values.shape[1] != n_features:
        raise ConfigError(
            "cluster_centers.wrong_shape",
            f"has shape {values.shape}",
            rule=f"must have shape (n_clusters, {n_features}), as the data of the fit has columns",
            parameter="cluster_centers_",
        )
    if not np.isfinite(values).all():
        raise ConfigError(
            "cluster_centers.not_finite",
            "has missing or infinite values",
            rule="centers must be finite",
            parameter="cluster_centers_",
        )
    return values


def in_units_of_x(centers: Centers, origin: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return a copy of the centers of rows from which `origin`, float64 (d,), was subtracted."""
    return centers.values.copy() if origin is None else centers.values + origin


def present_centers(
    fitted: Centers, values: NDArray[np.float64], origin: NDArray[np.float64] | None, metric: str
) -> Centers:
    """Return the centers that `cluster_centers_` has now.

    They are those of the fit, to the bit, unless the caller replaced them or wrote into them.

    Parameters
    ----------
    fitted : Centers
        Of the fit, measured from the origin.
    values : float64 (k, d)
        `cluster_centers_`, in the units of X.
    origin : float64 (d,) or None
    metric : {"euclidean", "cosine"}

    Raises
    ------
    ConfigError
        For values that are not finite.
    """
    if np.array_equal(values, in_units_of_x(fitted, origin)):
        return fitted
    checked = checked_centers(values, fitted.values.shape[1])
    replaced = Centers(checked if origin is None else checked - origin, fitted.shift)
    return normalize(replaced, replaced) if metric == "cosine" else replaced
