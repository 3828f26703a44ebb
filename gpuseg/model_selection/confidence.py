"""Confidence: how clearly a row belongs to its segment and not to the next one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Block, Shard

_MAX_VALUES = 2**22
"""Maximum squared distances in memory at once."""


def confidence_of(
    squares: NDArray[np.float64], segment: NDArray[np.int32] | None = None
) -> NDArray[np.float64]:
    """Return (b - a) / b for each row, where a and b are the distances to its center and the next.

    From 0, on the border between two segments, to 1, at the center (the simplified silhouette:
    Hruschka, de Castro and Campello, 2004). 0 where there is no other segment.

    Parameters
    ----------
    squares : float64 (m, k)
        Squared distances to the centers.
    segment : int32 (k,), optional
        The segment of each center, where a segment has several: the next center is then one of
        another segment.
    """
    segment = np.arange(squares.shape[1], dtype=np.int32) if segment is None else segment
    nearest = squares.argmin(axis=1)
    near = squares[np.arange(len(squares)), nearest]
    others = np.where(segment == segment[nearest][:, None], np.inf, squares)
    return simplified_silhouette(np.sqrt(near), np.sqrt(others.min(axis=1)))


def simplified_silhouette(
    near: NDArray[np.float64], far: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (b - a) / b of the distances a to the nearest center and b to the next, float64 (m,).

    0 where both are 0, and where there is no other center (b is infinite).
    """
    silhouette: NDArray[np.float64] = np.zeros(len(near))
    np.divide(far - near, far, out=silhouette, where=(far > 0) & np.isfinite(far))
    return silhouette


def confidences(
    x: Any, backend: str, centers: NDArray[np.float64], segment: NDArray[np.int32] | None
) -> NDArray[np.float32]:
    """Return `confidence_of` rows (m, d), computed in blocks, float32 (m,)."""
    b, step = registry.get(backend), max(1, _MAX_VALUES // len(centers))
    confidence = np.empty(len(x), np.float32)
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        squares = b.to_host(b.squared_distances(x[rows], centers))
        confidence[rows] = confidence_of(squares, segment)
    return confidence


def keep_confidence(
    shard: Shard,
    context: TaskContext,
    backend: str,
    centers: NDArray[np.float64],
    segment: NDArray[np.int32] | None,
) -> None:
    """Store the confidence of every row in the shard."""
    confidence = np.empty(shard.n_rows, np.float32)

    def fill_block(block: Block) -> None:
        confidence[block.rows] = confidences(block.x, backend, centers, segment)

    for _ in shard.map_blocks(context, fill_block):
        pass
    shard.confidence = confidence
