"""Shards on Dask workers: one task or call per shard and pass, and no state in Dask.

A shard lives in the process of its worker (`runtime.dask.worker`); Dask sees only small tasks on
it. Workers that were started for the run are called without tasks, once they have their shards.
Each task or call carries the new steps of the shard's lineage: the functions, in order, that made
the shard. A worker that does not have the shard (a new one, after the old one was lost) asks for
the complete lineage, rebuilds the shard from it, bit for bit, and continues.

No wait is without an end. The driver waits for workers as long as the scheduler has them, and looks
twice a second. The scheduler drops a worker whose process has ended, or that has long been silent.
The scheduler itself must answer within `_ANSWER_SECONDS`.

A scheduler that answers may have cancelled tasks: another client has done so or has restarted the
workers, data that the tasks need are lost, or the connection was lost and made again. The driver
submits these tasks again, up to `_MAX_CANCELLATIONS` times.
"""

import asyncio
import concurrent.futures
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NoReturn, TypeVar

import distributed
from distributed import Client, wait
from distributed.core import Status
from distributed.scheduler import KilledWorker

from gpuseg.errors import ResourceError
from gpuseg.formatting import count
from gpuseg.runtime.checkpoint_folder import CheckpointFolder
from gpuseg.runtime.dask.call_tree import WorkerCall, WorkerCalls, branches, call_tree
from gpuseg.runtime.dask.exchange import (
    PieceHolder,
    PieceRequest,
    PiecesLost,
    forget_run,
    join_pieces,
    split_shard,
    take_pieces,
)
from gpuseg.runtime.dask.worker import (
    TOPIC,
    CallOutcome,
    ShardCall,
    ShardMissing,
    Step,
    call_shard,
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
_MAX_CANCELLATIONS = 3

_CANCELLED = (concurrent.futures.CancelledError, asyncio.CancelledError)

_LOST: tuple[type[BaseException], ...] = (
    OSError,
    *_CANCELLED,
    getattr(distributed.client, "ClosedClientError", OSError),  # older versions have none
)
"""What Dask raises where a connection is lost, or cannot be made in time: `CommClosedError` and
`TimeoutError` are kinds of `OSError`."""


_Calls = dict[int, tuple[Callable[..., Coroutine[Any, Any, CallOutcome]], tuple[Any, ...]]]
"""By number of the shard on whose worker it runs: a function that the worker awaits, and arguments;
see `WorkerCall`."""


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
    submit_inputs : callable, optional
        Submits tasks for further arguments of the first step; returns their futures.
    inputs : list of future
        What it has returned.
    n_applied : int
        Number of steps of the lineage that its worker is known to have applied.
    n_losses : int
        How often its worker was lost.
    """

    key: str
    worker: str
    lineage: tuple[Step, ...]
    submit_inputs: Callable[[], list[Any]] | None = None
    inputs: list[Any] = field(default_factory=list)
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
    lost_for_good : bool
        Whether nobody starts a new worker in place of a lost one.
    name_of : callable, optional
        Returns the name of a worker in messages, from its address.
    """

    checkpoint: CheckpointFolder | None = None

    def __init__(
        self,
        client: Client,
        cluster: str,
        n_workers: int | None,
        report: Callable[[int], None],
        log: Callable[[str], None] = lambda text: None,
        calls_directly: bool = False,
        lost_for_good: bool = False,
        name_of: Callable[[str], str] | None = None,
    ) -> None:
        self._client, self._cluster = client, cluster
        self._name_of = name_of
        self._report, self._log, self._calls_directly = report, log, calls_directly
        self._id = uuid.uuid4().hex
        self._reported_rows: dict[str, int] = {}
        self._report_lock = Lock()
        self._watches: dict[str, Any] = {}
        self._connecting_since: float | None = None
        self._lost_for_good = lost_for_good
        self._max_workers, self._n_used_workers = n_workers, 0
        self._present: set[str] = set()
        self._n_loads = 0
        self._threads = 1
        self._machines: set[str] = set()
        self._shards: list[_ShardHandle] = []
        self.n_shards = 0
        self.local_threads = available_cpus()
        client.subscribe_topic(TOPIC, self._on_event)

    def workers(self) -> list[str]:
        """Return the addresses of the workers to use; wait for one if all are being replaced.

        Workers with names that have left since the last call, and not come again, are reported. No
        shard says that they were lost: they had none yet, or none of the next load.
        """
        alive = self._alive_workers()
        if self._name_of is not None:
            present = set(map(self._name_of, alive))
            for name in sorted(self._present - present):
                self._log(f"lost {name}; the others do its work")
            self._present = present
        self._threads = max(alive.values())
        return sorted(alive)[: self._max_workers]

    def load(
        self,
        load: Callable[..., Any],
        plans: Sequence[Any],
        submit_inputs: Sequence[Callable[[], list[Any]]] | None = None,
    ) -> None:
        """Build shard i as ``load(plans[i], *inputs, context)``.

        The inputs are the results of the futures that ``submit_inputs[i]()`` returns. It is called
        again if the scheduler has cancelled one of them, and then submits tasks of new keys: the
        scheduler may yet report that it has cancelled the old ones.
        """
        workers = self.workers()
        self._n_used_workers = min(len(workers), len(plans))
        self._n_loads += 1  # keys must differ from those of earlier shards
        self.n_shards = len(plans)
        self._shards = [
            _ShardHandle(
                f"{self._id}/{self._n_loads}/{i}",
                workers[i % len(workers)],
                (Step(load, (plan,)),),
                None if submit_inputs is None else submit_inputs[i],
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
        if self._calls_directly:
            joined = self._join_directly(split, join, n_pieces)
            if joined is not None:
                return joined
        submit, n_cancelled = self._submit_task, 0
        while True:
            splits = [self._submit_whole(shard, split, (n_pieces,)) for shard in self._shards]
            joined = [
                submit(join, [submit(piece_of, pieces, j) for pieces in splits])
                for j in range(n_pieces)
            ]
            answers = self._answers(joined, self._shards)
            if answers is not None:
                return _results(answers)
            n_cancelled = self._clear_exchange(joined, splits, n_cancelled)

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        if self._calls_directly:
            return self._shuffle_directly(split, take)
        submit, numbers = self._submit_task, range(self.n_shards)
        splits = [self._submit(shard, split, (self.n_shards,)) for shard in self._shards]
        pieces = [[submit(piece_of, future, j) for future in splits] for j in numbers]
        taken = [self._submit(self._shards[j], take, (pieces[j],)) for j in numbers]
        answers = self._answers(taken, self._shards)
        if answers is None or any(
            isinstance(error, ShardMissing | KilledWorker) for error, _ in answers
        ):
            self._clear_exchange(taken, splits, 0)
            self._raise_caches_lost()
        outcomes = _results(answers)
        for outcome in outcomes:
            self._record(outcome)
        return [outcome.result for outcome in outcomes]

    def unit(self) -> AbstractContextManager[None]:
        return nullcontext()

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
                self.forget_shards()

    def forget_shards(self) -> None:
        """Make the workers drop the shards.

        Raises
        ------
        ResourceError
            If the scheduler does not answer.
        """
        self._ask(
            lambda: self._client.run(forget_run, self._id, on_error="ignore", asynchronous=True),
            _FORGET_SECONDS,
        )

    def _watch(self, worker: str) -> None:
        """Let a worker drop the shards if this process is killed; one of its own ends then."""
        watch = self._watches.get(worker)
        if self._calls_directly or not (watch is None or watch.cancelled()):
            return
        self._watches[worker] = self._submit_task(watch_run, self._id, workers=[worker])
        if watch is not None:
            with self._connection():  # one that was made again has no subscriptions
                self._client.subscribe_topic(TOPIC, self._on_event)

    def _run_lineages(self) -> list[Any]:
        """Bring every shard up to date; return the results of the last steps."""
        return self._run(None, [()] * self.n_shards)

    def _run(self, function: Callable[..., R] | None, args: list[tuple[Any, ...]]) -> list[R]:
        """Call a function on every shard; shards of lost workers move and are called again."""
        n_cancelled = Counter[int]()
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
                elif future.cancelled():
                    n_cancelled[i] += 1
                    self._raise_if_too_many(n_cancelled[i])
                    pending[self._submit(shard, function, args[i])] = i
                else:
                    continue
                del pending[future]
        return [results[i] for i in range(self.n_shards)]

    def _call(self, function: Callable[..., R] | None, args: list[tuple[Any, ...]]) -> dict[int, R]:
        """Call a function on the shards that workers have; return the results that arrived.

        A task must follow for the others: their workers were lost or did not answer, with or
        without having called the function. So functions may be called twice on a shard.
        """
        calls = {
            i: (call_shard, (shard.call(function), args[i]))
            for i, shard in enumerate(self._shards)
            if shard.n_applied
        }
        results: dict[int, R] = {}
        for i, outcome in self._outcomes(calls).items():
            if isinstance(outcome.error, ShardMissing):
                self._shards[i].n_applied = 0
            elif outcome.error is not None:
                raise outcome.error
            else:
                results[i] = outcome.result
                self._shards[i].n_applied = len(self._shards[i].lineage)
        return results

    def _outcomes(self, calls: _Calls) -> dict[int, CallOutcome]:
        """Make calls on the workers of shards; return the outcomes of those that answered."""
        loop: Any = self._client.loop
        on_worker: dict[str, list[WorkerCall]] = {}
        for i, (function, args) in calls.items():
            on_worker.setdefault(self._shards[i].worker, []).append(WorkerCall(i, function, args))
        workers = [WorkerCalls(address, tuple(made)) for address, made in on_worker.items()]
        requests = {
            asyncio.run_coroutine_threadsafe(self._request(branch), loop.asyncio_loop): branch
            for branch in branches(workers)
        }
        outcomes: dict[int, CallOutcome] = {}
        waiting = set(requests)
        while waiting:
            done, waiting = concurrent.futures.wait(waiting, _POLL_SECONDS, "FIRST_COMPLETED")
            for request in done:
                with self._connection():
                    outcomes |= request.result()
            if waiting and not done:
                alive = self._nthreads()
                lost = {
                    request
                    for request in waiting
                    if any(worker.address not in alive for worker in requests[request])
                }
                waiting -= lost
                for request in lost:
                    request.cancel()
        for outcome in outcomes.values():
            self._record(outcome)
        return outcomes

    async def _request(self, branch: Sequence[WorkerCalls]) -> dict[int, CallOutcome]:
        """Make calls on some workers; no outcomes if the first cannot be reached."""
        address = branch[0].address
        answers = await self._client.run(
            call_tree, branch, workers=[address], on_error="return", asynchronous=True
        )
        outcomes = answers[address]
        return outcomes if isinstance(outcomes, dict) else {}

    def _shuffle_directly(
        self, split: Callable[..., Sequence[Any]], take: Callable[..., R]
    ) -> list[R]:
        """Exchange pieces as `runtime.dask.exchange` does."""
        n, outcomes = self.n_shards, None
        holders = self._split_directly(split, n)
        if holders is not None:
            outcomes = self._all_outcomes(
                {
                    j: (take_pieces, (shard.call(take), holders.request(j, n)))
                    for j, shard in enumerate(self._shards)
                }
            )
        if outcomes is None:
            self._raise_caches_lost()
        return [outcome.result for outcome in outcomes]

    def _raise_caches_lost(self) -> NoReturn:
        """Let the caller start again after an exchange that has failed in part."""
        for shard in self._shards:  # the next call builds those that are missing
            shard.n_applied = 0
        raise CacheLost

    def _join_directly(
        self, split: Callable[..., Sequence[Any]], join: Callable[[Sequence[Any]], R], n_pieces: int
    ) -> list[R] | None:
        """Return the joined pieces, each joined by one of the workers; None if one was lost."""
        holders = self._split_directly(split, n_pieces)
        if holders is None:
            return None
        joined: list[R] = []
        n = self.n_shards
        for first in range(0, n_pieces, n):
            outcomes = self._all_outcomes(
                {
                    j - first: (join_pieces, (join, holders.request(j, n)))
                    for j in range(first, min(first + n, n_pieces))
                }
            )
            if outcomes is None:
                return None
            joined += [outcome.result for outcome in outcomes]
        return joined

    def _split_directly(
        self, split: Callable[..., Sequence[Any]], n_pieces: int
    ) -> "_Holders | None":
        """Let the workers split all shards; return who holds which pieces, None if one was lost."""
        if not all(shard.n_applied for shard in self._shards):
            self._run_lineages()
        exchange = f"{self._id}/{_new_name()}"
        outcomes = self._all_outcomes(
            {
                i: (split_shard, (shard.call(split), (n_pieces,), exchange, i))
                for i, shard in enumerate(self._shards)
            }
        )
        if outcomes is None:
            return None
        workers = [shard.worker for shard in self._shards]
        return _Holders.from_splits(exchange, workers, [outcome.result for outcome in outcomes])

    def _all_outcomes(self, calls: _Calls) -> list[CallOutcome] | None:
        """Return the outcomes of calls in their order; None where a worker or its shard is lost.

        An error of a function is raised.
        """
        outcomes, n_calls = self._outcomes(calls), len(calls)
        errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
        for error in errors:
            if not isinstance(error, ShardMissing | PiecesLost):
                raise error
        if errors or len(outcomes) < n_calls:
            return None
        return [outcomes[i] for i in sorted(outcomes)]

    def results_of(self, submit: Callable[[], list[Any]]) -> list[Any]:
        """Return the results of the futures that a function submits, for any worker to compute.

        The function is called again if the scheduler has cancelled one of them, as in `load`.
        """
        n_cancelled = 0
        while True:
            with self._connection():
                futures = submit()
            answers = self._answers(futures)
            if answers is not None:
                return _results(answers)
            self._cancel(futures)
            n_cancelled += 1
            self._raise_if_too_many(n_cancelled)

    def _wait(self, futures: list[Any], return_when: str = "FIRST_COMPLETED") -> set[Any]:
        """Wait for futures, for a limited time; return those that are done or cancelled.

        Those whose results were lost with a worker are not: Dask computes them again.
        """
        with self._client.as_current(), self._connection(), suppress(TimeoutError, *_CANCELLED):
            wait(futures, _POLL_SECONDS, return_when)
        return {future for future in futures if future.status not in ("pending", "lost")}

    def _answers(
        self, futures: list[Any], shards: Sequence[_ShardHandle] = ()
    ) -> list[tuple[BaseException | None, Any]] | None:
        """Wait for futures; return error and result of each, or None as `_answer` does."""
        while len(self._wait(futures, "ALL_COMPLETED")) < len(futures):
            if self._must_submit_again(futures, shards):
                return None
        answers = []
        for future in futures:
            answer = self._answer(future, shards)
            if answer is None:
                return None
            answers.append(answer)
        return answers

    def _outcome(self, future: Any, shard: _ShardHandle) -> CallOutcome | None:
        """Return the outcome of a task that is done; None as `_answer` does."""
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
        """Return error and result of a future that is done.

        Return None if it was cancelled, or a worker was lost meanwhile. Dask would compute it
        again, but on the lost worker only: this would wait forever.

        Parameters
        ----------
        shards : sequence of _ShardHandle
            Those that the future is made from.
        """
        seconds = _POLL_SECONDS
        while not self._must_submit_again([future], shards):
            with self._connection(), suppress(TimeoutError, *_CANCELLED):
                error = future.exception(timeout=seconds)
                return error, None if error is not None else future.result(timeout=seconds)
            seconds *= 2  # large results take longer
        return None

    def _must_submit_again(self, futures: list[Any], shards: Sequence[_ShardHandle]) -> bool:
        """Whether a future was cancelled, or the worker of a shard that it needs was lost.

        Waits for a worker. The futures of a lost scheduler are cancelled, too; that is an error.
        """
        alive = self._alive_workers()
        return any(future.cancelled() for future in futures) or any(
            shard.worker not in alive for shard in shards
        )

    def _record(self, outcome: CallOutcome) -> None:
        """Count the rows of a call, and keep the kind of machine."""
        if outcome.machine:  # a call that has failed does not tell it
            self._machines.add(outcome.machine)
        self._report_rows(outcome.call, outcome.rows)

    def _submit(
        self, shard: _ShardHandle, function: Callable[..., R] | None, args: tuple[Any, ...]
    ) -> Any:
        inputs = [] if shard.n_applied else self._inputs_of(shard)
        return self._submit_call(shard, shard.call(function), args, inputs)

    def _submit_whole(
        self, shard: _ShardHandle, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        """Submit a task that builds the shard if its worker does not have it."""
        call = ShardCall(shard.key, _new_name(), shard.lineage, 0, function)
        return self._submit_call(shard, call, args, self._inputs_of(shard))

    def _submit_call(
        self, shard: _ShardHandle, call: ShardCall, args: tuple[Any, ...], inputs: list[Any]
    ) -> Any:
        self._watch(shard.worker)
        return self._submit_task(run_task, call, args, inputs, workers=[shard.worker])

    def _inputs_of(self, shard: _ShardHandle) -> list[Any]:
        """Return the futures of a shard's inputs, which Dask replaces by their values in a task."""
        if any(future.cancelled() for future in shard.inputs):
            self._cancel(shard.inputs)
            shard.inputs = []
        if shard.submit_inputs is not None and not shard.inputs:
            with self._connection():
                shard.inputs = shard.submit_inputs()
        return shard.inputs

    def _submit_task(
        self, function: Callable[..., Any], *args: Any, workers: Sequence[str] | None = None
    ) -> Any:
        with self._connection():
            return self._client.submit(
                function, *args, workers=workers, allow_other_workers=False, pure=False
            )

    def _clear_exchange(self, made: list[Any], splits: list[Any], n_cancelled: int) -> int:
        """Cancel an exchange that came to nothing, and move the shards of lost workers.

        Parameters
        ----------
        made, splits : list of future
            What the exchange makes, and what it is made from. This order matters: if the scheduler
            cancels a task and finds one that depends on it and that no client holds, as the pieces
            between the two, an assertion fails in it and ends the connection.
        n_cancelled : int
            How often the exchange was cancelled before, without a worker lost.

        Returns
        -------
        int
            The same with this time.
        """
        self._cancel(made)
        self._cancel(splits)
        alive = self._nthreads()
        lost = [shard for shard in self._shards if shard.worker not in alive]
        for shard in lost:
            self._move(shard)
        if not lost:
            n_cancelled += 1
            self._raise_if_too_many(n_cancelled)
        return n_cancelled

    def _raise_if_too_many(self, n_cancelled: int) -> None:
        """Raise an error if the same work was cancelled too often to submit it again."""
        if n_cancelled > _MAX_CANCELLATIONS:
            raise ResourceError(
                "tasks.cancelled",
                f"the scheduler cancelled the same work {count(n_cancelled, 'time')}",
                value=self._cluster,
                hint="no other client may cancel the tasks or restart the workers; "
                "data that were scattered or persisted before and are lost must be made again",
                parameter="cluster",
            )

    def _move(self, shard: _ShardHandle) -> None:
        """Assign a shard to another worker: one without shards, or the one with the fewest.

        Where a lost worker is replaced, wait for the new one.
        """
        number = self._shards.index(shard)
        shard.n_losses += 1
        shard.n_applied = 0
        if shard.n_losses > _MAX_LOSSES:
            raise ResourceError(
                "worker.lost_repeatedly",
                f"the worker of shard {number} was lost {count(shard.n_losses, 'time')}",
                hint=LOSS_HINT,
            )
        lost = ""
        if self._name_of is not None:
            name = self._name_of(shard.worker)
            self._present.discard(name)
            lost = f"{name}, "
        self._log(f"lost {lost}the worker of shard {number}; reloading the shard on another worker")
        deadline = time.monotonic() + _MAX_WAIT_SECONDS
        while True:
            used = [other.worker for other in self._shards if other is not shard]
            alive = self._alive_workers()
            workers = sorted(alive, key=lambda w: (used.count(w), w))
            is_replaced = not self._lost_for_good and len(alive) < self._n_used_workers
            if used.count(workers[0]) == 0 or not is_replaced or time.monotonic() > deadline:
                shard.worker = workers[0]
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
        self._limit_reconnection()
        threads: dict[str, int] = self._ask(lambda: self._scheduler().ncores())
        return threads

    def _limit_reconnection(self) -> None:
        """Give up a client that is connecting again for long.

        Dask's may do so forever: an error in it ends the attempt, and tasks wait to be sent.
        """
        if self._client.status == "running":
            self._connecting_since = None
            return
        now = time.monotonic()
        self._connecting_since = self._connecting_since or now
        if now - self._connecting_since > _ANSWER_SECONDS:
            raise self._scheduler_lost()

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


@dataclass(frozen=True)
class _Holders:
    """Who holds the pieces of an exchange.

    Attributes
    ----------
    exchange : str
        Run and name.
    by_receiver : dict of int to list of PieceHolder
        The workers with pieces that are not empty.
    """

    exchange: str
    by_receiver: dict[int, list[PieceHolder]]

    @classmethod
    def from_splits(
        cls, exchange: str, workers: Sequence[str], receivers: Sequence[Sequence[int]]
    ) -> "_Holders":
        """Return them from the worker of each shard, and the receivers that it has pieces for."""
        shards: dict[int, dict[str, list[int]]] = {}
        for shard, (worker, numbers) in enumerate(zip(workers, receivers, strict=True)):
            for receiver in numbers:
                shards.setdefault(receiver, {}).setdefault(worker, []).append(shard)
        return cls(
            exchange,
            {
                receiver: [PieceHolder(worker, tuple(held)) for worker, held in by_worker.items()]
                for receiver, by_worker in shards.items()
            },
        )

    def request(self, receiver: int, n_shards: int) -> PieceRequest:
        """Return what a receiver has to fetch from the shards."""
        return PieceRequest(self.exchange, receiver, n_shards, self.by_receiver.get(receiver, []))


def _results(answers: list[tuple[BaseException | None, Any]]) -> list[Any]:
    """Return the results of tasks, or raise an error of one.

    `KilledWorker`, which is Dask's, is raised as the error of lost workers.
    """
    for error, _ in answers:
        if isinstance(error, KilledWorker):
            raise ResourceError(
                "worker.lost_repeatedly", f"workers were lost repeatedly ({error})", hint=LOSS_HINT
            )
        if error is not None:
            raise error
    return [result for _, result in answers]


def _new_name() -> str:
    return uuid.uuid4().hex
