"""The workers of a run are called directly; errors, lost shards and progress are those of tasks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from gpuseg.errors import DataError
from gpuseg.runtime.cluster import ClusterSpec, open_executor
from gpuseg.runtime.dask.executor import DaskExecutor
from gpuseg.runtime.dask.worker import forget
from gpuseg.runtime.executor import Executor, TaskContext

pytestmark = pytest.mark.slow

reported: list[int] = []


@pytest.fixture(scope="module")
def started() -> Iterator[Executor]:
    spec = ClusterSpec("dask", 2, 1, None)
    with open_executor(spec, reported.append, lambda text: None) as executor:
        yield executor


@pytest.fixture
def executor(started: Executor) -> Executor:
    started.load(load, [10, 20])
    reported.clear()
    return started


class ErrorOfTwoArguments(Exception):
    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"{name} {number}")


def load(plan: int, context: TaskContext) -> list[int]:
    return [plan]


def append(shard: list[int], context: TaskContext, value: int) -> int:
    shard.append(value)
    return sum(shard)


def total(shard: list[int], context: TaskContext) -> int:
    for _ in range(3):
        context.report(100)
    return sum(shard)


def fail(shard: list[int], context: TaskContext, kind: str) -> NoReturn:
    if kind == "own":
        raise DataError("rows.none", "there are no rows")
    if kind == "built in":
        raise OSError(28, "No space left on device")
    raise ErrorOfTwoArguments("cannot be loaded", 7)


def test_functions_change_and_read_shards(executor: Executor) -> None:
    assert executor.apply(append, 1) == [11, 21]
    assert executor.apply(append, per_shard=[2, 3]) == [13, 24]
    assert executor.map(total) == [13, 24]


def test_every_row_is_reported_once(executor: Executor) -> None:
    executor.map(total)
    executor.map(total)
    assert sum(reported) == 2 * 2 * 300


def test_late_events_report_nothing_twice(executor: Executor) -> None:
    assert isinstance(executor, DaskExecutor)
    for rows in (100, 300, 200, 300):
        executor._report_rows("a call", rows)
    assert reported == [100, 200]


def test_errors_arrive(executor: Executor) -> None:
    with pytest.raises(DataError, match="there are no rows"):
        executor.map(fail, "own")
    with pytest.raises(OSError, match="No space left") as full:
        executor.map(fail, "built in")
    assert "in fail" in full.value.__notes__[0]
    with pytest.raises(RuntimeError, match="cannot be loaded 7") as other:
        executor.map(fail, "other")
    assert "ErrorOfTwoArguments" in other.value.__notes__[0]
    assert executor.map(total) == [10, 20]


def test_shards_that_workers_have_forgotten_are_built_again(executor: Executor) -> None:
    assert isinstance(executor, DaskExecutor)
    executor.apply(append, 1)
    run: Any = executor._shards[1].key.split("/")[0]
    executor._client.run(forget_some, run)
    assert executor.map(total) == [11, 21]
    assert executor.apply(append, 1) == [12, 22]


def forget_some(run: str) -> None:
    """Drop the shards of a run, as a new worker does not have them."""
    from gpuseg.runtime.dask import worker

    forget(run)
    worker._CLOSED_RUNS.discard(run)


def test_shard_of_a_lost_worker_is_built_again(executor: Executor) -> None:
    executor.apply(append, 1)
    pids = executor.map(pid_of)
    os.kill(pids[1], signal.SIGKILL)
    assert executor.map(total) == [11, 21]
    assert executor.map(pid_of)[0] == pids[0]
    assert executor.describe()["recovered_shards"] == 1


def pid_of(shard: list[int], context: TaskContext) -> int:
    return os.getpid()
