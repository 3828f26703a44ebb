"""Step 9 on a shard: send labels and distances back to the shards of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.core_samples import NOISE
from gpuseg.algorithms.dbscan.cost_model import estimate_seconds
from gpuseg.algorithms.dbscan.messages import RowLabels, concatenate
from gpuseg.algorithms.dbscan.partition_state import LabelState, current_attempt, load_state
from gpuseg.numerics.distance_metrics import Metric, rdist_to_dist
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.sharding.shard import Shard


@dataclass(frozen=True)
class PartitionSummary:
    """Result of a partition, and the work it took.

    Attributes
    ----------
    sizes : int64 (n_clusters,)
        Rows of the partition in each cluster.
    core, border, noise : int
        Rows of each kind.
    n_distances : int
        Pairs of rows with a computed distance.
    seconds : float
        What that work takes on one thread, by the cost model.
    peak_rows : int
        Maximum number of rows held at once, halo rows included.
    """

    sizes: NDArray[np.int64]
    core: int
    border: int
    noise: int
    n_distances: int
    seconds: float
    peak_rows: int

    @property
    def n_rows(self) -> int:
        """Number of rows, int."""
        return self.core + self.border + self.noise


def labels_of(shard: Shard) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the labels of a clustered shard, and which rows are core.

    Raises
    ------
    CacheLost
        Where the shard was rebuilt since.
    """
    if shard.labels is None or shard.core is None:
        raise CacheLost
    return shard.labels, shard.core


def first_row(shard: Shard, context: TaskContext) -> int:
    """Return the position of the shard's first row in the data."""
    return shard.first_row


def keep_labels(shard: Shard, context: TaskContext, metric: Metric) -> None:
    """Store labels and distances in the only shard, which is its own partition."""
    state = load_state(shard, LabelState)
    _store(shard, state.label, state.core, state.rdist, metric)


def send_labels(
    shard: Shard, context: TaskContext, n_shards: int, starts: Sequence[int]
) -> list[RowLabels]:
    """Send the result of each row to its shard; shard i has the rows from ``starts[i]``."""
    state = load_state(shard, LabelState)
    row_numbers = state.partition.row_numbers
    bounds = [0, *np.searchsorted(row_numbers, starts[1:]).tolist(), len(row_numbers)]
    slices = [slice(bounds[i], bounds[i + 1]) for i in range(n_shards)]
    return [
        RowLabels(
            row_numbers[rows],
            state.label[rows],
            state.core[rows],
            None if state.rdist is None else state.rdist[rows],
        )
        for rows in slices
    ]


def receive_labels(
    shard: Shard, context: TaskContext, messages: Sequence[RowLabels], metric: Metric
) -> None:
    """Store the received labels and distances in the order of the shard's rows."""
    results = concatenate(messages)
    if results is None:
        _store(shard, np.empty(0, np.int32), np.empty(0, bool), np.empty(0), metric)
        return
    order = np.argsort(results.row_numbers)
    rdist = None if results.rdist is None else results.rdist[order]
    _store(shard, results.label[order], results.core[order], rdist, metric)


def summarize(shard: Shard, context: TaskContext, n_clusters: int) -> PartitionSummary:
    """Return the summary of the partition, and drop its state."""
    state = current_attempt(shard).pop(LabelState)
    partition, label = state.partition, state.label
    counts = np.zeros(n_clusters + 1, np.int64)
    for rows in partition.blocks():
        counts += np.bincount(label[rows] - NOISE, minlength=n_clusters + 1)
    noise, sizes = int(counts[0]), counts[1:]
    core = int(np.count_nonzero(state.core))
    has_halo = partition.peak_rows > partition.n_rows
    in_tiles = not partition.in_grid or state.rdist is not None or has_halo
    n_rows, n_features = partition.points.shape
    seconds = estimate_seconds(
        partition.n_distances, n_rows, n_features, partition.in_grid, in_tiles
    )
    return PartitionSummary(
        sizes,
        core,
        n_rows - core - noise,
        noise,
        partition.n_distances,
        float(seconds),
        partition.peak_rows,
    )


def _store(
    shard: Shard,
    label: NDArray[np.int32],
    core: NDArray[np.bool_],
    rdist: NDArray[np.float64] | None,
    metric: Metric,
) -> None:
    shard.distance = None
    if rdist is not None:
        with np.errstate(over="ignore"):
            shard.distance = rdist_to_dist(rdist, metric).astype(np.float32)
    shard.labels, shard.labels_by_model, shard.core = label, [label], core
