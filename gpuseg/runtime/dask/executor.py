"""Shards on Dask workers: one task or call per shard and pass, and no state in Dask.

A shard lives in the process of its worker (`runtime.dask.worker`); Dask sees only small tasks on
it. Workers that were started for the run are called without tasks, once they have their shards.
Each task or call carries the new steps of the shard's lineage: the functions, in order, that made
the shard. A worker that does not have the shard (a new one, after the old one was lost) asks for
the complete lineage, rebuilds the shard from it, bit for bit, and continues.
"""

import asyncio
import concurrent.futures
import platform
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from distributed import Client, wait
from distributed.client import FuturesCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from gpuseg.errors import ResourceError
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
)
from gpuseg.runtime.executor import CacheLost, arguments_per_shard, available_cpus
from gpuseg.runtime.retry import LOSS_HINT

R = TypeVar("R")

_POLL_SECONDS = 0.5
_MAX_WAIT_SECONDS = 30.0
_MAX_LOSSES = 3


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
        self._max_workers = n_workers
        self._n_loads = 0
        self._shards: list[_ShardHandle] = []
        self.n_shards = 0
        self.local_threads = available_cpus()
        client.subscribe_topic(TOPIC, self._on_event)

    def workers(self) -> list[str]:
        """Return the addresses of the workers to use."""
        return sorted(self._client.nthreads())[: self._max_workers]

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
        submit = self._client.submit
        splits = [
            submit(
                run_task,
                ShardCall(shard.key, _new_name(), shard.lineage, 0, split),
                (n_pieces,),
                shard.inputs,
                workers=[shard.worker],
                allow_other_workers=True,
                pure=False,
            )
            for shard in self._shards
        ]
        joined = [
            submit(join, [submit(piece_of, pieces, j) for pieces in splits], pure=False)
            for j in range(n_pieces)
        ]
        try:
            results: list[R] = self._client.gather(joined)
        except KilledWorker as error:
            raise ResourceError(
                "worker.lost_repeatedly",
                f"workers were lost repeatedly ({error})",
                hint=LOSS_HINT,
            ) from None
        except (FuturesCancelledError, CommClosedError):
            raise self._scheduler_lost() from None
        return results

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        submit, numbers = self._client.submit, range(self.n_shards)
        splits = [self._submit(shard, split, (self.n_shards,)) for shard in self._shards]
        pieces = [[submit(piece_of, future, j, pure=False) for future in splits] for j in numbers]
        taken = [self._submit(self._shards[j], take, (pieces[j],)) for j in numbers]
        try:
            while len(self._wait(taken, "ALL_COMPLETED")) < self.n_shards:
                alive = self._client.nthreads()
                if lost := [shard for shard in self._shards if shard.worker not in alive]:
                    self._client.cancel([*splits, *taken], force=True)
                    for shard in lost:
                        self._move(shard)
                    raise CacheLost
            results: list[R] = []
            for outcome in map(self._outcome, taken, self._shards):
                if outcome is None or isinstance(outcome.error, ShardMissing | KilledWorker):
                    raise CacheLost
                if outcome.error is not None:
                    raise outcome.error
                results.append(outcome.result)
        except (FuturesCancelledError, CommClosedError):
            raise self._scheduler_lost() from None
        return results

    def describe(self) -> dict[str, Any]:
        threads = self._client.nthreads()
        workers = {shard.worker for shard in self._shards}
        return {
            "cluster": self._cluster,
            "n_workers": len(workers),
            "threads_per_worker": max((threads[w] for w in workers if w in threads), default=1),
            "recovered_shards": sum(shard.n_losses for shard in self._shards),
            "machines": sorted(set(self._client.run(platform.machine).values())),
        }

    def close(self) -> None:
        """Make the workers drop the shards, including those of tasks that are still running."""
        self._client.unsubscribe_topic(TOPIC)
        self._client.run(forget, self._id)

    def _run_lineages(self) -> list[Any]:
        """Bring every shard up to date; return the results of the last steps."""
        return self._run(None, [()] * self.n_shards)

    def _run(self, function: Callable[..., R] | None, args: list[tuple[Any, ...]]) -> list[R]:
        """Call a function on every shard; shards of lost workers move and are called again."""
        try:
            return self._collect(function, args)
        except (FuturesCancelledError, CommClosedError):
            raise self._scheduler_lost() from None

    def _collect(self, function: Callable[..., R] | None, args: list[tuple[Any, ...]]) -> list[R]:
        results = self._call(function, args) if self._calls_directly else {}
        pending = {
            self._submit(shard, function, args[i]): i
            for i, shard in enumerate(self._shards)
            if i not in results
        }
        while pending:
            done = self._wait(list(pending))
            alive = self._client.nthreads()
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
                    self._move(shard)
                    future.cancel(force=True)
                    pending[self._submit(shard, function, args[i])] = i
                elif error is not None:
                    self._client.cancel(list(pending), force=True)
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
                outcome, shard = call.result(), self._shards[calls[call]]
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
                alive = self._client.nthreads()
                waiting = {call for call in waiting if self._shards[calls[call]].worker in alive}
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
        self._report_rows(outcome.call, outcome.rows)
        return outcome

    def _wait(self, futures: list[Any], return_when: str = "FIRST_COMPLETED") -> set[Any]:
        """Wait for futures, for a limited time; return those that are done."""
        done: set[Any] = set()
        with self._client.as_current(), suppress(TimeoutError):
            done = wait(futures, _POLL_SECONDS, return_when).done
        return done

    def _outcome(self, future: Any, shard: _ShardHandle) -> CallOutcome | None:
        """Return the outcome of a task that is done, or None if its worker was lost meanwhile.

        Dask would run the task again, but on the lost worker only: this would wait forever.
        """
        seconds = _POLL_SECONDS
        while shard.worker in self._client.nthreads():
            with suppress(TimeoutError):
                error = future.exception(timeout=seconds)
                if error is not None:
                    return CallOutcome(error)
                outcome: CallOutcome = future.result(timeout=seconds)
                self._report_rows(outcome.call, outcome.rows)
                return outcome
            seconds *= 2  # large results take longer
        return None

    def _submit(
        self, shard: _ShardHandle, function: Callable[..., R] | None, args: tuple[Any, ...]
    ) -> Any:
        inputs = [] if shard.n_applied else shard.inputs  # Dask replaces futures by their values
        return self._client.submit(
            run_task,
            shard.call(function),
            args,
            inputs,
            workers=[shard.worker],
            allow_other_workers=False,
            pure=False,
        )

    def _move(self, shard: _ShardHandle) -> None:
        """Assign a shard to another worker: one without shards, or the one with the fewest."""
        number = self._shards.index(shard)
        shard.n_losses += 1
        shard.n_applied = 0
        if shard.n_losses > _MAX_LOSSES:
            raise ResourceError(
                "worker.lost_repeatedly",
                f"the worker of shard {number} was lost {shard.n_losses} times",
                hint=LOSS_HINT,
            )
        self._log(f"lost the worker of shard {number}; reloading the shard on another worker")
        deadline = time.monotonic() + _MAX_WAIT_SECONDS
        while True:
            used = [other.worker for other in self._shards if other is not shard]
            workers = sorted(self._client.nthreads(), key=lambda w: (used.count(w), w))
            if workers and (used.count(workers[0]) == 0 or time.monotonic() > deadline):
                shard.worker = workers[0]
                return
            if time.monotonic() > deadline:
                raise ResourceError(
                    "worker.none_left",
                    "all Dask workers were lost",
                    hint="start workers, then run again",
                )
            time.sleep(_POLL_SECONDS)

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


def _new_name() -> str:
    return uuid.uuid4().hex
