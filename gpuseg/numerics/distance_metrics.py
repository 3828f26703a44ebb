"""Distance metrics as reduced distances between embedded rows.

A reduced distance ("rdist", as in scikit-learn) orders pairs as the distance does and is cheaper.
`embed` maps rows so that every metric becomes a sum, or the maximum, over the differences of
coordinates:

- euclidean: Σ (x_f - y_f)² <= eps²
- manhattan: Σ |x_f - y_f| <= eps
- chebyshev: max |x_f - y_f| <= eps
- cosine: with u = x/|x| and v = y/|y|, 1 - cos(x, y) = ½|u - v|², so |u - v|² <= 2·eps
- haversine: rows are (latitude, longitude) in radians; with u and v the points on the unit sphere
  and θ the angle between them, |u - v| = 2·sin(θ/2), so |u - v|² <= 4·sin²(eps/2)
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import DataError, set_key

Metric = Literal["euclidean", "manhattan", "chebyshev", "cosine", "haversine"]

_RADIANS = np.array([math.pi / 2, 2 * math.pi]) * (1 + 1e-6)  # float32 rounds ½π up
"""Largest latitude and longitude."""

MAXIMUM = 0
"""In place of the power p = ∞ of Minkowski's distances, since kernels take p as an int."""


def minkowski_p(metric: Metric) -> int:
    """Return 1 if reduced distances are sums of absolute values, 2 if they are sums of squares.

    `MAXIMUM` is returned if they are the largest absolute value.
    """
    return {"manhattan": 1, "chebyshev": MAXIMUM}.get(metric, 2)


def dist_to_rdist(eps: float, metric: Metric) -> float:
    """Return the reduced distance of rows at distance eps; infinite if eps includes all rows."""
    if metric in ("manhattan", "chebyshev"):
        return eps
    if (metric == "cosine" and eps >= 2) or (metric == "haversine" and eps >= math.pi):
        return math.inf
    if metric == "cosine":
        return 2 * eps
    if metric == "haversine":
        return 4 * math.sin(eps / 2) ** 2
    return eps * eps


def rdist_to_dist(rdist: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Return the distances that belong to reduced distances, float64."""
    if metric in ("manhattan", "chebyshev"):
        return rdist
    if metric == "cosine":
        return rdist / 2
    roots: NDArray[np.float64] = np.sqrt(rdist)
    return 2 * np.arcsin(np.minimum(roots / 2, 1.0)) if metric == "haversine" else roots


def embed(x: NDArray[Any], metric: Metric) -> NDArray[Any]:
    """Return points between which the reduced distances are measured.

    The points are x itself for euclidean, manhattan and chebyshev, else float64 points on the unit
    sphere.

    Parameters
    ----------
    x : float32 or float64 (n, d), finite

    Raises
    ------
    DataError
        For rows of zeros with cosine. For haversine: if there are not two columns, and for
        latitudes or longitudes that cannot be radians.
    """
    if metric == "cosine":
        return _unit_rows(x)
    if metric == "haversine":
        return _on_sphere(x)
    return x


def outside_values(x: NDArray[Any], metric: Metric) -> NDArray[np.bool_] | None:
    """Return which values of x (n, d) `embed` refuses; None for a metric that takes all.

    A row of zeros, which has no direction for cosine, has no other value to blame: it is outside as
    a whole.
    """
    if metric == "cosine":
        is_zero: NDArray[np.bool_] = np.asarray(~x.any(axis=1))
        return np.broadcast_to(is_zero[:, None], x.shape)
    if metric == "haversine" and x.shape[1] == len(_RADIANS):
        is_outside: NDArray[np.bool_] = np.asarray(np.abs(x) > _RADIANS)
        return is_outside
    return None


def _unit_rows(x: NDArray[Any]) -> NDArray[np.float64]:
    units = x.astype(np.float64)
    largest = np.abs(units).max(axis=1, initial=0.0)
    units /= np.where(largest > 0, largest, 1.0)[:, None]  # otherwise squares could overflow
    squares = np.zeros(len(x))
    for f in range(x.shape[1]):  # in order, as everywhere: the same bits on all machines
        squares += units[:, f] * units[:, f]
    if not squares.all():
        row = int(np.flatnonzero(squares == 0)[0])
        raise DataError(
            "metric.row_of_zeros",
            f"row {row} has only zeros, so it has no direction for metric = 'cosine'",
            hint=f"drop such rows, or {set_key('metric', 'euclidean')}",
            parameter="metric",
        )
    units /= np.sqrt(squares)[:, None]
    return units


def _on_sphere(x: NDArray[Any]) -> NDArray[np.float64]:
    if x.shape[1] != 2:
        raise DataError(
            "metric.not_two_columns",
            f"'haversine' needs two columns, but X has {x.shape[1]}",
            hint="select latitude and longitude, in radians",
            parameter="metric",
        )
    if (np.abs(x) > _RADIANS).any():
        row, column = (int(i) for i in np.argwhere(np.abs(x) > _RADIANS)[0])
        name = ("latitude", "longitude")[column]
        raise DataError(
            "metric.not_radians",
            f"row {row} has {name} {x[row, column]:g}",
            rule=f"must be in radians, from -{_RADIANS[column]:.4g} to {_RADIANS[column]:.4g}",
            hint="convert degrees with numpy.radians",
            parameter="metric",
        )
    latitude, longitude = x[:, 0].astype(np.float64), x[:, 1].astype(np.float64)
    radius = np.cos(latitude)
    return np.column_stack(
        [radius * np.cos(longitude), radius * np.sin(longitude), np.sin(latitude)]
    )
