"""Initial centres: hashed, weighted, greedy k-means++ on a sample of the data.

Greedy k-means++ (Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA
2007; several candidates a step as in its section 5) chooses one row after the other. What it
draws at a step does not depend on how many are still to come: the seeds of k centres are the
first k of any longer sequence, so that a sweep over k seeds once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.sampling import Sample
from gpuseg.backends.backend import Backend
from gpuseg.numerics.hashing import hash_uniform
from gpuseg.sharding import row_passes as passes

_CANDIDATES = 5
"""Rows tried a step; scikit-learn tries 2 + ln k."""

_FIRST_RESTART_STREAM = 1

Distinct = Callable[[int], NDArray[np.float32]]
"""Returns up to so many distinct rows of the whole data."""


def plus_plus(
    sample: Sample, backend: Backend, k: int, seed: int, restart: int
) -> NDArray[np.float32]:
    """Choose up to k rows of the sample by greedy k-means++, in the order chosen.

    Parameters
    ----------
    restart : int
        Other restarts draw other numbers.

    Returns
    -------
    float32 (m, d)
        m is k, or less where the sample has fewer distinct rows.
    """
    weight = np.ones(len(sample.x)) if sample.weight is None else sample.weight
    draws = hash_uniform(seed, _FIRST_RESTART_STREAM + restart, k * _CANDIDATES).reshape(k, -1)
    there = backend.to_device(sample.x)
    chosen = [_positions(weight, draws[0, :1])[0]]
    nearest = _distances(backend, there, sample.x[chosen])[:, 0]
    for step in range(1, k):
        potential = weight * nearest
        if not potential.any():
            break
        candidates = _positions(potential, draws[step])
        closer = np.minimum(nearest[:, None], _distances(backend, there, sample.x[candidates]))
        # Not weight @ closer: the order of a BLAS's additions depends on the processor.
        best = int((weight[:, None] * closer).sum(axis=0).argmin())
        chosen.append(candidates[best])
        nearest = closer[:, best]
    return sample.x[chosen]


def at_random(sample: Sample, k: int, seed: int, restart: int) -> NDArray[np.float32]:
    """Choose up to k distinct rows of the sample at random, each as likely as its weight says.

    Successive sampling by exponential keys: Efraimidis and Spirakis, "Weighted random sampling
    with a reservoir", Information Processing Letters 97 (2006).
    """
    draws = hash_uniform(seed, _FIRST_RESTART_STREAM + restart, len(sample.x))
    keys = -np.log1p(-draws)
    if sample.weight is not None:
        keys = keys / sample.weight
    chosen: NDArray[np.float32] = sample.x[np.argsort(keys, kind="stable")[:k]]
    return chosen


def filled(chosen: NDArray[np.float32], k: int, distinct: Distinct) -> NDArray[np.float64]:
    """Return the first k of the rows chosen, filled up with further distinct rows of the data.

    Data with fewer than k distinct rows gives each of them a centre, and the first one the
    rest: of equal centres only the lowest index gets rows.
    """
    centers = chosen[:k]
    if len(centers) < k:
        centers = passes.first_distinct(np.concatenate([centers, distinct(k)]), k)
    same = np.repeat(centers[:1], k - len(centers), axis=0)
    return np.concatenate([centers, same]).astype(np.float64)


def _positions(mass: NDArray[np.float64], draws: NDArray[np.float64]) -> list[int]:
    """Return where the draws, in [0, 1), fall on the axis of cumulated mass."""
    ends = np.cumsum(mass)
    index = np.searchsorted(ends, draws * ends[-1], side="right")
    last = int(np.flatnonzero(mass)[-1])
    found: list[int] = np.minimum(index, last).tolist()
    return found


def _distances(backend: Backend, x: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return backend.to_host(backend.squared_distances(x, rows.astype(np.float64)))
