"""Step 8 on a shard: find the nearest core row of each row that is not core.

The rows' own partition is searched first. Then a partition asks one other partition at a time, only
about rows that may be nearer to the bounding box of its core rows than to the core row found so
far. So there are never more queries than rows of the partition that asks. Partitions whose core
rows are all too far away are never asked, so that there are as many rounds as a partition has
neighbors, not as there are partitions.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.halo import Box, rdist_between, rdist_to_box
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
    """One round of queries: every partition asks at most one other, and answers at most one.

    Attributes
    ----------
    targets : sequence of int or None
        The partition that each partition asks.
    boxes : sequence of float64 (2, d)
        Bounding box of the core rows of each partition.
    eps_bounds : EpsBounds
    """

    targets: Sequence[int | None]
    boxes: Sequence[Box]
    eps_bounds: EpsBounds

    def source(self, number: int) -> int | None:
        """Return the partition that a partition answers."""
        return self.targets.index(number) if number in self.targets else None


def plan_queries(asked: Sequence[Collection[int]]) -> list[list[int | None]]:
    """Plan the rounds of queries: the partition that each partition asks in each round.

    A pair gets the first round in which one has nothing to ask and the other nothing to answer. So
    the rounds are fewer than twice the most partitions that one asks, or is asked by. If all ask
    all, n partitions take n - 1 rounds.

    Parameters
    ----------
    asked : sequence of collections of int
        ``asked[i]`` are the partitions that partition i has to ask.
    """
    n = len(asked)
    asks, answers = [0] * n, [0] * n  # bit r: has something to do in round r
    rounds: list[list[int | None]] = []
    for step in range(1, n):
        for i in range(n):
            j = (i + step) % n
            if j not in asked[i]:
                continue
            free = ~(asks[i] | answers[j])
            number = (free & -free).bit_length() - 1
            if number == len(rounds):
                rounds.append([None] * n)
            rounds[number][i] = j
            asks[i] |= 1 << number
            answers[j] |= 1 << number
    return rounds


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


def find_targets(
    shard: Shard, context: TaskContext, boxes: Sequence[Box], eps_bounds: EpsBounds
) -> set[int]:
    """Return the partitions that may have a nearer core row for some row, by bounding boxes."""
    state = load_state(shard, LabelState)
    if state.rdist is None:
        raise CacheLost
    partition, rows = state.partition, ~state.core
    if not rows.any():
        return set()
    farthest = state.rdist[rows].max()
    box = bounding_box(partition.points[rows]).astype(np.float64)
    bounds = [rdist_between(box, other, eps_bounds.p) * _SLACK for other in boxes]
    return {i for i, bound in enumerate(bounds) if bound < farthest and i != partition.number}


def send_query(
    shard: Shard, context: TaskContext, n_partitions: int, nearest_round: NearestRound
) -> list[NearestQuery | None]:
    """Send rows that may have a nearer core row in the partition that is asked."""
    state = load_state(shard, LabelState)
    messages: list[NearestQuery | None] = [None] * n_partitions
    target = nearest_round.targets[state.partition.number]
    if target is not None:
        rdist, rows = _candidates(state, target, nearest_round)
        if rows.any():
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
    source = nearest_round.source(partition.number)
    query = None if source is None else messages[source]
    if query is None:
        return
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
    source = nearest_round.source(state.partition.number)
    if source is not None:
        messages[source], state.reply = state.reply, None
    return messages


def receive_reply(
    shard: Shard,
    context: TaskContext,
    messages: Sequence[NearestReply | None],
    nearest_round: NearestRound,
) -> None:
    """Update the distances of the rows that were sent in this round."""
    state = load_state(shard, LabelState)
    target = nearest_round.targets[state.partition.number]
    reply = None if target is None else messages[target]
    if target is not None and reply is not None:
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
