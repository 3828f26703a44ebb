"""The nearest core row of rows that are not core: its own region's, then that of others.

A region asks one other region at a time, and only for rows that may be nearer to its box than to
what they have found; so rows that ask never outnumber the region that they come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.partition_state import PartitionState, RowBatch, region_of
from gpuseg.algorithms.dbscan.spatial_partition import sizes_to
from gpuseg.backends import registry
from gpuseg.numerics.eps_bounds import EpsBounds, bounding_box
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

_ANSWER = "answer"

_ROUNDING = 1 - 1e-9
"""Less than the rounding of a size in float64."""


@dataclass(frozen=True)
class Turn:
    """Who asks whom.

    Attributes
    ----------
    step : int
        Region i asks region i + step.
    boxes : sequence of float64 (2, d)
        Corners of each region's core rows.
    reach : Reach
    """

    step: int
    boxes: Sequence[NDArray[np.float64]]
    reach: EpsBounds


def begin(shard: Shard, env: TaskContext) -> None:
    """Note that core rows are their own nearest."""
    own = region_of(shard)
    own.size, own.measured = np.where(own.core, 0.0, np.inf), True


def nearest_own(shard: Shard, env: TaskContext, backend: str) -> None:
    """Find the nearest core row of the region for all that are not core."""
    own = region_of(shard)
    best = own.size[:, None].copy()
    own.looked += registry.get_neighbors(backend).find_nearest(
        own.layout, ~own.core, own.layout, own.core, best, np.full(best.shape, -1), env.map
    )
    own.size = best[:, 0]


def core_box(shard: Shard, env: TaskContext) -> NDArray[np.float64]:
    """Return the corners of the region's core rows, float64 (2, d)."""
    own = region_of(shard)
    return bounding_box(own.points[own.core]).astype(np.float64)


def ask(
    shard: Shard,
    env: TaskContext,
    n_pieces: int,
    turn: Turn,
) -> list[RowBatch]:
    """Send rows to the region `step` after this one: point, size of the best found."""
    own = region_of(shard)
    asked: list[RowBatch] = [None] * n_pieces
    to = (own.number + turn.step) % n_pieces
    may = _may_be_nearer(own, turn.boxes[to], turn.reach)
    asked[to] = own.points[may], own.size[may]
    return asked


def answer(
    shard: Shard, env: TaskContext, pieces: Sequence[RowBatch], backend: str, reach: EpsBounds
) -> None:
    """Find the nearest core row of the region for the rows that came."""
    own, b = region_of(shard), registry.get_neighbors(backend)
    came = next((own for own in enumerate(pieces) if own[1] is not None), None)
    shard.cache[_ANSWER] = None
    if came is None or came[1] is None:
        return
    points, size = came[1]
    own.receive(len(points))
    best = size[:, None].copy()
    own.looked += b.find_nearest(
        b.build_index(points, reach, env.map), np.ones(len(points), bool), own.layout, own.core,
        best, np.full(best.shape, -1), env.map,
    )  # fmt: skip
    shard.cache[_ANSWER] = came[0], best[:, 0]


def send_answer(shard: Shard, env: TaskContext, n_pieces: int) -> list[RowBatch]:
    """Send back what was found."""
    region_of(shard)
    pieces: list[RowBatch] = [None] * n_pieces
    if answered := shard.cache.pop(_ANSWER, None):
        pieces[answered[0]] = (answered[1],)
    return pieces


def take_answer(
    shard: Shard,
    env: TaskContext,
    pieces: Sequence[RowBatch],
    turn: Turn,
) -> None:
    """Take the sizes that the region `step` after this one has found."""
    own = region_of(shard)
    to = (own.number + turn.step) % len(turn.boxes)
    came = pieces[to]
    if came is not None:
        own.size[_may_be_nearer(own, turn.boxes[to], turn.reach)] = came[0]


def _may_be_nearer(
    own: PartitionState, box: NDArray[np.float64], reach: EpsBounds
) -> NDArray[np.bool_]:
    near: NDArray[Any] = sizes_to(own.points, box, reach.p) * _ROUNDING < own.size
    return near & ~own.core
