"""Step 7 on a shard: assign border rows to the lowest cluster among the core rows within eps."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.halo import HaloRound, send_halo
from gpuseg.algorithms.dbscan.messages import HaloClusters, concatenate
from gpuseg.algorithms.dbscan.partition_state import LabelState, load_state
from gpuseg.backends import registry
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard


def assign_local(shard: Shard, context: TaskContext, backend: str) -> None:
    """Assign border rows to clusters of the partition's own core rows."""
    state = load_state(shard, LabelState)
    partition, cluster = state.partition, state.cluster
    partition.n_distances += registry.get_neighbors(backend).assign_border(
        partition.index, ~state.core, partition.index, cluster, cluster, context.map
    )


def send_clusters(
    shard: Shard, context: TaskContext, n_partitions: int, halo_round: HaloRound
) -> list[HaloClusters | None]:
    """Send core rows and their clusters to the partitions that they are near to."""
    state = load_state(shard, LabelState)

    def pack(rows: NDArray[np.bool_]) -> HaloClusters:
        return HaloClusters(state.partition.points[rows], state.cluster[rows])

    return send_halo(state.partition, halo_round, pack, state.core)


def assign_halo(
    shard: Shard,
    context: TaskContext,
    messages: Sequence[HaloClusters | None],
    backend: str,
    eps_bounds: EpsBounds,
) -> None:
    """Assign border rows to clusters of the received core rows, where those are lower."""
    state, halo = load_state(shard, LabelState), concatenate(messages)
    if halo is None:
        return
    partition, neighbors = state.partition, registry.get_neighbors(backend)
    partition.record_halo(len(halo.points))
    halo_index = neighbors.build_index(halo.points, eps_bounds, context.map)
    partition.n_distances += neighbors.assign_border(
        partition.index, ~state.core, halo_index, halo.cluster, state.cluster, context.map
    )
