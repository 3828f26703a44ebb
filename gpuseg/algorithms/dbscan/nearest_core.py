"""Step 8 on a shard: find the nearest core row of each row that is not core.

The own partition is searched first. Then a partition asks one other partition at a time, only
about rows that may be nearer to the bounding box of its core rows than to the core row found so
far. So there are never more queries than rows of the partition that asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.halo import Box, rdist_to_box
from gpuseg.algorithms.dbscan.messages import NearestQuery, NearestReply
from gpuseg.algorithms.dbscan.partition_state import LabelState, load_state
from gpuseg.backends import registry
from gpuseg.numerics.eps_bounds import EpsBounds, bounding_box
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.sharding.shard import Shard

_SLACK = 1 - 1e-9
"""Factor below the rounding error of a reduced distance in float64."""


@dataclass(frozen=True)
class NearestRound:
    """One round of queries: every partition asks one other, and answers one other.

    Attributes
    ----------
    step : int
        Partition i asks partition i + step, modulo their number.
    boxes : sequence of float64 (2, d)
        Bounding box of the core rows of each partition.
    eps_bounds : EpsBounds
    """

    step: int
    boxes: Sequence[Box]
    eps_bounds: EpsBounds

    def target(self, number: int) -> int:
        """Return the partition that a partition asks."""
        return (number + self.step) % len(self.boxes)

    def source(self, number: int) -> int:
        """Return the partition that a partition answers."""
        return (number - self.step) % len(self.boxes)


def find_local(shard: Shard, context: TaskContext, backend: str) -> None:
    """Find the nearest core row of the partition for all rows that are not core."""
    state = load_state(shard, LabelState)
    partition, core = state.partition, state.core
    rdist = np.where(core, 0.0, np.inf)[:, None]
    partition.n_distances += registry.get_neighbors(backend).find_nearest(
        partition.index, ~core, partition.index, core, rdist, np.full(rdist.shape, -1), context.map
    )
    state.rdist = rdist[:, 0]


def core_box(shard: Shard, context: TaskContext) -> Box:
    """Return the bounding box of the partition's core rows."""
    state = load_state(shard, LabelState)
    return bounding_box(state.partition.points[state.core]).astype(np.float64)


def send_query(
    shard: Shard, context: TaskContext, n_partitions: int, nearest_round: NearestRound
) -> list[NearestQuery | None]:
    """Send rows that may have a nearer core row in the partition that is asked."""
    state = load_state(shard, LabelState)
    target = nearest_round.target(state.partition.number)
    rdist, rows = _candidates(state, target, nearest_round)
    messages: list[NearestQuery | None] = [None] * n_partitions
    messages[target] = NearestQuery(state.partition.points[rows], rdist[rows])
    return messages


def answer_query(
    shard: Shard,
    context: TaskContext,
    messages: Sequence[NearestQuery | None],
    backend: str,
    nearest_round: NearestRound,
) -> None:
    """Find the nearest core row of the partition for the received rows; keep the reply."""
    state, neighbors = load_state(shard, LabelState), registry.get_neighbors(backend)
    partition = state.partition
    query = messages[nearest_round.source(partition.number)]
    assert query is not None  # every partition asks one other
    partition.record_halo(len(query.points))
    rdist = query.rdist[:, None].copy()
    partition.n_distances += neighbors.find_nearest(
        neighbors.build_index(query.points, nearest_round.eps_bounds, context.map),
        np.ones(len(query.points), bool),
        partition.index,
        state.core,
        rdist,
        np.full(rdist.shape, -1),
        context.map,
    )
    state.reply = NearestReply(rdist[:, 0])


def send_reply(
    shard: Shard, context: TaskContext, n_partitions: int, nearest_round: NearestRound
) -> list[NearestReply | None]:
    """Send the reply to the partition that asked."""
    state = load_state(shard, LabelState)
    messages: list[NearestReply | None] = [None] * n_partitions
    messages[nearest_round.source(state.partition.number)] = state.reply
    state.reply = None
    return messages


def receive_reply(
    shard: Shard,
    context: TaskContext,
    messages: Sequence[NearestReply | None],
    nearest_round: NearestRound,
) -> None:
    """Update the distances of the rows that were sent in this round."""
    state = load_state(shard, LabelState)
    target = nearest_round.target(state.partition.number)
    reply = messages[target]
    assert reply is not None  # every partition answers one other
    rdist, rows = _candidates(state, target, nearest_round)
    rdist[rows] = reply.rdist


def _candidates(
    state: LabelState, target: int, nearest_round: NearestRound
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the distances found so far, and the rows that `target` may have a nearer core row for.

    Both calls of a round give the same rows, since no distance changes in between.
    """
    if state.rdist is None:
        raise CacheLost
    lower_bound = rdist_to_box(
        state.partition.points, nearest_round.boxes[target], nearest_round.eps_bounds.p
    )
    return state.rdist, (lower_bound * _SLACK < state.rdist) & ~state.core
