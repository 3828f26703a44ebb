"""Initial centres: hashed, weighted, greedy k-means++ on a sample of the data.

1. Sample. Up to `SAMPLE_ROWS` rows at random positions on the axis of cumulated weight, one
   in each of as many equal intervals, the positions hashed from the seed. Neither the sharding
   nor the order of any sum enters, and a row of weight 5 is met as 5 rows of weight 1 would
   be. Data with no more rows than that is taken whole, with its weights.
2. Seed. Greedy k-means++ on the sample (Arthur and Vassilvitskii, "k-means++: the advantages
   of careful seeding", SODA 2007; several candidates a step as in its section 5).
3. Refine. A few Lloyd iterations on the sample, from several seedings; the one with the least
   inertia goes on to the whole data, which then needs few iterations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Backend
from gpuseg.engine import passes
from gpuseg.engine.hashing import uniform
from gpuseg.engine.shard import Shard
from gpuseg.runtime.executor import Executor

SAMPLE_ROWS = 32_768
SAMPLE_ROWS_PER_CENTER = 64

_SAMPLE_STREAM = 0
_FIRST_RESTART_STREAM = 1


@dataclass(frozen=True)
class Sample:
    """Rows that stand for the data in seeding.

    Attributes
    ----------
    x : float32 (m, d)
    weight : float64 (m,) or None
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float64] | None

    def shard(self) -> Shard:
        """Return the sample as a shard of its own."""
        return Shard(self.x, self.weight)


def draw_sample(
    executor: Executor, n_rows: int, weights: list[float], magic: float, k: int, seed: int
) -> Sample:
    """Draw the sample of step 1.

    Parameters
    ----------
    n_rows : int
        Rows of the data.
    weights : list of float
        Σ w of each shard, exact on the grid of `magic`.
    k : int
        Number of centres to seed.
    """
    size = max(SAMPLE_ROWS, SAMPLE_ROWS_PER_CENTER * k)
    if n_rows <= size:
        shards = executor.run(passes.all_rows)
        weight = [w for _, w in shards if w is not None]
        x = np.concatenate([x for x, _ in shards])
        return Sample(x, np.concatenate(weight) if weight else None)
    starts = np.concatenate([[0.0], np.cumsum(weights)])
    at = (np.arange(size) + uniform(seed, _SAMPLE_STREAM, size)) * (starts[-1] / size)
    shares = [
        passes.Positions(at[(at >= low) & (at < high)], low)
        for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
    rows = executor.run(passes.rows_at, magic, each=shares)
    return Sample(np.concatenate(rows), None)


def seed_centers(
    sample: Sample, backend: Backend, k: int, seed: int, restart: int,
    distinct: Callable[[int], NDArray[np.float32]],
) -> NDArray[np.float64]:  # fmt: skip
    """Choose k rows of the sample by greedy k-means++.

    Parameters
    ----------
    restart : int
        Other restarts draw other numbers.
    distinct : callable
        Returns up to so many distinct rows of the whole data; asked where the sample has
        fewer than k.

    Returns
    -------
    float64 (k, d)
        Some of them equal where the data has fewer than k distinct rows.
    """
    weight = np.ones(len(sample.x)) if sample.weight is None else sample.weight
    trials = 2 + int(math.log(k))
    draws = uniform(seed, _FIRST_RESTART_STREAM + restart, k * trials).reshape(k, trials)
    chosen = [_positions(weight, draws[0, :1])[0]]
    nearest = _distances(backend, sample, chosen)[:, 0]
    for step in range(1, k):
        potential = weight * nearest
        if not potential.any():
            return _with_distinct(sample.x[chosen], k, distinct)
        candidates = _positions(potential, draws[step])
        closer = np.minimum(nearest[:, None], _distances(backend, sample, candidates))
        best = int((weight[:, None] * closer).sum(axis=0).argmin())
        chosen.append(candidates[best])
        nearest = closer[:, best]
    return sample.x[chosen].astype(np.float64)


def random_centers(
    sample: Sample, k: int, seed: int, restart: int, distinct: Callable[[int], NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Choose k distinct rows of the sample at random; see `seed_centers`."""
    usable = sample.x if sample.weight is None else sample.x[sample.weight > 0]
    order = np.argsort(uniform(seed, _FIRST_RESTART_STREAM + restart, len(usable)), kind="stable")
    return _with_distinct(passes.first_distinct(usable[order], k), k, distinct)


def _positions(mass: NDArray[np.float64], draws: NDArray[np.float64]) -> list[int]:
    """Return where the draws, in [0, 1), fall on the axis of cumulated mass."""
    ends = np.cumsum(mass)
    index = np.searchsorted(ends, draws * ends[-1], side="right")
    last = int(np.flatnonzero(mass)[-1])
    found: list[int] = np.minimum(index, last).tolist()
    return found


def _distances(backend: Backend, sample: Sample, rows: list[int]) -> NDArray[np.float64]:
    return backend.squared_distances(sample.x, sample.x[rows].astype(np.float64))


def _with_distinct(
    centers: NDArray[np.float32], k: int, distinct: Callable[[int], NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Fill up to k centres with further distinct rows of the whole data.

    Data with fewer than k distinct rows gives each of them a centre, and the first one the
    rest: of equal centres only the lowest index gets rows.
    """
    if len(centers) < k:
        centers = passes.first_distinct(np.concatenate([centers, distinct(k)]), k)
    filled = np.concatenate([centers, np.repeat(centers[:1], k - len(centers), axis=0)])
    return filled.astype(np.float64)
