"""Initial centers: hashed, weighted, greedy k-means++ on a sample of the data.

Greedy k-means++ (Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA
2007; several candidates per step as in its section 5) chooses one row after the other. Its draws
in a step do not depend on how many steps follow: the seeds of k centers are the first k of any
longer sequence, so that a sweep over k seeds once.

A step compares its candidates with all rows, so that the cost of k steps on a sample of 64·k rows
grows as k². After `WHOLE_STEPS` steps, the seeds divide the rows into cells, and a candidate is
compared with the rows of few cells (`backends.numpy.cell_seeding`). To leave out rows that a new
seed cannot come nearer to is an idea of Raff, "Exact acceleration of k-means++ and k-means‖", IJCAI
2021. Here, it also limits how many rows are read, so that there is time for more candidates.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.kmeans.sampling import SeedingSample
from gpuseg.backends.backend import Backend
from gpuseg.numerics.hashing import hash_uniform, hash_uniform_streams
from gpuseg.runtime.executor import ONE_THREAD, TaskContext
from gpuseg.sharding import row_passes as passes

WHOLE_STEPS = 128
"""Steps whose candidates are compared with all rows; the number of cells after them."""

_CANDIDATES = 5
"""Candidate rows per step; scikit-learn tries 2 + ln k."""

_CANDIDATES_IN_CELLS = 12
"""Candidate rows per step within cells."""

_FIRST_RESTART_STREAM = 1
_FIRST_CELL_STREAM = 2**32

DistinctRows = Callable[[int], NDArray[np.float32]]
"""Returns up to so many distinct rows of the whole data."""


def plus_plus(
    sample: SeedingSample,
    backend: Backend,
    k: int,
    random_state: int,
    restarts: Sequence[int],
    context: TaskContext = ONE_THREAD,
) -> list[NDArray[np.float32]]:
    """Choose up to k rows of the sample by greedy k-means++, in the order of choice.

    Parameters
    ----------
    restarts : sequence of int
        Numbers of the restarts; each draws other numbers.

    Returns
    -------
    list of float32 (m, d)
        The rows of each restart; m is k, or less where the sample has fewer distinct rows.
    """
    weight = np.ones(len(sample.x)) if sample.weight is None else sample.weight
    whole_steps = min(k, WHOLE_STEPS)
    draws = _draws(random_state, _FIRST_RESTART_STREAM, restarts, (whole_steps, _CANDIDATES))
    first = backend.plus_plus(sample.x, weight, draws, context.map)
    if k == whole_steps:
        return [sample.x[rows] for rows in first]
    shape = (k - whole_steps, _CANDIDATES_IN_CELLS)
    draws = _draws(random_state, _FIRST_CELL_STREAM, restarts, shape)
    further = backend.choose_in_cells(sample.x, weight, first, draws, context.map)
    return [sample.x[np.concatenate(rows)] for rows in zip(first, further, strict=True)]


def _draws(
    random_state: int, first_stream: int, restarts: Sequence[int], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return draws (restarts, steps, candidates); those of a step do not depend on later steps."""
    streams = [first_stream + restart for restart in restarts]
    draws = hash_uniform_streams(random_state, streams, shape[0] * shape[1])
    return draws.reshape(len(streams), *shape)


def at_random(
    sample: SeedingSample, k: int, random_state: int, restart: int
) -> NDArray[np.float32]:
    """Choose up to k distinct rows of the sample at random, with probabilities by weight.

    Successive sampling by exponential keys: Efraimidis and Spirakis, "Weighted random sampling
    with a reservoir", Information Processing Letters 97 (2006).
    """
    draws = hash_uniform(random_state, _FIRST_RESTART_STREAM + restart, len(sample.x))
    keys = -np.log1p(-draws)
    if sample.weight is not None:
        keys = keys / sample.weight
    seeds: NDArray[np.float32] = sample.x[np.argsort(keys, kind="stable")[:k]]
    return seeds


def fill_up(seeds: NDArray[np.float32], k: int, distinct: DistinctRows) -> NDArray[np.float64]:
    """Return the first k seeds, filled up with other distinct rows of the data.

    Where the data has fewer than k distinct rows, each gets a center, and the first one also
    gets the centers that are left: of equal centers only the lowest index gets rows.
    """
    centers = seeds[:k]
    if len(centers) < k:
        centers = passes.first_distinct(np.concatenate([centers, distinct(k)]), k)
    copies = np.repeat(centers[:1], k - len(centers), axis=0)
    return np.concatenate([centers, copies]).astype(np.float64)
