"""Results of single items: kept as they come, and taken by the same call of the next attempt."""

import pickle
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from gpuseg.io.output.assignments import Part
from gpuseg.io.parquet.ids import IdRange
from gpuseg.monitoring.distance_sums import DistanceSums
from gpuseg.runtime.checkpoint_folder import CheckpointFolder
from gpuseg.runtime.executor import LocalExecutor, TaskContext
from gpuseg.runtime.kept_items import Keep, KeepingItems
from gpuseg.runtime.record_pickle import dumps, loads


def double_items(shard: list[int], context: TaskContext, calls: Counter, keep: Keep) -> list[int]:
    def double(item: int) -> int:
        calls[item] += 1
        if item < 0:
            raise InterruptedError
        return 2 * item

    return list(context.map(double, shard, keep=keep))


def results(folder: CheckpointFolder, items: list[list[int]], calls: Counter, keep: Keep) -> list:
    executor = LocalExecutor(1)
    executor.load(lambda plan, context: plan, items)
    function = KeepingItems(double_items, folder, "call")
    per_shard = KeepingItems.per_shard(None, executor.n_shards)
    return executor.map(function, calls, keep, per_shard=per_shard)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(fsspec.filesystem("file"), str(tmp_path / "checkpoint"), True)


def test_an_interrupted_call_goes_on_with_the_items_that_are_missing(
    folder: CheckpointFolder, tmp_path: Path
) -> None:
    keep, calls = Keep(lambda result: True, True), Counter[int]()
    with pytest.raises(InterruptedError):
        results(folder, [[1, 2], [3, -4, 5]], calls, keep)
    assert results(folder, [[1, 2], [3, 4, 5]], calls, keep) == [[2, 4], [6, 8, 10]]
    assert calls == Counter({1: 1, 2: 1, 3: 1, -4: 1, 4: 1, 5: 1})
    files = [path for path in (tmp_path / "checkpoint").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {path.stat().st_mode & 0o77 for path in files} == {0}


def test_items_are_made_again_where_their_files_are_lost(
    folder: CheckpointFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Counter[int]()
    results(folder, [[1, 2]], calls, Keep(lambda result: True, False))
    results(folder, [[1, 2]], calls, Keep(lambda result: result != 4, False))
    assert calls == Counter({1: 1, 2: 2})
    (tmp_path / "checkpoint/items/call/0/0").write_bytes(b"torn")
    results(folder, [[1, 2]], calls, Keep(lambda result: True, True))
    assert calls == Counter({1: 2, 2: 2})
    monkeypatch.setattr("gpuseg.runtime.kept_items.machine_start", lambda: "after a crash")
    results(folder, [[1, 2]], calls, Keep(lambda result: True, True))
    assert calls == Counter({1: 2, 2: 2})
    results(folder, [[1, 2]], calls, Keep(lambda result: True, False))
    assert calls == Counter({1: 3, 2: 3})


def test_records_are_the_same_when_loaded() -> None:
    days = pa.array([datetime(2026, 1, 1), None])
    table = pa.table({"x": [1, 2], "y": pa.array(["a", "b"]).dictionary_encode()})
    part = Part("part-00000.parquet", 3, 99, IdRange(1, 3), days)
    others = (datetime.now(UTC), {1, 2}, np.float64(0.5), range(3), np.array(["a", None]).tolist())
    sums = DistanceSums(2)
    sums.add(np.array([0, 1, 1]), np.array([0.5, 1, 2], np.float32))
    values = loads(dumps([table, part, others, np.arange(3), sums]))
    assert values[4].means(np.array([1, 2])) == [0.5, 1.5]
    assert values[0].equals(table) and values[1].picked_ids.equals(days)
    assert replace(values[1], picked_ids=None) == replace(part, picked_ids=None)
    assert values[2] == others and values[3].tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [eval, Path("x"), TaskContext.map, LocalExecutor, pickle.loads])
def test_other_things_than_values_are_not_loaded(value: object) -> None:
    with pytest.raises(pickle.UnpicklingError):
        loads(dumps(value))
