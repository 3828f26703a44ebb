"""Tasks that a living scheduler has cancelled are submitted again, but not without an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import pytest
from dask.delayed import delayed
from distributed import Client, Future, LocalCluster, get_worker
from support.errors import raises
from support.helpers import ANY_PORT

from gpuseg.errors import ResourceError
from gpuseg.runtime.cluster import ClusterSpec, open_executor
from gpuseg.runtime.dask.collections import compute_partitions, executor_for_partitions
from gpuseg.runtime.dask.executor import DaskExecutor
from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.retry import retry_if_lost

disturbances: list[Callable[[], None]] = []
"""What the next tasks do first, one each: the workers are threads of this process."""

loaded: list[int] = []

calls: dict[int, list[int]] = {}
"""One item for each call that runs on a shard."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=False, protocol="tcp://",
        dashboard_address=ANY_PORT,
    ) as cluster:  # fmt: skip
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def other(address: str) -> Iterator[Client]:
    """Another client of the same scheduler."""
    with Client(address, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def connected(address: str) -> Iterator[DaskExecutor]:
    spec = ClusterSpec(address, None, None, None)
    with open_executor(spec, lambda rows: None, lambda text: None) as executor:
        assert isinstance(executor, DaskExecutor)
        yield executor


@pytest.fixture
def executor(connected: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> DaskExecutor:
    monkeypatch.setattr("gpuseg.runtime.dask.executor._POLL_SECONDS", 0.05)
    disturbances.clear()
    connected.load(load, [10, 20])
    loaded.clear()
    return connected


def disturb() -> None:
    with suppress(IndexError):
        disturbances.pop()()


def cancel_task(other: Client) -> None:
    """Cancel the task that calls, by another client; return when the scheduler has done so.

    The task itself runs on.
    """
    key = get_worker().get_current_task()
    other.cancel([Future(key, other)], force=True)
    while other.run_on_scheduler(has_task, key):
        time.sleep(0.001)


def has_task(key: Any, dask_scheduler: Any) -> bool:
    return key in dask_scheduler.tasks


def lose_connection(client: Any, other: Client) -> None:
    """Let the scheduler end the connection of a client; return when there is another."""
    before = client.scheduler_comm.comm
    other.run_on_scheduler(end_connection, client.id)
    while client.status != "running" or client.scheduler_comm.comm is before:
        time.sleep(0.001)


def end_connection(client: str, dask_scheduler: Any) -> None:
    dask_scheduler.client_comms[client].comm.abort()


def load(plan: int, context: TaskContext) -> list[int]:
    disturb()
    loaded.append(plan)
    return [plan]


def total(shard: list[int], context: TaskContext) -> int:
    disturb()
    return sum(shard)


def calls_at_once(shard: list[int], context: TaskContext) -> int:
    running = calls.setdefault(shard[0], [])
    running.append(1)
    n_running = len(running)
    disturb()
    time.sleep(0.2)  # the next call comes meanwhile
    running.pop()
    return n_running


def append(shard: list[int], context: TaskContext, value: int) -> int:
    disturb()
    shard.append(value)
    return sum(shard)


def split(shard: list[int], context: TaskContext, n_pieces: int) -> list[int]:
    return [shard[0] * (j + 1) for j in range(n_pieces)]


def join(pieces: list[int]) -> int:
    disturb()
    return sum(pieces)


def take(shard: list[int], context: TaskContext, pieces: list[int]) -> int:
    disturb()
    return sum(pieces)


def convert(partition: int, weight: None = None) -> int:
    disturb()
    return partition + 1


def reloaded(executor: DaskExecutor) -> list[int]:
    executor.load(load, [10, 20])
    return executor.map(total)


def of_partitions(executor: DaskExecutor) -> list[int]:
    return compute_partitions(executor._client, [delayed(10), delayed(20)], convert)


def of_shards_of_partitions(executor: DaskExecutor) -> list[int]:
    partitions = [delayed(10), delayed(20)]
    with executor_for_partitions(executor._client, partitions, None, convert, list) as shards:
        return shards.map(total)


def exchanged(executor: DaskExecutor) -> list[int]:
    return retry_if_lost(lambda: executor.shuffle(split, take))


CALLS: dict[str, tuple[Callable[[DaskExecutor], list[int]], list[int]]] = {
    "map": (lambda executor: executor.map(total), [10, 20]),
    "apply": (lambda executor: executor.apply(append, 1), [11, 21]),
    "load": (reloaded, [10, 20]),
    "shuffle_reduce": (lambda executor: executor.shuffle_reduce(split, join, 2), [30, 60]),
    "shuffle": (exchanged, [30, 60]),
    "partitions": (of_partitions, [11, 21]),
    "shards of partitions": (of_shards_of_partitions, [11, 21]),
}


@pytest.mark.parametrize("name", CALLS)
def test_cancelled_tasks_are_submitted_again(
    executor: DaskExecutor, other: Client, name: str
) -> None:
    call, expected = CALLS[name]
    disturbances.extend([partial(cancel_task, other)] * 2)
    assert call(executor) == expected
    assert disturbances == []
    assert executor.describe()["recovered_shards"] == 0


def test_next_call_on_a_shard_waits_for_the_cancelled_one(
    executor: DaskExecutor, other: Client
) -> None:
    disturbances.extend([partial(cancel_task, other)] * 2)
    assert executor.map(calls_at_once) == [1, 1]


@pytest.mark.parametrize("name", ["map", "shuffle_reduce", "partitions"])
def test_tasks_that_are_cancelled_every_time_are_an_error(
    executor: DaskExecutor, other: Client, name: str
) -> None:
    disturbances.extend([partial(cancel_task, other)] * 100)
    with raises("tasks.cancelled", ResourceError):
        CALLS[name][0](executor)


@pytest.mark.parametrize("name", ["map", "load", "shuffle", "shards of partitions"])
def test_calls_go_on_when_the_connection_is_made_again(
    executor: DaskExecutor, other: Client, name: str
) -> None:
    call, expected = CALLS[name]
    disturbances.append(partial(lose_connection, executor._client, other))
    assert call(executor) == expected
    assert disturbances == []
    executor.map(total)
    loaded.clear()
    executor.map(total)
    assert loaded == []  # workers keep the shards, though no client wanted them for a while


def test_client_that_connects_again_forever_is_a_lost_scheduler(
    executor: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuseg.runtime.dask.executor._ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(executor._client, "status", "connecting")
    with raises("cluster.scheduler_lost", ResourceError):
        executor.map(total)


def test_errors_of_partitions_are_not_those_of_a_connection(executor: DaskExecutor) -> None:
    with pytest.raises(FileNotFoundError):
        compute_partitions(executor._client, [delayed(10)], fail)


def fail(partition: int) -> NoReturn:
    raise FileNotFoundError(2, "No such file or directory")
