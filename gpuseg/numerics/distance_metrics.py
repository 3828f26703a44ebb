"""Metrics as sizes of differences: the cosine and the haversine are Euclidean on the sphere.

- euclidean: Σ (x_f - y_f)² <= eps²
- manhattan: Σ |x_f - y_f| <= eps
- cosine: with u = x/|x| and v = y/|y|, 1 - cos(x, y) = ½|u - v|², so |u - v|² <= 2·eps
- haversine: rows are (latitude, longitude) in radians; with u and v the places on the unit sphere
  and θ the angle between them, |u - v| = 2·sin(θ/2), so |u - v|² <= 4·sin²(eps/2)
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import DataError

Metric = Literal["euclidean", "manhattan", "cosine", "haversine"]


def power(metric: Metric) -> int:
    """Return 1 where sizes are sums of absolute values, 2 where they are sums of squares."""
    return 1 if metric == "manhattan" else 2


def limit_of(eps: float, metric: Metric) -> float:
    """Return the size of a difference between rows that are eps apart."""
    if metric == "manhattan":
        return eps
    if (metric == "cosine" and eps >= 2) or (metric == "haversine" and eps >= math.pi):
        return math.inf  # as far as can be
    if metric == "cosine":
        return 2 * eps
    if metric == "haversine":
        return 4 * math.sin(eps / 2) ** 2
    return eps * eps


def distance_of(size: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Return the distance between rows whose difference has a size."""
    if metric == "manhattan":
        return size
    if metric == "cosine":
        return size / 2
    roots: NDArray[np.float64] = np.sqrt(size)
    return 2 * np.arcsin(np.minimum(roots / 2, 1.0)) if metric == "haversine" else roots


def points_of(x: NDArray[Any], metric: Metric) -> NDArray[Any]:
    """Return the rows whose differences have the sizes; x itself for euclidean and manhattan.

    Parameters
    ----------
    x : float32 or float64 (n, d), finite

    Raises
    ------
    DataError
        For rows of zeros with the cosine; with the haversine for another number of columns than
        two, and for latitudes that cannot be radians.
    """
    if metric == "cosine":
        wide = x.astype(np.float64)
        largest = np.abs(wide).max(axis=1, initial=0.0)
        wide /= np.where(largest > 0, largest, 1.0)[:, None]  # else squares might overflow
        squares = np.zeros(len(x))
        for f in range(x.shape[1]):  # in order, as everywhere: the same bits on all machines
            squares += wide[:, f] * wide[:, f]
        if not squares.all():
            bad = int(np.flatnonzero(squares == 0)[0])
            raise DataError(
                f"row {bad} is zeros alone, which has no direction: drop such rows, or use "
                "metric = 'euclidean'"
            )
        wide /= np.sqrt(squares)[:, None]
        return wide
    if metric == "haversine":
        return _on_sphere(x)
    return x


def _on_sphere(x: NDArray[Any]) -> NDArray[np.float64]:
    if x.shape[1] != 2:
        raise DataError(
            f"metric = 'haversine' takes two columns, latitude and longitude in radians, and X "
            f"has {x.shape[1]}: select the two"
        )
    most = np.array([math.pi / 2, 2 * math.pi]) * (1 + 1e-6)  # float32 rounds ½π up
    if (np.abs(x) > most).any():
        row, column = (int(i) for i in np.argwhere(np.abs(x) > most)[0])
        what = ("latitude", "longitude")[column]
        raise DataError(
            f"row {row} has {what} {x[row, column]:g}: must be in radians, no more than "
            f"{most[column]:.4g} either way; convert degrees by numpy.radians"
        )
    latitude, longitude = x[:, 0].astype(np.float64), x[:, 1].astype(np.float64)
    across = np.cos(latitude)
    return np.column_stack(
        [across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)]
    )
