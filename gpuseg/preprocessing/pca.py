"""Principal components, with the same bits for any sharding and on any processor.

The products of the features are summed on grids, in one pass. Their eigenvectors are found by
Jacobi's rotations, since libraries' methods differ in the last bits between processors: in each
round of a sweep d/2 rotations, of pairs that have no feature in common, so that whole rows and
columns turn at once. Each zeroes its pair's product; after some sweeps nothing is left beside the
diagonal.

Source: Brent and Luk, "The solution of singular-value and symmetric eigenvalue problems on
multiprocessor arrays", SIAM J. Sci. Stat. Comput. 6 (1985), whose tournament of pairs it is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.feature_transform import Projection
from gpuseg.numerics.reproducible_sums import finer_magic, grid_magic
from gpuseg.runtime.executor import Executor
from gpuseg.sharding import column_passes as columns

_MAX_SWEEPS = 60


@dataclass(frozen=True)
class Components:
    """Principal components of prepared features.

    Attributes
    ----------
    projection : Projection
    variance : float64 (p,)
        Population variance along each component kept.
    shares : float64 (p,)
        The same, as shares of the whole.
    """

    projection: Projection
    variance: NDArray[np.float64]
    shares: NDArray[np.float64]


def fit_components(
    executor: Executor,
    backend: str,
    rows: int,
    mean: NDArray[np.float64],
    reach: NDArray[np.float64],
    wanted: float,
) -> Components:
    """Find the principal components of the placed shards.

    Parameters
    ----------
    mean, reach : float64 (d,)
        About the mean of the features; and max |x - mean|, at least.
    wanted : int or float
        How many components; below 1 the share of the variance that they are to have together,
        of which they are as few as will do.
    """
    covariance = products(executor, backend, rows, mean, reach) / rows
    values, vectors = eigen(covariance)
    values = np.maximum(values, 0.0)
    shares = values / max(values.sum(), np.finfo(float).tiny)
    count = int(wanted)
    if wanted < 1:
        count = min(int(np.searchsorted(np.cumsum(shares), wanted)) + 1, len(values))
    projection = Projection(mean, np.ascontiguousarray(vectors[:count]))
    return Components(projection, values[:count], shares[:count])


def products(
    executor: Executor,
    backend: str,
    rows: int,
    mean: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return Σ (x_i - mean_i)·(x_j - mean_j) over all rows, float64 (d, d)."""
    grids = product_grids(rows, reach)
    parts = executor.map(columns.gram, backend, mean, grids)
    return full(np.sum(parts, axis=0))


def product_grids(rows: int, reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the grids of `Backend.gram`, float64 (2, d, d)."""
    bound = np.outer(reach, reach) * (1 + 2.0**-40)
    coarse = np.vectorize(lambda most: grid_magic(rows, most), otypes=[float])(bound)
    fine = np.vectorize(lambda magic: finer_magic(rows, magic), otypes=[float])(coarse)
    return np.array([coarse, fine])


def full(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric matrix of the parts of `Backend.gram`, float64 (d, d)."""
    upper = parts.sum(axis=0)
    symmetric: NDArray[np.float64] = upper + np.triu(upper, 1).T
    return symmetric


def eigen(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return eigenvalues, falling, and the unit vectors of each as rows, of a symmetric matrix.

    A vector's largest entry, the first of several, is positive.

    Returns
    -------
    float64 (d,), float64 (d, d)
    """
    d = len(matrix)
    a, vectors = matrix.copy(), np.eye(d)
    rounds = _tournament(d)
    for _ in range(_MAX_SWEEPS):
        turned = False
        for p, q in rounds:
            turned |= _rotate(a, vectors, p, q)
        if not turned:
            break
    values = np.diag(a).copy()
    order = np.argsort(-values, kind="stable")
    vectors = vectors[order]
    largest = vectors[np.arange(d), np.abs(vectors).argmax(axis=1)]
    return values[order], vectors * np.where(largest < 0, -1.0, 1.0)[:, None]


def _rotate(
    a: NDArray[np.float64],
    vectors: NDArray[np.float64],
    p: NDArray[np.int64],
    q: NDArray[np.int64],
) -> bool:
    """Turn features p[i] and q[i] so that their product vanishes; whether any was worth it."""
    off, own, other = a[p, q], a[p, p], a[q, q]
    worth = np.abs(off) > 2.0**-54 * np.sqrt(np.abs(own) * np.abs(other))
    if not worth.any():
        return False
    p, q, off, own, other = p[worth], q[worth], off[worth], own[worth], other[worth]
    with np.errstate(over="ignore"):
        cotangent = (other - own) / (2.0 * off)
        size = np.abs(cotangent) + np.sqrt(1.0 + cotangent * cotangent)
    tangent = np.where(cotangent < 0, -1.0, 1.0) / size
    cosine = 1.0 / np.sqrt(1.0 + tangent * tangent)
    c, s = cosine[:, None], (tangent * cosine)[:, None]
    for rows in (a, a.T, vectors):
        first, second = rows[p].copy(), rows[q].copy()
        rows[p], rows[q] = c * first - s * second, s * first + c * second
    a[p, q] = a[q, p] = 0.0
    return True


def _tournament(d: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return rounds of disjoint pairs p < q < d, in which each pair occurs once."""
    players = d + d % 2
    ring = list(range(1, players))
    rounds = []
    for turn in range(players - 1):
        seats = [0, *ring[turn:], *ring[:turn]]
        pairs = [sorted((seats[i], seats[-1 - i])) for i in range(players // 2)]
        kept = np.array([pair for pair in pairs if pair[1] < d], np.int64).reshape(-1, 2)
        rounds.append((kept[:, 0], kept[:, 1]))
    return rounds
