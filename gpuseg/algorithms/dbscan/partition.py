"""Before rows are compared: weights and corners, regions, and who visits whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.fixed_point_weights import FixedPointWeights
from gpuseg.algorithms.dbscan.partition_state import (
    PartitionState,
    RowBatch,
    keep,
    region_of,
    rows_of,
    together,
)
from gpuseg.algorithms.dbscan.spatial_partition import KDNode, home_of, within_reach
from gpuseg.backends import registry
from gpuseg.errors import ResourceError
from gpuseg.numerics.distance_metrics import Metric, embed
from gpuseg.numerics.eps_bounds import EpsBounds, bounding_box
from gpuseg.numerics.hashing import hash_sample_mask
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

_SAMPLE_ROWS = 2**14
"""For the cuts."""

_MAX_ROWS = 2**31 - 1
"""Of a region: rows are numbered in int32."""


@dataclass(frozen=True)
class Extent:
    """Rows of a shard, the corners of their points, and their weight.

    Attributes
    ----------
    n_rows : int
    low, high : float32 or float64 (d,)
    weight : float
    whole_numbers : bool
        Whether all weights are whole numbers.
    """

    n_rows: int
    low: NDArray[Any]
    high: NDArray[Any]
    weight: float
    whole_numbers: bool


def measure(shard: Shard, env: TaskContext, metric: Metric, enough: int = 1) -> Extent:
    """Return how many rows there are, where, and what they weigh, each no more than `enough`."""
    x, weight = rows_of(shard)
    points = embed(x, metric)
    low, high = bounding_box(points)
    if weight is None:
        return Extent(len(x), low, high, float(len(x)), True)
    weight = np.minimum(weight, enough)
    return Extent(len(x), low, high, float(weight.sum()), bool((weight == np.rint(weight)).all()))


def stay(
    shard: Shard,
    env: TaskContext,
    backend: str,
    metric: Metric,
    reach: EpsBounds,
    counting: FixedPointWeights,
) -> None:
    """Make all rows of the shard its region."""
    x, weight = rows_of(shard)
    points, heavy = embed(x, metric), counting.whole(weight)
    _settle(shard, env, shard.first_row, points, heavy, backend, reach, counting)


def sample(shard: Shard, env: TaskContext, metric: Metric, n_total: int) -> NDArray[Any]:
    """Return some points of the shard, drawn by their place in the data."""
    x, _ = rows_of(shard)
    index = np.arange(shard.first_row, shard.first_row + len(x))
    return embed(x[hash_sample_mask(index, _SAMPLE_ROWS, n_total)], metric)


def send_home(
    shard: Shard,
    env: TaskContext,
    n_pieces: int,
    metric: Metric,
    cuts: KDNode | int,
    counting: FixedPointWeights,
) -> list[RowBatch]:
    """Send every row to its region: place in the data, point, weight."""
    x, weight = rows_of(shard)
    points, heavy = embed(x, metric), counting.whole(weight)
    home = home_of(points, cuts)
    index = np.arange(shard.first_row, shard.first_row + len(x))
    arrays = (index, points) if heavy is None else (index, points, heavy)
    return [tuple(array[home == j] for array in arrays) for j in range(n_pieces)]


def settle(
    shard: Shard,
    env: TaskContext,
    pieces: Sequence[RowBatch],
    backend: str,
    reach: EpsBounds,
    counting: FixedPointWeights,
) -> None:
    """Make the rows that came the region."""
    came = together(pieces) or pieces[0]
    assert came is not None
    where, points, *weight = came
    heavy = weight[0] if weight else None
    _settle(shard, env, where, points, heavy, backend, reach, counting)


def name(shard: Shard, env: TaskContext, number: int) -> None:
    """Tell the region its number."""
    region_of(shard).number = number


def box(shard: Shard, env: TaskContext) -> NDArray[np.float64]:
    """Return the corners of the region, float64 (2, d)."""
    return bounding_box(region_of(shard).points).astype(np.float64)


def n_own(shard: Shard, env: TaskContext) -> int:
    """Return how many rows the region has."""
    return region_of(shard).n_rows


def count_near(
    shard: Shard, env: TaskContext, boxes: Sequence[NDArray[np.float64]], reach: EpsBounds
) -> list[int]:
    """Return how many rows are within reach of each region."""
    points = region_of(shard).points
    return [int(np.count_nonzero(within_reach(points, own, reach))) for own in boxes]


def _settle(
    shard: Shard,
    env: TaskContext,
    where: NDArray[np.int64] | int,
    points: NDArray[Any],
    weight: NDArray[np.int64] | None,
    backend: str,
    reach: EpsBounds,
    counting: FixedPointWeights,
) -> None:
    if len(points) > _MAX_ROWS:
        raise ResourceError(
            f"{len(points):,} rows in one shard: DBSCAN takes less than 2^31 rows a shard; use "
            "more workers (runtime.n_workers)"
        )
    layout = registry.get_neighbors(backend).build_index(points, reach, env.map)
    # np.zeros would cost two page faults each: the counts are read first, and then written
    keep(
        shard,
        PartitionState(where, points, weight, layout, np.full(len(points), 0, counting.dtype)),
    )
