"""Where shards live and functions on them run; the engine sees only this.

A function sent to the shards is called as ``function(shard, env, *args)`` and returns
something small. Functions that change the shard are remembered: they are its lineage, from
which a lost shard is built again, bit for bit.
"""

import os
import platform
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

R = TypeVar("R")

BLOCK_ROWS = 65_536
"""Rows handed to a thread at a time: 4 MB at 16 features; a pass has enough blocks to balance."""


_REPORTS = 50
"""Of a call: a worker's report goes through the scheduler."""


def _silent(_: int) -> None:
    pass


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads that are kept: a pass on a million rows is over in milliseconds."""
    return ThreadPoolExecutor(threads, thread_name_prefix="gpuseg")


@dataclass(frozen=True)
class TaskContext:
    """What a function may use where it runs.

    Attributes
    ----------
    threads : int
        Threads it may start.
    report : callable
        Takes the number of rows just done, for the progress bar.
    """

    threads: int = 1
    report: Callable[[int], None] = _silent

    def map(self, function: Callable[[Any], R], items: Sequence[Any], rows: int = 0) -> Iterator[R]:
        """Call `function` on each item, on `threads` threads; results in the items' order.

        Results are given out as they come, so that folding them keeps few of them. `rows` is how
        many rows the items are together, where that is to be reported.
        """
        told = 0
        for done, result in enumerate(self._spread(function, items), 1):
            reached = rows * done // len(items)
            if reached > told and (done == len(items) or reached - told > rows // _REPORTS):
                self.report(reached - told)
                told = reached
            yield result

    def _spread(self, function: Callable[[Any], R], items: Sequence[Any]) -> Iterator[R]:
        if self.threads == 1 or len(items) < 2:
            yield from map(function, items)
            return
        futures = deque(_pool(self.threads).submit(function, item) for item in items)
        try:
            while futures:
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()
            wait(futures)


def prefetch(items: Iterator[R]) -> Iterator[R]:
    """Yield the items, the next one being made by another thread while one is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="gpuseg-ahead") as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item


class CacheLost(Exception):
    """What shards kept in their caches is gone with a worker."""


class Executor(Protocol):
    """Places shards and runs functions on them."""

    n_shards: int
    local_threads: int
    """Threads that the caller's own process may use."""

    def workers(self) -> list[str]:
        """Return the names of the workers that shards can be placed on."""
        ...

    def load(self, load: Callable[..., Any], plans: Sequence[Any]) -> None:
        """Build shard i as ``load(plans[i], env)``, where it will live."""
        ...

    def map(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        """Call the function on every shard; results in the order of the shards.

        ``per_shard[i]``, where given, follows `args` in the call on shard i.
        """
        ...

    def apply(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        """Call a function that changes the shard, and remember it."""
        ...

    def shuffle_reduce(
        self,
        split: Callable[..., Sequence[Any]],
        join: Callable[[Sequence[Any]], R],
        n_pieces: int,
    ) -> list[R]:
        """All to all: join piece j of every shard's ``split(shard, env, n_pieces)``, for each j."""
        ...

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        """All to all, between shards: ``take(shard, env, pieces)`` on every shard.

        The pieces of shard j are number j of what ``split(shard, env, n_shards)`` returns on each
        shard. What a shard keeps of them, in its `cache`, is not part of its lineage.

        Raises
        ------
        CacheLost
            When a shard has moved to another worker.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of it.

        Keys: cluster, n_workers, threads_per_worker, recovered_shards (how often a shard was built
        again elsewhere), machines (processor architectures).
        """
        ...


class LocalExecutor:
    """Shards in this process, functions called directly.

    Parameters
    ----------
    threads : int, optional
        Threads that a function may start; the processors this process may use by default.
    report : callable, optional
        Takes the number of rows just done.
    """

    def __init__(self, threads: int | None = None, report: Callable[[int], None] = _silent) -> None:
        self.env = TaskContext(threads or available_cpus(), report)
        self.local_threads = self.env.threads
        self.n_shards = 0
        self._shards: list[Any] = []

    def workers(self) -> list[str]:
        return ["this process"]

    def load(self, load: Callable[..., Any], plans: Sequence[Any]) -> None:
        self._shards = [load(plan, self.env) for plan in plans]
        self.n_shards = len(self._shards)

    def map(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        arguments = with_per_shard(args, per_shard, self.n_shards)
        return [
            function(shard, self.env, *own)
            for shard, own in zip(self._shards, arguments, strict=True)
        ]

    apply = map

    def shuffle_reduce(
        self,
        split: Callable[..., Sequence[Any]],
        join: Callable[[Sequence[Any]], R],
        n_pieces: int,
    ) -> list[R]:
        pieces = [split(shard, self.env, n_pieces) for shard in self._shards]
        return list(self.env.map(lambda j: join([own[j] for own in pieces]), range(n_pieces)))

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        pieces = [split(shard, self.env, self.n_shards) for shard in self._shards]
        return [
            take(shard, self.env, [own[j] for own in pieces])
            for j, shard in enumerate(self._shards)
        ]

    def describe(self) -> dict[str, Any]:
        return {
            "cluster": "local",
            "n_workers": 1,
            "threads_per_worker": self.env.threads,
            "recovered_shards": 0,
            "machines": [platform.machine()],
        }


def with_per_shard(
    args: tuple[Any, ...], per_shard: Sequence[Any] | None, n_shards: int
) -> list[tuple[Any, ...]]:
    """Return the arguments of the call on each shard."""
    return [args] * n_shards if per_shard is None else [(*args, item) for item in per_shard]


def available_cpus() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
