"""Confidence: how clearly a row belongs to its segment and not to the next one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Block, Shard

_MAX_VALUES = 2**22
"""Maximum squared distances in memory at once."""

NO_SEGMENT = -1
"""The next segment where there is one segment only."""


@dataclass(frozen=True)
class RunnerUp:
    """Centers that tell how close each row is to another segment: its confidence.

    Attributes
    ----------
    centers : float64 (m, d)
        In scaled units.
    segment : int32 (m,) or None
        Segment of each center; None if center i is that of segment i.
    """

    centers: NDArray[np.float64]
    segment: NDArray[np.int32] | None = None


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
    return next_and_confidence(squares, segment)[1]


def next_and_confidence(
    squares: NDArray[np.float64], segment: NDArray[np.int32] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the next segment of each row, `NO_SEGMENT` without one, and its confidence.

    The parameters are those of `confidence_of`. Both arrays are (m,).
    """
    segment = np.arange(squares.shape[1], dtype=np.int32) if segment is None else segment
    rows = np.arange(len(squares))
    nearest = squares.argmin(axis=1)
    others = np.where(segment == segment[nearest][:, None], np.inf, squares)
    following = others.argmin(axis=1)
    near, far = squares[rows, nearest], others[rows, following]
    next_segment = np.where(np.isfinite(far), segment[following], NO_SEGMENT).astype(np.int32)
    return next_segment, simplified_silhouette(np.sqrt(near), np.sqrt(far))


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
    return next_segments(x, backend, RunnerUp(centers, segment))[1]


def next_segments(
    x: Any, backend: str, runner_up: RunnerUp
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return `next_and_confidence` of rows (m, d), computed in blocks, int32 and float32 (m,)."""
    b, step = registry.get(backend), max(1, _MAX_VALUES // len(runner_up.centers))
    following, confidence = np.empty(len(x), np.int32), np.empty(len(x), np.float32)
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        squares = b.to_host(b.squared_distances(x[rows], runner_up.centers))
        following[rows], confidence[rows] = next_and_confidence(squares, runner_up.segment)
    return following, confidence


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
