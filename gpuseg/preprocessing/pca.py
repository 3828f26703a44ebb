"""Principal components, with the same bits for any sharding and on any processor.

The products of the features are summed on grids, in one pass (`numerics.reproducible_sums`); the
eigenvectors follow from Jacobi rotations (`numerics.jacobi`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.feature_transform import Projection
from gpuseg.numerics.jacobi import symmetric_eigen
from gpuseg.numerics.reproducible_sums import finer_magics, grid_magics
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns


@dataclass(frozen=True)
class Components:
    """Principal components of preprocessed features.

    Attributes
    ----------
    projection : Projection
    shares : float64 (p,)
        Share of the total variance along each component.
    """

    projection: Projection
    shares: NDArray[np.float64]


def fit_components(
    executor: Executor,
    backend: str,
    rows: int,
    mean: NDArray[np.float64],
    max_deviation: NDArray[np.float64],
    n_components: float,
) -> Components:
    """Fit principal components to the rows of all shards.

    Parameters
    ----------
    mean, max_deviation : float64 (d,)
        Approximate mean of the features, and an upper bound of |x - mean|.
    n_components : int or float
        Number of components; below 1, the share of the variance that as few components as possible
        must reach together.
    """
    covariance = centered_products(executor, backend, rows, mean, max_deviation) / rows
    values, vectors = symmetric_eigen(covariance)
    values = np.maximum(values, 0.0)
    shares = values / max(values.sum(), np.finfo(float).tiny)
    count = int(n_components)
    if n_components < 1:
        count = min(int(np.searchsorted(np.cumsum(shares), n_components)) + 1, len(values))
    projection = Projection(mean, np.ascontiguousarray(vectors[:count]))
    return Components(projection, shares[:count])


def centered_products(
    executor: Executor,
    backend: str,
    rows: int,
    mean: NDArray[np.float64],
    max_deviation: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return Σ (x_i - mean_i)·(x_j - mean_j) over all rows, float64 (d, d)."""
    grids = product_grids(rows, max_deviation)
    parts = executor.map(columns.gram, backend, mean, grids)
    return symmetric(np.sum(parts, axis=0))


def product_grids(rows: int, max_deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the grids of `Backend.gram`, float64 (2, d, d)."""
    bound = np.outer(max_deviation, max_deviation) * (1 + 2.0**-40)
    coarse = grid_magics(rows, bound)
    return np.array([coarse, finer_magics(rows, coarse)])


def symmetric(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric matrix of a result of `Backend.gram`, float64 (d, d)."""
    upper = levels.sum(axis=0)
    matrix: NDArray[np.float64] = upper + np.triu(upper, 1).T
    return matrix
