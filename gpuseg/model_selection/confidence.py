"""How sure it is that a row belongs where it is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Block, Shard

_VALUES_AT_ONCE = 2**22
"""Squared distances of rows to all centres that are in memory at once."""


def confidence_of(
    squares: NDArray[np.float64], segment: NDArray[np.int32] | None = None
) -> NDArray[np.float64]:
    """Return (b - a) / b for each row, with a and b the distances to its centre and the next.

    From 0, on the border between two segments, to 1, at the centre (the simplified silhouette:
    Hruschka, de Castro and Campello, 2004). 0 where there is no other segment.

    Parameters
    ----------
    squares : float64 (m, k)
        Squared distances to the centres.
    segment : int32 (k,), optional
        That of each centre, where a segment has several: the next is then of another segment.
    """
    segment = np.arange(squares.shape[1], dtype=np.int32) if segment is None else segment
    own = squares.argmin(axis=1)
    near = squares[np.arange(len(squares)), own]
    others = np.where(segment == segment[own][:, None], np.inf, squares)
    return simplified_silhouette(np.sqrt(near), np.sqrt(others.min(axis=1)))


def simplified_silhouette(
    near: NDArray[np.float64], far: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (b - a) / b of the distances a to the own centre and b to the next, float64 (m,).

    0 where both are 0, and where there is no other (b is infinite).
    """
    gain: NDArray[np.float64] = np.zeros(len(near))
    np.divide(far - near, far, out=gain, where=(far > 0) & np.isfinite(far))
    return gain


def confidences(
    x: Any, backend: str, centers: NDArray[np.float64], segment: NDArray[np.int32] | None
) -> NDArray[np.float32]:
    """Return `confidence_of` rows (m, d), some at a time, float32 (m,)."""
    b, step = registry.get(backend), max(1, _VALUES_AT_ONCE // len(centers))
    found = np.empty(len(x), np.float32)
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        found[rows] = confidence_of(b.to_host(b.squared_distances(x[rows], centers)), segment)
    return found


def keep_confidence(
    shard: Shard,
    env: TaskContext,
    backend: str,
    centers: NDArray[np.float64],
    segment: NDArray[np.int32] | None,
) -> None:
    """Store the confidence of every row in the shard."""
    found = np.empty(shard.n_rows, np.float32)

    def on(block: Block) -> None:
        found[block.rows] = confidences(block.x, backend, centers, segment)

    for _ in shard.map_blocks(env, on):
        pass
    shard.confidence = found
