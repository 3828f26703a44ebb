"""Steps 5 and 6 on a shard: connect core rows to groups, and groups of different partitions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.halo import HaloRound, send_halo
from gpuseg.algorithms.dbscan.messages import HaloGroups, concatenate
from gpuseg.algorithms.dbscan.partition_state import (
    CountState,
    GroupState,
    LabelState,
    current_attempt,
    load_state,
)
from gpuseg.backends import registry
from gpuseg.backends.neighbors import NO_CLUSTER
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

GroupPairs = NDArray[np.int64]
"""Pairs of groups that are connected, (m, 2); a group is the row number of its root."""


def connect_local(
    shard: Shard, context: TaskContext, backend: str, min_weight: int
) -> NDArray[np.int64]:
    """Mark the core rows and connect those of the partition; return the groups, increasing."""
    attempt = current_attempt(shard)
    state = attempt.pop(CountState)
    partition, core = state.partition, state.weight_within >= min_weight
    del state  # frees the counts
    root, n_distances = registry.get_neighbors(backend).connect_core(
        partition.index, core, context.map
    )
    partition.n_distances += n_distances
    roots = np.concatenate(
        [
            rows.start + np.flatnonzero(root[rows] == np.arange(rows.start, rows.stop))
            for rows in partition.blocks()
        ]
    )
    attempt.store(GroupState(partition, core, root, roots))
    return partition.row_numbers_at(roots)


def send_groups(
    shard: Shard, context: TaskContext, n_partitions: int, halo_round: HaloRound
) -> list[HaloGroups | None]:
    """Send core rows and their groups to the partitions that they are near to."""
    state = load_state(shard, GroupState)
    partition = state.partition

    def pack(rows: NDArray[np.bool_]) -> HaloGroups:
        return HaloGroups(partition.points[rows], partition.row_numbers_at(state.root[rows]))

    return send_halo(partition, halo_round, pack, state.core)


def connect_halo(
    shard: Shard,
    context: TaskContext,
    messages: Sequence[HaloGroups | None],
    backend: str,
    eps_bounds: EpsBounds,
) -> GroupPairs:
    """Return which groups of the partition are connected with which of the received groups."""
    state, halo = load_state(shard, GroupState), concatenate(messages)
    if halo is None:
        return np.empty((0, 2), np.int64)
    partition, neighbors = state.partition, registry.get_neighbors(backend)
    partition.record_halo(len(halo.points))
    local_groups = partition.row_numbers_at(state.roots)
    halo_groups, halo_group = np.unique(halo.group, return_inverse=True)
    groups = np.concatenate([local_groups, halo_groups])
    local_group = np.empty(partition.n_rows, np.int64)
    state.spread(np.arange(len(local_groups)), -1, local_group)
    halo_index = neighbors.build_index(halo.points, eps_bounds, context.map)
    lowest, n_distances = neighbors.connect_groups(
        partition.index, local_group, halo_index, halo_group + len(local_groups), len(groups),
        context.map,
    )  # fmt: skip
    partition.n_distances += n_distances
    connected = np.flatnonzero(lowest != np.arange(len(groups)))
    return np.column_stack([groups[connected], groups[lowest[connected]]])


def assign_clusters(shard: Shard, context: TaskContext, clusters: NDArray[np.int64]) -> None:
    """Give core rows the clusters of their groups, (n_groups,), and all others none."""
    attempt = current_attempt(shard)
    state = attempt.pop(GroupState)
    cluster = state.root.view(np.uint32)  # reuses the memory of the roots
    state.spread(clusters, NO_CLUSTER, cluster)
    attempt.store(LabelState(state.partition, state.core, cluster))
