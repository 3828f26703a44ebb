"""The workers of a run are called directly; errors, lost shards and progress are those of tasks."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray
from support.errors import raises

from gpuseg.errors import DataError, ResourceError
from gpuseg.runtime.cluster import ClusterSpec, open_executor
from gpuseg.runtime.dask import call_tree
from gpuseg.runtime.dask.executor import DaskExecutor
from gpuseg.runtime.dask.worker import forget
from gpuseg.runtime.executor import Executor, LocalExecutor, TaskContext
from gpuseg.runtime.retry import retry_if_lost

pytestmark = pytest.mark.slow

reported: list[int] = []


@pytest.fixture(scope="module")
def started(
    two_workers: dict[str, Any],  # if they started later, they would use the folder of this run
) -> Iterator[Executor]:
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


def test_calls_are_passed_on_from_worker_to_worker(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_tree, "FAN_OUT", 1)  # the first worker passes on the other's calls
    executor.load(load, [1, 2, 3])
    assert executor.apply(append, per_shard=[4, 5, 6]) == [5, 7, 9]
    assert executor.map(total) == [5, 7, 9]
    assert sum(reported) == 900
    assert executor.shuffle(split_all, take_all) == [21, 21, 21]
    with pytest.raises(DataError, match="there are no rows"):
        executor.map(fail, "own")
    for lost in (0, 1):
        os.kill(executor.map(pid_of)[lost], signal.SIGKILL)
        assert executor.map(total) == [5, 7, 9]


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
    executor._client.run(forget_some, executor._id)
    assert executor.map(total) == [11, 21]
    assert executor.apply(append, 1) == [12, 22]
    executor._client.run(forget_some, executor._id)
    assert retry_if_lost(lambda: executor.shuffle(split_all, take_all)) == [34, 34]


def forget_some(run: str) -> None:
    """Drop the shards of a run, as a new worker does not have them."""
    forget(run)
    open_again(run)


def test_shard_of_a_lost_worker_is_built_again(executor: Executor) -> None:
    executor.apply(append, 1)
    pids = executor.map(pid_of)
    os.kill(pids[1], signal.SIGKILL)
    assert executor.map(total) == [11, 21]
    assert executor.map(pid_of)[0] == pids[0]
    assert executor.describe()["recovered_shards"] == 1


def split_all(shard: list[int], context: TaskContext, n_pieces: int) -> list[int]:
    return [sum(shard)] * n_pieces


def take_all(shard: list[int], context: TaskContext, pieces: list[int]) -> int:
    return sum(pieces)


def test_exchange_of_more_shards_than_workers(executor: Executor) -> None:
    local = LocalExecutor(1)
    for one in (local, executor):
        one.load(load, [1, 20, 300, 4000, 50_000])
    assert executor.shuffle(split_some, take_array) == local.shuffle(split_some, take_array)
    joined = executor.shuffle_reduce(split_some, join_arrays, 13)
    assert joined == local.shuffle_reduce(split_some, join_arrays, 13)
    assert joined[0] is None


def split_some(
    shard: list[int], context: TaskContext, n_pieces: int
) -> list[NDArray[np.int64] | None]:
    """Split a shard to pieces of which some are empty; nobody has one for the first receiver."""
    number = len(str(shard[0]))
    return [
        np.array(shard) * j if j and (number + j) % 3 else None for j in range(n_pieces)
    ]  # fmt: skip


def take_array(
    shard: list[int], context: TaskContext, pieces: Sequence[NDArray[np.int64] | None]
) -> tuple[int, list[int] | None]:
    return shard[0], join_arrays(pieces)


def join_arrays(pieces: Sequence[NDArray[np.int64] | None]) -> list[int] | None:
    """Return the values of the pieces in their order; None where all are empty."""
    some = [piece for piece in pieces if piece is not None]
    return np.concatenate(some).tolist() if some else None


def pid_of(shard: list[int], context: TaskContext) -> int:
    return os.getpid()


def test_workers_lost_during_an_exchange(executor: Executor, tmp_path: Path) -> None:
    for n_lost in (1, 2):
        executor.load(load, [10, 20])  # losses of each load are counted, and have a limit
        split = partial(split_or_die, folder=tmp_path / str(n_lost), n_lost=n_lost)
        assert executor.shuffle_reduce(split, sum, 30) == [30 * (j + 1) for j in range(30)]
    assert executor.describe()["machines"] == [platform.machine()]
    assert isinstance(executor, DaskExecutor)
    events: Any = executor._client.get_events("all")
    assert "remove-client" not in {event["action"] for _, event in events}


def split_or_die(
    shard: list[int], context: TaskContext, n_pieces: int, folder: Path, n_lost: int
) -> list[int]:
    """Split a shard; the first processes that do so are killed."""
    folder.mkdir(exist_ok=True)
    killed = folder / str(shard[0])
    if len(list(folder.iterdir())) < n_lost and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [shard[0] * (j + 1) for j in range(n_pieces)]


def test_errors_of_an_exchange_arrive(executor: Executor) -> None:
    with pytest.raises(DataError, match="there are no rows"):
        executor.shuffle_reduce(fail_split, sum, 2)


def fail_split(shard: list[int], context: TaskContext, n_pieces: int) -> list[int]:
    raise DataError("rows.none", "there are no rows")


def test_pieces_that_nobody_fetched_are_forgotten_with_the_run(executor: Executor) -> None:
    assert isinstance(executor, DaskExecutor)
    with pytest.raises(DataError, match="there are no rows"):
        executor.shuffle(split_or_fail, take_all)  # one shard is split, and the other fails
    assert sum(executor._client.run(n_kept_pieces).values()) == 2
    executor.forget_shards()
    assert sum(executor._client.run(n_kept_pieces).values()) == 0
    executor._client.run(open_again, executor._id)


def split_or_fail(shard: list[int], context: TaskContext, n_pieces: int) -> list[int]:
    if shard[0] > 10:
        raise DataError("rows.none", "there are no rows")
    return [7] * n_pieces


def n_kept_pieces() -> int:
    from gpuseg.runtime.dask import exchange

    return sum(len(pieces) for _, pieces in exchange._PIECES.values())


def open_again(run: str) -> None:
    """Let a worker keep shards of a run again that it was told to forget."""
    from gpuseg.runtime.dask import worker

    worker._CLOSED_RUNS.discard(run)


def test_all_workers_are_lost_at_once(executor: Executor) -> None:
    for pid in executor.map(pid_of):
        os.kill(pid, signal.SIGKILL)
    described = executor.describe()
    assert described["n_workers"] == 2
    assert executor.map(total) == [10, 20]


def test_a_stopped_or_lost_scheduler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is stopped is not waited for; one that is lost is an error in every call."""
    with started_process(SCHEDULER) as (scheduler, address):
        monkeypatch.setattr("gpuseg.runtime.cluster._CONNECT_SECONDS", 0.1)
        scheduler.send_signal(signal.SIGSTOP)
        with raises("cluster.unreachable", ResourceError), connected(address):
            pass
        scheduler.send_signal(signal.SIGCONT)
        monkeypatch.setattr("gpuseg.runtime.cluster._CONNECT_SECONDS", 1)
        with connected(address) as lost:
            lost.load(load, [10])
            scheduler.kill()
            calls: list[Callable[[], object]] = [
                lambda: lost.map(total),
                lambda: lost.apply(append, 1),
                lambda: lost.shuffle_reduce(split_all, sum, 2),
                lambda: lost.shuffle(split_all, take_all),
                lambda: lost.load(load, [10]),
                lost.workers,
            ]
            for call in calls:
                with raises("cluster.scheduler_lost", ResourceError):
                    call()
            assert lost.describe()["n_workers"] == 1


def test_a_client_that_dask_has_closed_is_a_lost_scheduler(two_workers: dict[str, Any]) -> None:
    with connected(two_workers["cluster"]) as executor:
        assert isinstance(executor, DaskExecutor)
        executor._client.sync(executor._client.rpc.close)
        with raises("cluster.scheduler_lost", ResourceError):
            executor.workers()


def connected(address: str) -> AbstractContextManager[Executor]:
    return open_executor(ClusterSpec(address, None, None, None), reported.append, print)


@contextmanager
def started_process(program: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a program; return the process and the address that it prints."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


SCHEDULER = """
import signal
from distributed import LocalCluster
cluster = LocalCluster(1, threads_per_worker=1, processes=False, protocol="tcp://",
                       dashboard_address="127.0.0.1:0")
print(cluster.scheduler_address, flush=True)
signal.pause()
"""
