"""Labels and distances, back to the shards whose rows they are of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.core_samples import NOISE
from gpuseg.algorithms.dbscan.cost_model import seconds_of
from gpuseg.algorithms.dbscan.partition_state import RowBatch, forget, region_of, together
from gpuseg.numerics.distance_metrics import Metric, rdist_to_dist
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard


@dataclass(frozen=True)
class PartitionSummary:
    """Rows of a region: of each cluster, int64 (k,), and by kind; and what was done for them."""

    sizes: NDArray[np.int64]
    core: int
    border: int
    noise: int
    looked: int
    seconds: float
    most_rows: int


def first_row(shard: Shard, env: TaskContext) -> int:
    """Return the place in the data of the shard's first row."""
    return shard.first_row


def keep_labels(shard: Shard, env: TaskContext, metric: Metric) -> None:
    """Give the rows of the shard, which are its region, their labels and distances."""
    own = region_of(shard)
    _give(shard, own.label, own.core, own.size if own.measured else None, metric)


def send_back(
    shard: Shard, env: TaskContext, n_pieces: int, starts: Sequence[int]
) -> list[RowBatch]:
    """Send each row's result to its shard: place in the data, label, whether it is core, size."""
    own = region_of(shard)
    bounds = np.searchsorted(own.index, starts[1:])
    size = (own.size,) if own.measured else ()
    arrays = (own.index, own.label, own.core, *size)
    pieces = [np.split(array, bounds) for array in arrays]
    return list(zip(*pieces, strict=True))


def take_labels(shard: Shard, env: TaskContext, pieces: Sequence[RowBatch], metric: Metric) -> None:
    """Give the rows of the shard their labels and distances."""
    came = together(pieces)
    if came is None:
        _give(shard, np.empty(0, np.int32), np.empty(0, bool), np.empty(0), metric)
        return
    order = np.argsort(came[0])
    label, core, *size = (array[order] for array in came[1:])
    _give(shard, label, core, size[0] if size else None, metric)


def tally(shard: Shard, env: TaskContext, n_clusters: int) -> PartitionSummary:
    """Return how many rows of the region are what, and what was done; then forget the region."""
    own = forget(shard)
    label = own.label
    core = int(np.count_nonzero(own.core))
    rows = np.zeros(n_clusters + 1, np.int64)
    for part in own.blocks():
        rows += np.bincount(label[part] - NOISE, minlength=n_clusters + 1)
    noise, sizes = int(rows[0]), rows[1:]
    in_tiles = not own.in_grid or own.measured or own.most_rows > own.n_rows
    seconds = seconds_of(own.looked, own.n_rows, own.points.shape[1], own.in_grid, in_tiles)
    border = len(label) - core - noise
    return PartitionSummary(sizes, core, border, noise, own.looked, float(seconds), own.most_rows)


def _give(
    shard: Shard,
    label: NDArray[np.int32],
    core: NDArray[np.bool_],
    size: NDArray[np.float64] | None,
    metric: Metric,
) -> None:
    shard.distance = None
    if size is not None:
        with np.errstate(over="ignore"):
            shard.distance = rdist_to_dist(size, metric).astype(np.float32)
    shard.labels, shard.labels_by_model, shard.core = label, [label], core
