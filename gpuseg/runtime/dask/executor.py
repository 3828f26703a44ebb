"""Shards on Dask workers: one task a shard and pass, and nothing that Dask has to keep.

A shard lives in its worker's process (`runtime.dask.worker`); Dask sees only small tasks on it.
Each task carries what is new of the shard's lineage: the functions, in order, that made it what it
is. A worker that lacks the shard (a new one, after the old one was lost) asks for the whole
lineage, builds the shard from it, bit for bit, and goes on.
"""

import operator
import platform
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from distributed import Client, wait
from distributed.client import FuturesCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from gpuseg.errors import ResourceError
from gpuseg.runtime.dask.worker import TOPIC, ShardMissing, Step, forget, work
from gpuseg.runtime.executor import CacheLost, available_cpus, with_per_shard

R = TypeVar("R")

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
_MAX_LOSSES = 3
_MORE = (
    "a worker may need more memory (runtime.memory_limit) or a smaller share (runtime.n_workers)"
)


class DaskExecutor:
    """Shards on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    cluster : str
        How the job names the cluster, for the manifest.
    n_workers : int, optional
        Use so many workers at the most; all by default.
    report : callable
        Takes the number of rows that a worker has just done.
    say : callable
        Takes what a user should know.
    """

    def __init__(
        self,
        client: Client,
        cluster: str,
        n_workers: int | None,
        report: Callable[[int], None],
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._client, self._cluster = client, cluster
        self._report, self._say = report, say
        self._id = uuid.uuid4().hex
        self._wanted = n_workers
        self._placed = 0
        self.n_shards = 0
        self.local_threads = available_cpus()
        self._lineages: list[tuple[Step, ...]] = []
        self._inputs: list[list[Any]] = []
        self._homes: list[str] = []
        self._losses: list[int] = []
        self._known: list[int] = []
        client.subscribe_topic(TOPIC, self._on_event)

    def workers(self) -> list[str]:
        """Return the addresses of the workers to use."""
        return sorted(self._client.nthreads())[: self._wanted]

    def load(
        self,
        load: Callable[..., Any],
        plans: Sequence[Any],
        inputs: Sequence[Sequence[Any]] | None = None,
    ) -> None:
        """Build shard i as ``load(plans[i], *inputs[i], env)``; inputs are futures."""
        workers = self.workers()
        self._placed += 1  # other shards than those placed before
        self.n_shards = len(plans)
        self._homes = [workers[i % len(workers)] for i in range(self.n_shards)]
        self._losses = [0] * self.n_shards
        self._known = [0] * self.n_shards
        self._lineages = [(Step(load, (plan,)),) for plan in plans]
        self._inputs = [[] for _ in plans] if inputs is None else [list(own) for own in inputs]
        self._on_all(None, [() for _ in plans])

    def map(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        return self._on_all(function, with_per_shard(args, per_shard, self.n_shards))

    def apply(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        steps = [Step(function, own) for own in with_per_shard(args, per_shard, self.n_shards)]
        self._lineages = [(*old, new) for old, new in zip(self._lineages, steps, strict=True)]
        return self._on_all(None, [() for _ in steps])

    def shuffle_reduce(
        self,
        split: Callable[..., Sequence[Any]],
        join: Callable[[Sequence[Any]], R],
        n_pieces: int,
    ) -> list[R]:
        submit = self._client.submit
        splits = [
            submit(work, self._key(i), self._lineages[i], 0, split, (n_pieces,), self._inputs[i],
                   workers=[self._homes[i]], allow_other_workers=True, pure=False)
            for i in range(self.n_shards)
        ]  # fmt: skip
        joined = [
            submit(join, [submit(operator.getitem, own, j) for own in splits], pure=False)
            for j in range(n_pieces)
        ]
        try:
            results: list[R] = self._client.gather(joined)
        except KilledWorker as error:
            raise ResourceError(f"workers were lost again and again ({error}); {_MORE}") from None
        except (FuturesCancelledError, CommClosedError):
            raise self._scheduler_gone() from None
        return results

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        submit, shards = self._client.submit, range(self.n_shards)
        splits = [self._submit(i, split, (self.n_shards,)) for i in shards]
        pieces = [[submit(operator.getitem, own, j, pure=False) for own in splits] for j in shards]
        taken = [self._submit(j, take, (pieces[j],)) for j in shards]
        try:
            while len(done := self._first_done(taken, "ALL_COMPLETED")) < self.n_shards:
                alive = self._client.nthreads()
                if lost := [i for i in shards if self._homes[i] not in alive]:
                    self._client.cancel([*splits, *taken], force=True)
                    for i in lost:
                        self._move(i)
                    raise CacheLost
            for future in done:
                if isinstance(error := future.exception(), ShardMissing | KilledWorker):
                    raise CacheLost from error
            results: list[R] = self._client.gather(taken)
        except (FuturesCancelledError, CommClosedError):
            raise self._scheduler_gone() from None
        return results

    def describe(self) -> dict[str, Any]:
        threads = self._client.nthreads()
        used = [threads[home] for home in self._homes if home in threads]
        return {
            "cluster": self._cluster,
            "n_workers": len(set(self._homes)),
            "threads_per_worker": max(used, default=1),
            "recovered_shards": sum(self._losses),
            "machines": sorted(set(self._client.run(platform.machine).values())),
        }

    def close(self) -> None:
        """Let the workers forget the shards, also those that tasks under way will finish."""
        self._client.unsubscribe_topic(TOPIC)
        self._client.run(forget, self._id)

    def _key(self, shard: int) -> str:
        return f"{self._id}/{self._placed}/{shard}"

    def _on_all(self, function: Callable[..., R] | None, args: list[tuple[Any, ...]]) -> list[R]:
        """Call on every shard where it lives; shards of lost workers move and are called again."""
        try:
            return self._collected(function, args)
        except (FuturesCancelledError, CommClosedError):
            raise self._scheduler_gone() from None

    def _scheduler_gone(self) -> ResourceError:
        return ResourceError(
            f"runtime.cluster = {self._cluster!r}: the scheduler is gone; start it again, and "
            "run again"
        )

    def _collected(self, function: Callable[..., R] | None, args: list[tuple[Any, ...]]) -> list[R]:
        results: dict[int, R] = {}
        pending = {self._submit(i, function, args[i]): i for i in range(self.n_shards)}
        while pending:
            done = self._first_done(list(pending))
            alive = self._client.nthreads()
            for future, i in list(pending.items()):
                error = future.exception() if future in done else None
                if future in done and error is None:
                    results[i] = future.result()
                    self._known[i] = len(self._lineages[i])
                elif isinstance(error, ShardMissing):
                    self._known[i] = 0
                    pending[self._submit(i, function, args[i])] = i
                elif isinstance(error, KilledWorker) or self._homes[i] not in alive:
                    self._move(i)
                    future.cancel(force=True)
                    pending[self._submit(i, function, args[i])] = i
                elif error is not None:
                    self._client.cancel(list(pending), force=True)
                    raise error
                else:
                    continue
                del pending[future]
        return [results[i] for i in range(self.n_shards)]

    def _first_done(self, futures: list[Any], which: str = "FIRST_COMPLETED") -> set[Any]:
        """Wait for a future to be done, for a while; return those that are."""
        done: set[Any] = set()
        with self._client.as_current(), suppress(TimeoutError):
            done = wait(futures, _LOOK_SECONDS, which).done
        return done

    def _submit(self, i: int, function: Callable[..., R] | None, args: tuple[Any, ...]) -> Any:
        known = self._known[i]
        inputs = [] if known else self._inputs[i]  # Dask hands over what the futures hold
        return self._client.submit(
            work, self._key(i), self._lineages[i][known:], known, function, args, inputs,
            workers=[self._homes[i]], allow_other_workers=False, pure=False,
        )  # fmt: skip

    def _move(self, i: int) -> None:
        """Give a shard a new home: a worker that has none, or the one that has the fewest."""
        self._losses[i] += 1
        self._known[i] = 0
        if self._losses[i] > _MAX_LOSSES:
            raise ResourceError(f"shard {i}: its worker was lost {self._losses[i]} times; {_MORE}")
        self._say(f"note: the worker of shard {i} was lost; another one reads its rows again")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            others = [home for j, home in enumerate(self._homes) if j != i]
            workers = sorted(self._client.nthreads(), key=lambda w: (others.count(w), w))
            if workers and (others.count(workers[0]) == 0 or time.monotonic() > deadline):
                self._homes[i] = workers[0]
                return
            if time.monotonic() > deadline:
                raise ResourceError("all Dask workers are gone; start workers and run again")
            time.sleep(_LOOK_SECONDS)

    def _on_event(self, event: tuple[float, Any]) -> None:
        run, rows = event[1]
        if run == self._id:
            self._report(rows)
