"""Confidence: how clearly a row belongs to its segment and not to the next one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Block, Shard


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

    def segments(self) -> NDArray[np.int32]:
        """Return the segment of each center."""
        if self.segment is None:
            return np.arange(len(self.centers), dtype=np.int32)
        return self.segment


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
    """Return the confidence of rows (m, d), float32 (m,); see `next_segments`."""
    return next_segments(x, backend, RunnerUp(centers, segment))[1]


def next_segments(
    x: Any, backend: str, runner_up: RunnerUp
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the next segment of each row (m, d) and its confidence, int32 and float32 (m,).

    The confidence is (b - a) / b, where a and b are the distances to its center and to the nearest
    one of another segment: from 0, on the border between two segments, to 1, at the center (the
    simplified silhouette: Hruschka, de Castro and Campello, 2004). Without another segment it is
    0, and the next segment `NO_SEGMENT`.
    """
    following, near, far = registry.get(backend).runner_up(
        x, runner_up.centers, runner_up.segments()
    )
    return following, simplified_silhouette(np.sqrt(near), np.sqrt(far)).astype(np.float32)


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
