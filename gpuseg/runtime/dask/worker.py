"""Code that runs on a Dask worker: it keeps shards and applies the steps of their lineage."""

import asyncio
import pickle
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import monotonic
from traceback import format_exc
from typing import Any, NamedTuple, TypeVar

from dask.typing import Key
from distributed import Worker, get_worker

from gpuseg.errors import GpusegError
from gpuseg.runtime.executor import TaskContext

R = TypeVar("R")

_SECONDS_BETWEEN_EVENTS = 0.2

_SECONDS_BETWEEN_LOOKS = 1.0

TOPIC = "gpuseg-rows"
"""Dask event topic under which workers report run, call, and its number of rows so far."""


@dataclass(frozen=True)
class Step:
    """One function of a shard's lineage and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass
class _StoredShard:
    """A shard on its worker.

    Attributes
    ----------
    n_steps : int
        Number of steps of the lineage that were applied.
    shard : object
    result : object
        Return value of the last step.
    """

    n_steps: int
    shard: Any
    result: Any


_SHARDS: dict[str, _StoredShard] = {}
_CLOSED_RUNS: set[str] = set()

_LOCKS: dict[str, Lock] = {}
"""A lock for each shard: functions change a shard in place, and a cancelled task runs on while
another thread of the worker gets the task that follows it."""

_WATCHES: dict[str, Key] = {}
"""The task that watches each run; where one was cancelled and followed by another, the latter."""


class CallOutcome(NamedTuple):
    """What a call on a shard ended with.

    Attributes
    ----------
    error : exception or None
    result : object
        The result of a call without error.
    call : str
        Name of the call in the events of its progress.
    rows : int
        Rows that it has processed in all, as in the events.
    machine : str
        Architecture of the worker's processor.
    """

    error: BaseException | None
    result: Any = None
    call: str = ""
    rows: int = 0
    machine: str = ""


class ShardMissing(Exception):
    """The worker does not have the shard, or has it with fewer steps applied than assumed."""


@dataclass(frozen=True)
class ShardCall:
    """A call on a shard, as it is sent to the worker.

    Attributes
    ----------
    key : str
        Run and shard.
    name : str
        Name of the call in the events of its progress.
    steps : tuple of Step
        The lineage without its first `n_applied` steps.
    n_applied : int
        Number of steps that the worker is assumed to have applied.
    function : callable or None
        If it is None, the result of the last step is returned.
    """

    key: str
    name: str
    steps: tuple[Step, ...]
    n_applied: int
    function: Callable[..., Any] | None


def run_task(call: ShardCall, args: tuple[Any, ...], inputs: Sequence[Any]) -> CallOutcome:
    """Bring the shard up to date with its lineage, then call the function on it.

    Parameters
    ----------
    args : tuple
        Arguments of the function. Dask has replaced futures among them by their values.
    inputs : sequence
        Further arguments of the first step, which builds the shard; likewise.
    """
    return _run(get_worker(), call, args, inputs)


def piece_of(outcome: CallOutcome, number: int) -> Any:
    """Return one of the pieces that a task has split a shard into."""
    return outcome.result[number]


async def call_shard(call: ShardCall, args: tuple[Any, ...], dask_worker: Worker) -> CallOutcome:
    """Do the same without a task, in the thread that runs tasks: `Client.run` calls this."""
    return await run_in_thread(dask_worker, partial(_run, dask_worker, call, args, ()))


async def run_in_thread(worker: Worker, task: Callable[[], CallOutcome]) -> CallOutcome:
    """Return the outcome of a function that runs in the thread for tasks; its error is part."""
    loop, threads = asyncio.get_running_loop(), worker.executors["default"]
    try:
        return await loop.run_in_executor(threads, task)
    except Exception as error:  # noqa: BLE001, it is raised by the caller
        return CallOutcome(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """Return an error that the caller can load, with the traceback unless it is gpuseg's own."""
    if isinstance(error, GpusegError | ShardMissing):
        return error
    traceback = format_exc()
    try:
        sent: Exception = pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001, errors of others may raise anything then
        sent = RuntimeError(repr(error))
    sent.add_note(traceback)
    return sent


def _run(
    worker: Worker, call: ShardCall, args: tuple[Any, ...], inputs: Sequence[Any]
) -> CallOutcome:
    run = call.key.split("/")[0]
    progress = _Progress(lambda rows: worker.log_event(TOPIC, (run, call.name, rows)))
    context = TaskContext(worker.state.nthreads, progress.advance, worker.local_directory)
    with _LOCKS.setdefault(call.key, Lock()):
        stored = _SHARDS.pop(call.key, None) or _StoredShard(0, None, None)
        if stored.n_steps < call.n_applied:
            raise ShardMissing(call.key)
        for step in call.steps[stored.n_steps - call.n_applied :]:
            if stored.n_steps == 0:
                stored.shard = step.function(*step.args, *inputs, context)
            else:
                stored.result = step.function(stored.shard, context, *step.args)
            stored.n_steps += 1
        if run not in _CLOSED_RUNS:
            _SHARDS[call.key] = stored
        function, result = call.function, stored.result
        if function is not None:
            result = function(stored.shard, context, *args)
    return CallOutcome(None, result, call.name, progress.rows, platform.machine())


class _Progress:
    """Sends how many rows are done, not too often: scheduler and caller handle each event."""

    def __init__(self, send: Callable[[int], None]) -> None:
        self.rows = 0
        self._send, self._sent_at, self._lock = send, monotonic(), Lock()

    def advance(self, rows: int) -> None:
        """Count rows; any thread may call it."""
        with self._lock:
            self.rows += rows
            if monotonic() - self._sent_at > _SECONDS_BETWEEN_EVENTS:
                self._send(self.rows)
                self._sent_at = monotonic()


def watch_run(run: str) -> None:
    """Forget a run as soon as Dask releases the result of this task.

    Dask does that when the client goes away, also one that was killed and closes nothing. A client
    that comes back submits another such task, and the run goes on.
    """
    worker = get_worker()
    key = worker.get_current_task()
    _WATCHES[run] = key
    _CLOSED_RUNS.discard(run)
    worker.loop.add_callback(_forget_when_released, worker, key, run)


async def _forget_when_released(worker: Worker, key: Key, run: str) -> None:
    while key in worker.state.tasks:
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
    if _WATCHES.get(run) == key:
        del _WATCHES[run]
        forget(run)


def forget(run: str) -> None:
    """Drop the shards of a run, including those of tasks that are still running."""
    _CLOSED_RUNS.add(run)
    for key in [*_SHARDS, *_LOCKS]:
        if key.startswith(run):
            _SHARDS.pop(key, None)
            _LOCKS.pop(key, None)
