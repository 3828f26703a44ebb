"""State of a fit in files: a run that was interrupted goes on from them.

A file has what took long to find: which rows are core, their clusters, the distances. Rows are
saved where they have moved between shards. Indices are built again.

A shard reads the file of a state only when a step asks for the state. So the steps to restore it
may be repeated in the lineage of a shard, and only the last one costs anything.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.collect_labels import labels_of
from gpuseg.algorithms.dbscan.fixed_point_weights import FixedPointWeights
from gpuseg.algorithms.dbscan.partition import rows_of
from gpuseg.algorithms.dbscan.partition_state import (
    CountState,
    LabelState,
    Partition,
    PartitionState,
    begin_attempt,
    has_state,
    load_state,
    partition_of,
)
from gpuseg.backends import registry
from gpuseg.numerics.distance_metrics import Metric, embed
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.checkpoint_folder import CheckpointFolder
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.runtime.varies_by_run import AnyId
from gpuseg.sharding.shard import Shard

_ROWS, _LABELS = "rows", "labels"

_FIT = "fit of the labels"
"""Key of the cache for the fit that a shard has the labels of."""

_Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SavedFit:
    """Where the state of a fit is saved, and what else partitions are built from.

    Attributes
    ----------
    folder : CheckpointFolder
    backend : str
    metric : str
    eps_bounds : EpsBounds
    weights : FixedPointWeights
    has_moved : bool
        Whether partitions have rows of other shards.
    id : str
        Differs for each fit, also those that begin again after a loss.
    """

    folder: CheckpointFolder
    backend: str
    metric: Metric
    eps_bounds: EpsBounds
    weights: FixedPointWeights
    has_moved: bool
    id: AnyId = field(default_factory=lambda: AnyId(uuid4().hex))

    def write(self, name: str, number: int, arrays: _Arrays) -> None:
        """Write arrays of the shard with a number."""
        save: Any = np.savez  # its type takes no arrays by name
        self.folder.write(_file(name, number), lambda file: save(file, **arrays))

    def read(self, name: str, number: int) -> _Arrays:
        """Read what `write` has written.

        Raises
        ------
        CacheLost
            If there is no such file, or it is damaged: the fit must begin again.
        """
        try:
            with self.folder.open(_file(name, number)) as file, np.load(file) as arrays:
                return dict(arrays)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):
            raise CacheLost from None


def _file(name: str, number: int) -> str:
    return f"dbscan/{name}-{number:05d}.npz"


def save_rows(shard: Shard, context: TaskContext, saved: SavedFit, number: int) -> None:
    """Save the rows that a partition has received."""
    partition = partition_of(shard)
    arrays: dict[str, NDArray[Any]] = {
        "rows": partition.row_numbers, "points": partition.points,
    }  # fmt: skip
    if partition.weight is not None:
        arrays["weight"] = partition.weight
    saved.write(_ROWS, number, arrays)


def save_state(shard: Shard, context: TaskContext, saved: SavedFit, step: str, number: int) -> None:
    """Save the state that a partition has after a step, but for its rows."""
    state = load_state(shard, PartitionState)
    partition = state.partition
    counters = [partition.n_distances, partition.peak_rows, partition.in_grid]
    arrays: dict[str, NDArray[Any]] = {"counters": np.array(counters, np.int64)}
    if isinstance(state, CountState):
        # Counts of core rows are not exact, and nothing but whether they are core follows.
        core = state.weight_within >= saved.weights.min_weight
    elif isinstance(state, LabelState):
        core = state.core
        arrays["cluster"] = state.cluster
    else:
        raise CacheLost
    arrays["core"] = np.packbits(core)
    saved.write(step, number, arrays)


def restore_state(
    shard: Shard, context: TaskContext, saved: SavedFit, step: str, number: int
) -> None:
    """Give a shard that was built again the state that was saved after a step.

    Nothing is done where the shard still has its state.
    """
    if not has_state(shard):
        parallel = TaskContext(context.threads, scratch_folder=context.scratch_folder)
        begin_attempt(shard).restore = partial(_read_state, shard, parallel, saved, step, number)


def _read_state(
    shard: Shard, context: TaskContext, saved: SavedFit, step: str, number: int
) -> PartitionState:
    arrays = saved.read(step, number)
    partition = _read_partition(shard, context, saved, number)
    n_distances, peak_rows, in_grid = arrays["counters"].tolist()
    partition.n_distances, partition.peak_rows = n_distances, peak_rows
    partition.in_grid = bool(in_grid)
    core = np.unpackbits(arrays["core"], count=partition.n_rows).view(bool)
    if "cluster" in arrays:
        return LabelState(partition, core, arrays["cluster"])
    enough = saved.weights.dtype(saved.weights.min_weight)
    return CountState(partition, core * enough)


def _read_partition(shard: Shard, context: TaskContext, saved: SavedFit, number: int) -> Partition:
    rows: NDArray[np.int64] | int
    weight: NDArray[np.int64] | None
    if saved.has_moved:
        arrays = saved.read(_ROWS, number)
        rows, points, weight = arrays["rows"], arrays["points"], arrays.get("weight")
    else:
        x, sample_weight = rows_of(shard)
        rows, points = shard.first_row, embed(x, saved.metric)
        weight = saved.weights.quantize(sample_weight)
    neighbors = registry.get_neighbors(saved.backend)
    index = neighbors.build_index(points, saved.eps_bounds, context.map)
    return Partition(rows, points, weight, index, number)


def save_labels(shard: Shard, context: TaskContext, saved: SavedFit, number: int) -> None:
    """Save the result for the rows of a shard."""
    label, core = labels_of(shard)
    arrays: dict[str, NDArray[Any]] = {"label": label, "core": np.packbits(core)}
    if shard.distance is not None:
        arrays["distance"] = shard.distance
    saved.write(_LABELS, number, arrays)
    shard.cache[_FIT] = saved.id


def restore_labels(shard: Shard, context: TaskContext, saved: SavedFit, number: int) -> None:
    """Give a shard that was built again its result.

    A shard that is built again may have the labels of an earlier fit that was lost, changed by
    later steps. Where the result cannot be read, the shard has none: a step that needs it lets the
    fit begin again.
    """
    if shard.cache.get(_FIT) == saved.id:
        return
    shard.labels = None
    try:
        arrays = saved.read(_LABELS, number)
    except CacheLost:
        return
    shard.cache[_FIT] = saved.id
    label = arrays["label"]
    shard.labels, shard.labels_by_model = label, [label]
    shard.core = np.unpackbits(arrays["core"], count=len(label)).view(bool)
    shard.distance = arrays.get("distance")
