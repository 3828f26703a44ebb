"""Steps 1 to 3 on a shard: measure its rows, send them to their partitions, and find the halo."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.fixed_point_weights import FixedPointWeights
from gpuseg.algorithms.dbscan.halo import Box, is_near_box
from gpuseg.algorithms.dbscan.messages import PartitionRows, concatenate
from gpuseg.algorithms.dbscan.partition_state import (
    Partition,
    PartitionState,
    begin_attempt,
    partition_of,
)
from gpuseg.algorithms.dbscan.spatial_partition import KDNode, find_partition
from gpuseg.backends import registry
from gpuseg.errors import ResourceError
from gpuseg.numerics.distance_metrics import Metric, embed
from gpuseg.numerics.eps_bounds import EpsBounds, bounding_box
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

_SAMPLE_ROWS = 2**14
"""Rows of the sample for the k-d tree."""

_MAX_ROWS = 2**31 - 1
"""Maximum rows of a partition; positions are int32."""


@dataclass(frozen=True)
class Extent:
    """Number, bounding box and weight of some rows.

    Attributes
    ----------
    n_rows : int
    low, high : float32 or float64 (d,)
        Corners of the points.
    weight : float
    whole_numbers : bool
        Whether all weights are whole numbers.
    """

    n_rows: int
    low: NDArray[Any]
    high: NDArray[Any]
    weight: float
    whole_numbers: bool

    @classmethod
    def merge(cls, extents: Sequence["Extent"]) -> "Extent":
        """Return the extent of the rows of all shards."""
        return cls(
            sum(extent.n_rows for extent in extents),
            np.min([extent.low for extent in extents], axis=0),
            np.max([extent.high for extent in extents], axis=0),
            sum(extent.weight for extent in extents),
            all(extent.whole_numbers for extent in extents),
        )


def rows_of(shard: Shard) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Return all rows of a shard, (n, d), and their weights; copied only if in several arrays."""
    if len(shard.x) == shard.n_rows:
        return shard.x, shard.weight
    blocks = list(shard.map_blocks(TaskContext(), lambda block: (block.x, block.weight)))
    weights = [weight for _, weight in blocks if weight is not None]
    return np.concatenate([x for x, _ in blocks]), np.concatenate(weights) if weights else None


def measure(shard: Shard, context: TaskContext, metric: Metric, max_weight: int = 1) -> Extent:
    """Return the extent of the shard's points; no weight counts more than `max_weight`."""
    x, weight = rows_of(shard)
    low, high = bounding_box(embed(x, metric))
    if weight is None:
        return Extent(len(x), low, high, float(len(x)), True)
    weight = np.minimum(weight, max_weight)
    return Extent(len(x), low, high, float(weight.sum()), bool((weight == np.rint(weight)).all()))


def keep_rows(
    shard: Shard,
    context: TaskContext,
    backend: str,
    metric: Metric,
    eps_bounds: EpsBounds,
    weights: FixedPointWeights,
) -> None:
    """Make all rows of the only shard its partition."""
    attempt = begin_attempt(shard)
    x, weight = rows_of(shard)
    points = embed(x, metric)
    _check_n_rows(points)
    index = registry.get_neighbors(backend).build_index(points, eps_bounds, context.map)
    partition = Partition(shard.first_row, points, weights.quantize(weight), index)
    attempt.store(PartitionState(partition))


def sample_points(shard: Shard, context: TaskContext, metric: Metric, n_total: int) -> NDArray[Any]:
    """Return some points of the shard, drawn by their positions in the data."""
    x, _ = rows_of(shard)
    row_numbers = np.arange(shard.first_row, shard.first_row + len(x))
    return embed(x[hash_sample_mask(row_numbers, _SAMPLE_ROWS, n_total)], metric)


def send_rows(
    shard: Shard,
    context: TaskContext,
    n_partitions: int,
    metric: Metric,
    tree: KDNode | int,
    weights: FixedPointWeights,
) -> list[PartitionRows]:
    """Send every row to its partition."""
    x, weight = rows_of(shard)
    points, fixed_weight = embed(x, metric), weights.quantize(weight)
    partition = find_partition(points, tree)
    row_numbers = np.arange(shard.first_row, shard.first_row + len(x))
    messages = []
    for number in range(n_partitions):
        rows = partition == number
        sent_weight = None if fixed_weight is None else fixed_weight[rows]
        messages.append(PartitionRows(row_numbers[rows], points[rows], sent_weight))
    return messages


def receive_rows(
    shard: Shard,
    context: TaskContext,
    messages: Sequence[PartitionRows],
    backend: str,
    eps_bounds: EpsBounds,
) -> None:
    """Make the received rows the shard's partition."""
    attempt = begin_attempt(shard)
    row_numbers, points, weight = concatenate(messages) or messages[0]
    _check_n_rows(points)
    index = registry.get_neighbors(backend).build_index(points, eps_bounds, context.map)
    attempt.store(PartitionState(Partition(row_numbers, points, weight, index)))


def set_number(shard: Shard, context: TaskContext, number: int) -> None:
    """Set the number of the partition, which is that of its shard."""
    partition_of(shard).number = number


def partition_box(shard: Shard, context: TaskContext) -> Box:
    """Return the bounding box of the partition."""
    return bounding_box(partition_of(shard).points).astype(np.float64)


def count_rows(shard: Shard, context: TaskContext) -> int:
    """Return the number of rows of the partition."""
    return partition_of(shard).n_rows


def count_near(
    shard: Shard, context: TaskContext, boxes: Sequence[Box], eps_bounds: EpsBounds
) -> list[int]:
    """Return how many rows of the partition are near each partition's box."""
    points = partition_of(shard).points
    return [int(np.count_nonzero(is_near_box(points, box, eps_bounds))) for box in boxes]


def _check_n_rows(points: NDArray[Any]) -> None:
    if len(points) > _MAX_ROWS:
        raise ResourceError(
            "partition.too_many_rows",
            f"one partition has {len(points):,} rows",
            rule="must be fewer than 2^31 for each worker",
            hint="use more workers",
        )
