"""Step 4 on a shard: count the weight of the rows within eps of each row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.halo import HaloRound, send_halo
from gpuseg.algorithms.dbscan.messages import HaloRows, concatenate
from gpuseg.algorithms.dbscan.partition_state import (
    Attempt,
    CountState,
    PartitionState,
    current_attempt,
    load_state,
    partition_of,
)
from gpuseg.backends import registry
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard


def count_local(
    shard: Shard, context: TaskContext, backend: str, min_weight: int, dtype: type[Any]
) -> None:
    """Count the weight of the partition's own rows, unless the cost estimate has done so.

    `dtype` is that of the counts, see `FixedPointWeights`.
    """
    count_within(current_attempt(shard), context, backend, min_weight, dtype)


def count_within(
    attempt: Attempt, context: TaskContext, backend: str, min_weight: int, dtype: type[Any]
) -> None:
    """Count as `count_local` does, in an attempt."""
    state = attempt.load(PartitionState)
    if isinstance(state, CountState):
        return
    partition = state.partition
    # np.zeros would cost two page faults per page: the counts are read first, and then written
    weight_within = np.full(partition.n_rows, 0, dtype)
    partition.n_distances += registry.get_neighbors(backend).count_neighbors(
        partition.index, partition.index, partition.weight, min_weight, weight_within, context.map
    )
    attempt.store(CountState(partition, weight_within))


def send_rows(
    shard: Shard, context: TaskContext, n_partitions: int, halo_round: HaloRound
) -> list[HaloRows | None]:
    """Send rows and weights to the partitions that they are near to."""
    partition = partition_of(shard)
    points, weight = partition.points, partition.weight

    def pack(rows: NDArray[np.bool_]) -> HaloRows:
        return HaloRows(points[rows], None if weight is None else weight[rows])

    return send_halo(partition, halo_round, pack)


def count_halo(
    shard: Shard,
    context: TaskContext,
    messages: Sequence[HaloRows | None],
    backend: str,
    eps_bounds: EpsBounds,
    min_weight: int,
) -> None:
    """Count the weight of the received rows."""
    state, halo = load_state(shard, CountState), concatenate(messages)
    if halo is None:
        return
    partition, neighbors = state.partition, registry.get_neighbors(backend)
    partition.record_halo(len(halo.points))
    halo_index = neighbors.build_index(halo.points, eps_bounds, context.map)
    partition.n_distances += neighbors.count_neighbors(
        partition.index, halo_index, halo.weight, min_weight, state.weight_within, context.map
    )
