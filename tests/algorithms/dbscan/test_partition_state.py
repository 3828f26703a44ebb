"""The state of a partition: phases, and attempts that overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpuseg.algorithms.dbscan import connect_core, core_counts, cost_model, partition
from gpuseg.algorithms.dbscan.fixed_point_weights import FixedPointWeights
from gpuseg.algorithms.dbscan.messages import PartitionRows
from gpuseg.algorithms.dbscan.partition_state import (
    CountState,
    GroupState,
    LabelState,
    PartitionState,
    begin_attempt,
    current_attempt,
    load_state,
)
from gpuseg.backends import registry
from gpuseg.numerics.eps_bounds import EpsBounds
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.sharding.shard import Shard

MIN_WEIGHT, BACKEND = 5, "numba"
NEIGHBORS = type(registry.get_neighbors(BACKEND))

Step = Callable[[Shard], Any]


def rows() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).uniform(size=(300, 2)).astype(np.float32)


def eps_bounds() -> EpsBounds:
    return EpsBounds.from_ranges(rows().min(axis=0), rows().max(axis=0), 0.004, 2)


def keep_rows(shard: Shard) -> None:
    weights = FixedPointWeights.fit(MIN_WEIGHT, 300.0, True)
    partition.keep_rows(shard, TaskContext(), BACKEND, "euclidean", eps_bounds(), weights)


def receive_rows(shard: Shard) -> None:
    message = PartitionRows(np.arange(300), rows(), None)
    partition.receive_rows(shard, TaskContext(), [message], BACKEND, eps_bounds())


def sample_cost(shard: Shard) -> None:
    assert cost_model.sample_cost(shard, TaskContext(), BACKEND, MIN_WEIGHT, np.int32).in_grid


def count_local(shard: Shard) -> None:
    core_counts.count_local(shard, TaskContext(), BACKEND, MIN_WEIGHT, np.int32)


def connect_local(shard: Shard) -> None:
    connect_core.connect_local(shard, TaskContext(), BACKEND, MIN_WEIGHT)


def assign_clusters(shard: Shard) -> None:
    n_groups = len(load_state(shard, GroupState).roots)
    connect_core.assign_clusters(shard, TaskContext(), np.arange(n_groups))


STEPS: list[Step] = [keep_rows, count_local, connect_local, assign_clusters]


@pytest.mark.parametrize(("before", "late", "owner", "method"), [
    ([], keep_rows, NEIGHBORS, "build_index"),
    ([], receive_rows, NEIGHBORS, "build_index"),
    ([keep_rows], sample_cost, NEIGHBORS, "uses_grid"),
    ([keep_rows], sample_cost, NEIGHBORS, "count_neighbors"),
    ([keep_rows], count_local, NEIGHBORS, "count_neighbors"),
    ([keep_rows, count_local], connect_local, NEIGHBORS, "connect_core"),
    ([keep_rows, count_local, connect_local], assign_clusters, GroupState, "spread"),
])  # fmt: skip
@pytest.mark.parametrize("n_done", range(1, len(STEPS) + 1))
def test_a_late_task_does_not_change_the_state_of_a_later_attempt(
    monkeypatch: pytest.MonkeyPatch,
    before: list[Step],
    late: Step,
    owner: type[Any],
    method: str,
    n_done: int,
) -> None:
    """The later attempt takes some steps while the late task is in a method."""
    shard, original = Shard(rows()), getattr(owner, method)
    states: list[PartitionState] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(owner, method, original)
        for step in STEPS[:n_done]:
            step(shard)
        states.append(load_state(shard, PartitionState))
        return original(*args, **kwargs)

    for step in before:
        step(shard)
    monkeypatch.setattr(owner, method, interrupted)
    late(shard)
    assert len(states) == 1 and load_state(shard, PartitionState) is states[0]
    for step in STEPS[n_done:]:
        step(shard)
    expected = Shard(rows())
    for step in STEPS:
        step(expected)
    np.testing.assert_array_equal(
        load_state(shard, LabelState).label, load_state(expected, LabelState).label
    )


def test_a_state_of_another_phase_is_a_lost_one() -> None:
    shard = Shard(rows())
    with pytest.raises(CacheLost):
        load_state(shard, PartitionState)
    keep_rows(shard)
    with pytest.raises(CacheLost):
        load_state(shard, CountState)
    current_attempt(shard).pop(PartitionState)
    with pytest.raises(CacheLost):
        load_state(shard, PartitionState)
    keep_rows(shard)
    begin_attempt(shard)
    with pytest.raises(CacheLost):
        load_state(shard, PartitionState)
