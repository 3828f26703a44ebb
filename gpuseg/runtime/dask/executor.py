"""Shards on Dask workers: one task or call per shard and pass, and no state in Dask.

A shard lives in the process of its worker (`runtime.dask.worker`); Dask sees only small tasks on
it. Workers that were started for the run are called without tasks, once they have their shards.
Each task or call carries the new steps of the shard's lineage: the functions, in order, that made
the shard. A worker that does not have the shard (a new one, after the old one was lost) asks for
the complete lineage, rebuilds the shard from it, bit for bit, and continues.

No wait is without an end. The driver waits for workers as long as the scheduler has them, and looks
twice a second. The scheduler drops a worker whose process has ended, or that has long been silent.
The scheduler itself must answer within `_ANSWER_SECONDS`.
"""

import asyncio
import concurrent.futures
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import distributed
from distributed import Client, wait
from distributed.core import Status
from distributed.scheduler import KilledWorker

from gpuseg.errors import ResourceError
from gpuseg.formatting import count
from gpuseg.runtime.dask.worker import (
    TOPIC,
    CallOutcome,
    ShardCall,
    ShardMissing,
    Step,
    call_shard,
    forget,
    piece_of,
    run_task,
    watch_run,
)
from gpuseg.runtime.executor import CacheLost, arguments_per_shard, available_cpus
from gpuseg.runtime.interrupts import raise_if_interrupted
from gpuseg.runtime.retry import LOSS_HINT

R = TypeVar("R")

_POLL_SECONDS = 0.5
_MAX_WAIT_SECONDS = 30.0
_ANSWER_SECONDS = 60.0
_FORGET_SECONDS = 5.0
_MAX_LOSSES = 3

_LOST: tuple[type[BaseException], ...] = (
    OSError,
    concurrent.futures.CancelledError,
    asyncio.CancelledError,
    getattr(distributed.client, "ClosedClientError", OSError),  # older versions have none
)
"""What Dask raises where a connection is lost, or cannot be made in time: `CommClosedError` and
`TimeoutError` are kinds of `OSError`."""


@dataclass(eq=False)
class _ShardHandle:
    """The driver's view of one shard.

    Attributes
    ----------
    key : str
        Run, load and number of the shard.
    worker : str
        Address of the worker that holds it.
    lineage : tuple of Step
    inputs : list of future
        Further arguments of the first step.
    n_applied : int
        Number of steps of the lineage that its worker is known to have applied.
    n_losses : int
        How often its worker was lost.
    """

    key: str
    worker: str
    lineage: tuple[Step, ...]
    inputs: list[Any]
    n_applied: int = 0
    n_losses: int = 0

    def call(self, function: Callable[..., Any] | None) -> ShardCall:
        """Return a call on the shard, with the steps that its worker has yet to apply."""
        steps = self.lineage[self.n_applied :]
        return ShardCall(self.key, _new_name(), steps, self.n_applied, function)


class DaskExecutor:
    """Hold shards on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    cluster : str
        The job's name of the cluster, for the manifest.
    n_workers : int, optional
        Maximum number of workers to use; by default all.
    report : callable
        Takes the number of rows that a worker has just processed.
    log : callable
        Takes messages for the user.
    calls_directly : bool
        Whether to call workers without tasks, which takes a seventh of the time. Only for workers
        that were started for this run: a scheduler of others may end workers without tasks.
    """

    def __init__(
        self,
        client: Client,
        cluster: str,
        n_workers: int | None,
        report: Callable[[int], None],
        log: Callable[[str], None] = lambda text: None,
        calls_directly: bool = False,
    ) -> None:
        self._client, self._cluster = client, cluster
        self._report, self._log, self._calls_directly = report, log, calls_directly
        self._id = uuid.uuid4().hex
        self._reported_rows: dict[str, int] = {}
        self._report_lock = Lock()
        self._watches: dict[str, Any] = {}
        self._max_workers = n_workers
        self._n_loads = 0
        self._threads = 1
        self._machines: set[str] = set()
        self._shards: list[_ShardHandle] = []
        self.n_shards = 0
        self.local_threads = available_cpus()
        client.subscribe_topic(TOPIC, self._on_event)

    def workers(self) -> list[str]:
        """Return the addresses of the workers to use; wait for one if all are being replaced."""
        alive = self._alive_workers()
        self._threads = max(alive.values())
        return sorted(alive)[: self._max_workers]

    def load(
        self,
        load: Callable[..., Any],
        plans: Sequence[Any],
        inputs: Sequence[Sequence[Any]] | None = None,
    ) -> None:
        """Build shard i as ``load(plans[i], *inputs[i], context)``; inputs are futures."""
        workers = self.workers()
        self._n_loads += 1  # keys must differ from those of earlier shards
        self.n_shards = len(plans)
        self._shards = [
            _ShardHandle(
                f"{self._id}/{self._n_loads}/{i}",
                workers[i % len(workers)],
                (Step(load, (plan,)),),
                [] if inputs is None else list(inputs[i]),
            )
            for i, plan in enumerate(plans)
        ]
        for shard in self._shards:
            self._watch(shard.worker)
        self._run_lineages()

    def map(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        return self._run(function, arguments_per_shard(args, per_shard, self.n_shards))

    def apply(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        calls = zip(self._shards, arguments_per_shard(args, per_shard, self.n_shards), strict=True)
        for shard, arguments in calls:
            shard.lineage = (*shard.lineage, Step(function, arguments))
        return self._run_lineages()

    def shuffle_reduce(
        self,
        split: Callable[..., Sequence[Any]],
        join: Callable[[Sequence[Any]], R],
        n_pieces: int,
    ) -> list[R]:
        submit = self._submit_task
        while True:
            splits = [self._submit_whole(shard, split, (n_pieces,)) for shard in self._shards]
            joined = [
                submit(join, [submit(piece_of, pieces, j) for pieces in splits])
                for j in range(n_pieces)
            ]
            if not self._wait_for_all(joined, splits):
                continue
            answers = [self._answer(future, self._shards) for future in joined]
            for error, _ in filter(None, answers):
                _raise_if_failed(error)
            results = [answer[1] for answer in answers if answer is not None]
            if len(results) == n_pieces:
                return results
            self._move_lost([*splits, *joined])

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        submit, numbers = self._submit_task, range(self.n_shards)
        splits = [self._submit(shard, split, (self.n_shards,)) for shard in self._shards]
        pieces = [[submit(piece_of, future, j) for future in splits] for j in numbers]
        taken = [self._submit(self._shards[j], take, (pieces[j],)) for j in numbers]
        if not self._wait_for_all(taken, splits):
            raise CacheLost
        results: list[R] = []
        for outcome in map(self._outcome, taken, self._shards):
            if outcome is None or isinstance(outcome.error, ShardMissing | KilledWorker):
                raise CacheLost
            if outcome.error is not None:
                raise outcome.error
            results.append(outcome.result)
        return results

    def describe(self) -> dict[str, Any]:
        return {
            "cluster": self._cluster,
            "n_workers": len({shard.worker for shard in self._shards}),
            "threads_per_worker": self._threads,
            "recovered_shards": sum(shard.n_losses for shard in self._shards),
            "machines": sorted(self._machines),
        }

    def close(self) -> None:
        """Make the workers drop the shards, including those of tasks that are still running.

        Workers that were started for this run end anyway.
        """
        with suppress(ResourceError, *_LOST):
            self._watches.clear()
            self._client.unsubscribe_topic(TOPIC)
            if not self._calls_directly:
                self._ask(
                    lambda: self._client.run(
                        forget, self._id, on_error="ignore", asynchronous=True
                    ),
                    _FORGET_SECONDS,
                )

    def _watch(self, worker: str) -> None:
        """Let a worker drop the shards if this process is killed; one of its own ends then."""
        if not self._calls_directly and worker not in self._watches:
            self._watches[worker] = self._submit_task(watch_run, self._id, workers=[worker])

    def _run_lineages(self) -> list[Any]:
        """Bring every shard up to date; return the results of the last steps."""
        return self._run(None, [()] * self.n_shards)

    def _run(self, function: Callable[..., R] | None, args: list[tuple[Any, ...]]) -> list[R]:
        """Call a function on every shard; shards of lost workers move and are called again."""
        results = self._call(function, args) if self._calls_directly else {}
        pending = {
            self._submit(shard, function, args[i]): i
            for i, shard in enumerate(self._shards)
            if i not in results
        }
        while pending:
            done = self._wait(list(pending))
            alive = self._nthreads()
            for future, i in list(pending.items()):
                shard = self._shards[i]
                outcome = self._outcome(future, shard) if future in done else None
                error = None if outcome is None else outcome.error
                if outcome is not None and error is None:
                    results[i] = outcome.result
                    shard.n_applied = len(shard.lineage)
                elif isinstance(error, ShardMissing):
                    shard.n_applied = 0
                    pending[self._submit(shard, function, args[i])] = i
                elif isinstance(error, KilledWorker) or shard.worker not in alive:
                    self._cancel([future])
                    self._move(shard)
                    pending[self._submit(shard, function, args[i])] = i
                elif error is not None:
                    self._cancel(list(pending))
                    raise error
                else:
                    continue
                del pending[future]
        return [results[i] for i in range(self.n_shards)]

    def _call(self, function: Callable[..., R] | None, args: list[tuple[Any, ...]]) -> dict[int, R]:
        """Call a function on the shards that workers have; return the results that arrived.

        A task must follow for the others: their workers were lost or did not answer, with or
        without having called the function. So functions may be called twice on a shard.
        """
        loop: Any = self._client.loop
        calls = {
            asyncio.run_coroutine_threadsafe(
                self._request(shard, function, args[i]), loop.asyncio_loop
            ): i
            for i, shard in enumerate(self._shards)
            if shard.n_applied
        }
        results: dict[int, R] = {}
        waiting = set(calls)
        while waiting:
            done, waiting = concurrent.futures.wait(waiting, _POLL_SECONDS, "FIRST_COMPLETED")
            for call in done:
                with self._connection():
                    outcome = call.result()
                shard = self._shards[calls[call]]
                if outcome is None:
                    continue
                if isinstance(outcome.error, ShardMissing):
                    shard.n_applied = 0
                elif outcome.error is not None:
                    raise outcome.error
                else:
                    results[calls[call]] = outcome.result
                    shard.n_applied = len(shard.lineage)
            if waiting and not done:
                alive = self._nthreads()
                lost = {call for call in waiting if self._shards[calls[call]].worker not in alive}
                waiting -= lost
                for call in lost:
                    call.cancel()
        return results

    async def _request(
        self, shard: _ShardHandle, function: Callable[..., R] | None, args: tuple[Any, ...]
    ) -> CallOutcome | None:
        """Call a function on a shard; return None if its worker cannot be reached."""
        outcomes = await self._client.run(
            call_shard, shard.call(function), args,
            workers=[shard.worker], on_error="return", asynchronous=True,
        )  # fmt: skip
        outcome = outcomes[shard.worker]
        if not isinstance(outcome, CallOutcome):
            return None
        self._record(outcome)
        return outcome

    def _wait_for_all(self, futures: list[Any], others: list[Any]) -> bool:
        """Wait for futures that need all shards; return False if workers were lost meanwhile.

        Then these futures and the `others`, from which they are made, are cancelled.
        """
        while len(self._wait(futures, "ALL_COMPLETED")) < len(futures):
            if self._move_lost([*others, *futures]):
                return False
        return True

    def wait_for(self, futures: list[Any]) -> None:
        """Wait for futures that any worker may compute, as long as there are workers."""
        while len(self._wait(futures, "ALL_COMPLETED")) < len(futures):
            self._alive_workers()

    def result_of(self, future: Any) -> Any:
        """Return the result of a future that any worker may compute; wait as `wait_for` does."""
        seconds = _POLL_SECONDS
        while True:
            self.wait_for([future])
            with self._connection(), suppress(TimeoutError):
                _raise_if_failed(future.exception(timeout=seconds))
                return future.result(timeout=seconds)
            seconds *= 2  # large results take longer

    def _wait(self, futures: list[Any], return_when: str = "FIRST_COMPLETED") -> set[Any]:
        """Wait for futures, for a limited time; return those that are done."""
        done: set[Any] = set()
        with self._client.as_current(), self._connection(), suppress(TimeoutError):
            done = wait(futures, _POLL_SECONDS, return_when).done
        return done

    def _outcome(self, future: Any, shard: _ShardHandle) -> CallOutcome | None:
        """Return the outcome of a task that is done, or None if its worker was lost meanwhile."""
        answer = self._answer(future, [shard])
        if answer is None:
            return None
        error, outcome = answer
        if error is not None:
            return CallOutcome(error)
        self._record(outcome)
        return outcome  # type: ignore[no-any-return]

    def _answer(
        self, future: Any, shards: Sequence[_ShardHandle]
    ) -> tuple[BaseException | None, Any] | None:
        """Return error and result of a future that is done; None if a worker was lost meanwhile.

        Dask would compute it again, but on the lost worker only: this would wait forever.

        Parameters
        ----------
        shards : sequence of _ShardHandle
            Those that the future is made from.
        """
        seconds, workers = _POLL_SECONDS, {shard.worker for shard in shards}
        while workers <= self._nthreads().keys():
            with self._connection(), suppress(TimeoutError):
                error = future.exception(timeout=seconds)
                return error, None if error is not None else future.result(timeout=seconds)
            seconds *= 2  # large results take longer
        return None

    def _record(self, outcome: CallOutcome) -> None:
        """Count the rows of a call, and keep the kind of machine."""
        if outcome.machine:  # a call that has failed does not tell it
            self._machines.add(outcome.machine)
        self._report_rows(outcome.call, outcome.rows)

    def _submit(
        self, shard: _ShardHandle, function: Callable[..., R] | None, args: tuple[Any, ...]
    ) -> Any:
        inputs = [] if shard.n_applied else shard.inputs  # Dask replaces futures by their values
        return self._submit_task(
            run_task, shard.call(function), args, inputs, workers=[shard.worker]
        )

    def _submit_whole(
        self, shard: _ShardHandle, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        """Submit a task that builds the shard if its worker does not have it."""
        call = ShardCall(shard.key, _new_name(), shard.lineage, 0, function)
        return self._submit_task(run_task, call, args, shard.inputs, workers=[shard.worker])

    def _submit_task(
        self, function: Callable[..., Any], *args: Any, workers: Sequence[str] | None = None
    ) -> Any:
        with self._connection():
            return self._client.submit(
                function, *args, workers=workers, allow_other_workers=False, pure=False
            )

    def _move_lost(self, futures: list[Any]) -> bool:
        """Move the shards of lost workers, and cancel futures if there are any."""
        alive = self._nthreads()
        lost = [shard for shard in self._shards if shard.worker not in alive]
        if lost:
            self._cancel(futures)
        for shard in lost:
            self._move(shard)
        return bool(lost)

    def _move(self, shard: _ShardHandle) -> None:
        """Assign a shard to another worker: one without shards, or the one with the fewest."""
        number = self._shards.index(shard)
        shard.n_losses += 1
        shard.n_applied = 0
        if shard.n_losses > _MAX_LOSSES:
            raise ResourceError(
                "worker.lost_repeatedly",
                f"the worker of shard {number} was lost {count(shard.n_losses, 'time')}",
                hint=LOSS_HINT,
            )
        self._log(f"lost the worker of shard {number}; reloading the shard on another worker")
        deadline = time.monotonic() + _MAX_WAIT_SECONDS
        while True:
            used = [other.worker for other in self._shards if other is not shard]
            alive = self._alive_workers()
            workers = sorted(alive, key=lambda w: (used.count(w), w))
            if used.count(workers[0]) == 0 or time.monotonic() > deadline:
                shard.worker = workers[0]
                self._watch(shard.worker)
                return
            time.sleep(_POLL_SECONDS)

    def _alive_workers(self) -> dict[str, int]:
        """Return the threads of each worker, by address; wait until there is one.

        Raises
        ------
        ResourceError
            If there is none for long.
        """
        deadline = time.monotonic() + _MAX_WAIT_SECONDS
        while not (alive := self._nthreads()):
            if time.monotonic() > deadline:
                raise ResourceError(
                    "worker.none_left",
                    "all Dask workers were lost",
                    hint="start workers, then run again",
                )
            time.sleep(_POLL_SECONDS)
        return alive

    def _nthreads(self) -> dict[str, int]:
        """Return the threads of the workers that the scheduler has now, by address."""
        raise_if_interrupted()
        threads: dict[str, int] = self._ask(lambda: self._scheduler().ncores())
        return threads

    def _cancel(self, futures: list[Any]) -> None:
        """Cancel futures, including those that others wait for."""
        self._ask(lambda: self._client.cancel(futures, asynchronous=True, force=True))

    def _ask(self, request: Callable[[], Awaitable[Any]], seconds: float = _ANSWER_SECONDS) -> Any:
        """Return the answer of the scheduler to a request, within some seconds."""
        with self._connection():
            return self._client.sync(request, callback_timeout=seconds)

    def _scheduler(self) -> Any:
        scheduler = self._client.scheduler
        if scheduler is None:  # the client has given the connection up
            raise ConnectionError("closed")
        return scheduler

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Turn all errors of a lost connection to the scheduler into one, except inside `suppress`.

        Functions on shards raise nothing inside: their errors are part of outcomes.
        """
        try:
            yield
        except _LOST:
            raise self._scheduler_lost() from None
        except RuntimeError:
            if self._client.rpc.status == Status.running:
                raise
            raise self._scheduler_lost() from None  # Dask has closed the client by itself

    def _scheduler_lost(self) -> ResourceError:
        return ResourceError(
            "cluster.scheduler_lost",
            "the connection to the scheduler was lost",
            value=self._cluster,
            hint="start the scheduler, then run again",
            parameter="cluster",
        )

    def _on_event(self, event: tuple[float, Any]) -> None:
        run, call, rows = event[1]
        if run == self._id:
            self._report_rows(call, rows)

    def _report_rows(self, call: str, rows: int) -> None:
        """Report the rows of a call so far, which arrive with events and the result, in any order.

        Events arrive in the thread of the client's event loop.
        """
        with self._report_lock:
            if (new := rows - self._reported_rows.get(call, 0)) > 0:
                self._reported_rows[call] = rows
                self._report(new)


def _raise_if_failed(error: BaseException | None) -> None:
    """Raise the error of a task; `KilledWorker`, which is Dask's, as that of lost workers."""
    if isinstance(error, KilledWorker):
        raise ResourceError(
            "worker.lost_repeatedly", f"workers were lost repeatedly ({error})", hint=LOSS_HINT
        )
    if error is not None:
        raise error


def _new_name() -> str:
    return uuid.uuid4().hex
