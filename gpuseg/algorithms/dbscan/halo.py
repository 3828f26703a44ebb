"""Counting, linking and claiming: first inside a region, then with the rows that visit it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.partition_state import PartitionState, RowBatch, region_of, together
from gpuseg.algorithms.dbscan.spatial_partition import within_reach
from gpuseg.backends import registry
from gpuseg.backends.neighbors import NO_CLUSTER
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

Choose = Callable[[PartitionState], tuple[NDArray[np.bool_] | None, tuple[NDArray[Any], ...]]]
"""Returns which rows of a region visit, None for all, and what they bring."""

Joined = NDArray[np.int64]
"""Pairs of groups that belong together, (m, 2)."""


@dataclass(frozen=True)
class Round:
    """Who visits whom, once.

    Attributes
    ----------
    visits : sequence of sequences of int
        visits[i] are the regions whose rows visit region i.
    boxes : sequence of float64 (2, d)
        Corners of each region.
    reach : Reach
    """

    visits: Sequence[Sequence[int]]
    boxes: Sequence[NDArray[np.float64]]
    reach: EpsBounds


def send(
    shard: Shard, env: TaskContext, n_pieces: int, choose: Choose, turn: Round
) -> list[RowBatch]:
    """Send rows to the regions that they visit, those within reach of their boxes."""
    own = region_of(shard)
    rows, arrays = choose(own)
    pieces: list[RowBatch] = []
    for j in range(n_pieces):
        if own.number not in turn.visits[j]:
            pieces.append(None)
            continue
        near = within_reach(own.points, turn.boxes[j], turn.reach)
        near = near if rows is None else near & rows
        pieces.append(tuple(array[near] for array in arrays))
    return pieces


def rows_and_weights(own: PartitionState) -> tuple[None, tuple[NDArray[Any], ...]]:
    """Choose all rows: point and weight."""
    return None, (own.points,) if own.weight is None else (own.points, own.weight)


def core_and_groups(own: PartitionState) -> tuple[NDArray[np.bool_], tuple[NDArray[Any], ...]]:
    """Choose core rows: point, and the place in the data of the row that stands for its group."""
    return own.core, (own.points, own.index[own.lowest])


def core_and_clusters(own: PartitionState) -> tuple[NDArray[np.bool_], tuple[NDArray[Any], ...]]:
    """Choose core rows: point and cluster."""
    return own.core, (own.points, own.cluster)


def count_own(shard: Shard, env: TaskContext, backend: str, least: int) -> None:
    """Count the weight of the region's own rows within eps."""
    region_of(shard).count(registry.get_neighbors(backend), least, env.map)


def count_visitors(
    shard: Shard,
    env: TaskContext,
    pieces: Sequence[RowBatch],
    backend: str,
    reach: EpsBounds,
    least: int,
) -> None:
    """Count the weight of visitors within eps."""
    own, b, came = region_of(shard), registry.get_neighbors(backend), together(pieces)
    if came is None:
        return
    own.receive(len(came[0]))
    visitors = b.build_index(came[0], reach, env.map)
    weight = came[1] if len(came) > 1 else None
    own.looked += b.count_neighbors(own.layout, visitors, weight, least, own.found, env.map)


def decide_core(shard: Shard, env: TaskContext, least: int) -> None:
    """Note who has found enough."""
    own = region_of(shard)
    own.core = own.found >= least
    del own.found


def link_own(shard: Shard, env: TaskContext, backend: str) -> NDArray[np.int64]:
    """Link core rows inside the region; return the groups by their place in the data, rising."""
    own = region_of(shard)
    own.lowest, looked = registry.get_neighbors(backend).connect_core(own.layout, own.core, env.map)
    own.looked += looked
    own.groups = np.concatenate([
        rows.start + np.flatnonzero(own.lowest[rows] == np.arange(rows.start, rows.stop))
        for rows in own.blocks()
    ])  # fmt: skip
    return own.index_of(own.groups)


def link_visitors(
    shard: Shard, env: TaskContext, pieces: Sequence[RowBatch], backend: str, reach: EpsBounds
) -> Joined:
    """Return which of the region's groups belong together with which of the visitors'."""
    own, b, came = region_of(shard), registry.get_neighbors(backend), together(pieces)
    if came is None:
        return np.empty((0, 2), np.int64)
    points, group = came
    own.receive(len(points))
    ours = own.index_of(own.groups)
    theirs, visiting = np.unique(group, return_inverse=True)
    here = np.empty(own.n_rows, np.int64)
    _of_groups(own, np.arange(len(ours)), -1, here)
    names = np.concatenate([ours, theirs])
    visitors = b.build_index(points, reach, env.map)
    lowest, looked = b.connect_groups(
        own.layout, here, visitors, visiting + len(ours), len(names), env.map
    )
    own.looked += looked
    joined = np.flatnonzero(lowest != np.arange(len(names)))
    return np.column_stack([names[joined], names[lowest[joined]]])


def number(shard: Shard, env: TaskContext, told: NDArray[np.int64]) -> None:
    """Take the clusters of the region's groups; they take the place of `lowest`."""
    own = region_of(shard)
    own.cluster = own.lowest.view(np.uint32)
    _of_groups(own, told, NO_CLUSTER, own.cluster)
    del own.lowest


def _of_groups(
    own: PartitionState, values: NDArray[np.int64], missing: int, out: NDArray[Any]
) -> None:
    """Write values of groups as values of rows, `missing` for rows of no group.

    Block by block: a fresh array of every row costs more than what is done to it; of `by_row`
    only the pages with groups are touched. `out` may be the memory of `own.lowest`.
    """
    by_row = np.empty(own.n_rows, out.dtype)
    by_row[own.groups] = values
    for rows in own.blocks():
        lowest = own.lowest[rows]
        out[rows] = np.where(lowest < 0, missing, by_row[lowest])


def claim_own(shard: Shard, env: TaskContext, backend: str) -> None:
    """Let core rows of the region claim the others."""
    own = region_of(shard)
    own.looked += registry.get_neighbors(backend).assign_border(
        own.layout, ~own.core, own.layout, own.cluster, own.cluster, env.map
    )


def claim_visited(
    shard: Shard, env: TaskContext, pieces: Sequence[RowBatch], backend: str, reach: EpsBounds
) -> None:
    """Let visitors claim rows of the region."""
    own, b, came = region_of(shard), registry.get_neighbors(backend), together(pieces)
    if came is None:
        return
    points, cluster = came
    own.receive(len(points))
    visitors = b.build_index(points, reach, env.map)
    own.looked += b.assign_border(own.layout, ~own.core, visitors, cluster, own.cluster, env.map)
