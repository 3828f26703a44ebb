"""Before rows are compared: weights and corners, regions, and who visits whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.reach import Reach, corners
from gpuseg.engine.density.cuts import Cut, home_of, within_reach
from gpuseg.engine.density.region import Piece, Region, keep, region_of, rows_of, together
from gpuseg.engine.hashing import drawn
from gpuseg.engine.metrics import Metric, points_of
from gpuseg.engine.shard import Shard
from gpuseg.runtime.executor import Env

_SAMPLE_ROWS = 2**14
"""For the cuts."""


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


def measure(shard: Shard, env: Env, metric: Metric, enough: int = 1) -> Extent:
    """Return how many rows there are, where, and what they weigh, each no more than `enough`."""
    x, weight = rows_of(shard)
    points = points_of(x, metric)
    low, high = corners(points)
    if weight is None:
        return Extent(len(x), low, high, float(len(x)), True)
    weight = np.minimum(weight, enough)
    return Extent(len(x), low, high, float(weight.sum()), bool((weight == np.rint(weight)).all()))


def weight_scale(extents: Sequence[Extent]) -> float:
    """Return the power of two that weights are multiplied with, to be rounded to whole numbers.

    1 where they are whole numbers already; others keep 40 bits behind the point, or as many as
    leave room for the sum of all.
    """
    total = sum(own.weight for own in extents)
    room = 61 - int(np.ceil(np.log2(max(total, 1.0))))
    whole_numbers = all(own.whole_numbers for own in extents)
    return 2.0 ** min(room, 0 if whole_numbers else 40)


def stay(
    shard: Shard,
    env: Env,
    backend: str,
    metric: Metric,
    reach: Reach,
    scale: float,
    enough: int,
) -> None:
    """Make all rows of the shard its region; they weigh no more than is enough."""
    x, weight = rows_of(shard)
    index = np.arange(shard.first_row, shard.first_row + len(x))
    _settled(shard, env, index, points_of(x, metric), _whole(weight, scale, enough), backend, reach)


def sample(shard: Shard, env: Env, metric: Metric, n_total: int) -> NDArray[Any]:
    """Return some points of the shard, drawn by their place in the data."""
    x, _ = rows_of(shard)
    index = np.arange(shard.first_row, shard.first_row + len(x))
    return points_of(x[drawn(index, _SAMPLE_ROWS, n_total)], metric)


def send_home(
    shard: Shard,
    env: Env,
    n_pieces: int,
    metric: Metric,
    cuts: Cut | int,
    scale: float,
    enough: int,
) -> list[Piece]:
    """Send every row to its region: place in the data, point, weight."""
    x, weight = rows_of(shard)
    points, heavy = points_of(x, metric), _whole(weight, scale, enough)
    home = home_of(points, cuts)
    index = np.arange(shard.first_row, shard.first_row + len(x))
    arrays = (index, points) if heavy is None else (index, points, heavy)
    return [tuple(array[home == j] for array in arrays) for j in range(n_pieces)]


def settle(shard: Shard, env: Env, pieces: Sequence[Piece], backend: str, reach: Reach) -> None:
    """Make the rows that came the region."""
    came = together(pieces) or pieces[0]
    assert came is not None
    index, points, *weight = came
    _settled(shard, env, index, points, weight[0] if weight else None, backend, reach)


def name(shard: Shard, env: Env, number: int) -> None:
    """Tell the region its number."""
    region_of(shard).number = number


def box(shard: Shard, env: Env) -> NDArray[np.float64]:
    """Return the corners of the region, float64 (2, d)."""
    return corners(region_of(shard).points).astype(np.float64)


def n_own(shard: Shard, env: Env) -> int:
    """Return how many rows the region has."""
    return len(region_of(shard).index)


def count_near(
    shard: Shard, env: Env, boxes: Sequence[NDArray[np.float64]], reach: Reach
) -> list[int]:
    """Return how many rows are within reach of each region."""
    points = region_of(shard).points
    return [int(np.count_nonzero(within_reach(points, own, reach))) for own in boxes]


def _settled(
    shard: Shard,
    env: Env,
    index: NDArray[np.int64],
    points: NDArray[Any],
    weight: NDArray[np.int64] | None,
    backend: str,
    reach: Reach,
) -> None:
    layout = registry.get_neighbors(backend).lay_out(points, reach, env.map)
    keep(shard, Region(index, points, weight, layout))


def _whole(
    weight: NDArray[np.float64] | None, scale: float, enough: int
) -> NDArray[np.int64] | None:
    """Return weights as whole numbers; a neighbour that is enough alone need not weigh more."""
    if weight is None:
        return None
    return np.rint(np.minimum(weight, enough) * scale).astype(np.int64)
