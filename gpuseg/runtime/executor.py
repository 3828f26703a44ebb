"""Where shards live and functions on them run; the algorithms only see this interface.

A function sent to the shards is called as ``function(shard, context, *args)`` and returns a small
value. Functions that change the shard are recorded: they are its lineage, from which a lost shard
is rebuilt, bit for bit.
"""

import os
import platform
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol, TypeVar

from gpuseg.runtime.checkpoint_folder import CheckpointFolder
from gpuseg.runtime.kept_items import Keep, KeptItems

R = TypeVar("R")

BLOCK_ROWS = 65_536
"""Least rows of a block that a thread gets: 4 MB at 16 features; see `Shard.block_rows`."""

_ITEMS_PER_THREAD = 8
"""Items that are given to a thread, or have results that nobody has taken: they take memory."""

_MAX_REPORTS = 50
"""Maximum progress reports per call; each one is a scheduler message."""


def _ignore(_: int) -> None:
    pass


def do_nothing() -> None:
    """Do nothing."""


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of threads that stays alive: a pass over a million rows takes milliseconds."""
    return ThreadPoolExecutor(threads, thread_name_prefix="gpuseg")


os.register_at_fork(after_in_child=_pool.cache_clear)  # the threads are those of the parent


@dataclass(frozen=True)
class TaskContext:
    """Resources of a function where it runs.

    Attributes
    ----------
    threads : int
        Number of threads it may use.
    report : callable
        Takes the number of rows just processed, for the progress bar.
    scratch_folder : str, optional
        Folder for large temporary files; by default `runtime.scratch.scratch_folder`.
    while_waiting : callable
        Called in place of waiting idly, whenever threads have got work.
    kept : KeptItems, optional
        Takes results of items for the next attempt of the run; None keeps none.
    """

    threads: int = 1
    report: Callable[[int], None] = _ignore
    scratch_folder: str | None = None
    while_waiting: Callable[[], None] = do_nothing
    kept: KeptItems | None = None

    def keeping(self, kept: KeptItems) -> "TaskContext":
        """Return the same resources for a call that may keep results of items."""
        return replace(self, kept=kept)

    def map(
        self,
        function: Callable[[Any], R],
        items: Sequence[Any],
        rows: int = 0,
        keep: Keep[R] | None = None,
    ) -> Iterator[R]:
        """Call `function` on each item, on `threads` threads; yield results in the items' order.

        Results are yielded as they arrive, so that folding them keeps few in memory. `rows` is the
        number of rows of all items together, if progress is to be reported.

        With `keep`, results are kept as they come, and those that an earlier attempt of the run
        has kept are taken. A function that is called on a shard does this in one call at most.
        """
        if keep is not None and self.kept is not None:
            function, items = _kept(function, keep, self.kept), list(enumerate(items))
        n_reported = 0
        for n_done, result in enumerate(self._results(function, items), 1):
            n_rows = rows * n_done // len(items)
            unreported = n_rows - n_reported
            if unreported > 0 and (n_done == len(items) or unreported > rows // _MAX_REPORTS):
                self.report(unreported)
                n_reported = n_rows
            yield result

    def _results(self, function: Callable[[Any], R], items: Sequence[Any]) -> Iterator[R]:
        if self.threads == 1 or len(items) < 2:
            yield from map(function, items)
            return
        pool, coming = _pool(self.threads), iter(items)
        few = islice(coming, _ITEMS_PER_THREAD * self.threads)
        futures = deque(pool.submit(function, item) for item in few)
        try:
            self.while_waiting()
            while futures:
                result = futures.popleft().result()
                futures.extend(pool.submit(function, item) for item in islice(coming, 1))
                yield result
        finally:
            for future in futures:
                future.cancel()
            wait(futures)


def _kept(
    function: Callable[[Any], R], keep: Keep[R], kept: KeptItems
) -> Callable[[tuple[int, Any]], R]:
    return lambda item: kept.result(item[0], keep, lambda: function(item[1]))


ONE_THREAD = TaskContext()
"""The resources of a caller that has nothing to share out."""


def prefetch(items: Iterator[R]) -> Iterator[R]:
    """Yield the items; another thread makes the next one while one is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="gpuseg-prefetch") as thread:
        future = thread.submit(next, items, None)
        while (item := future.result()) is not None:
            future = thread.submit(next, items, None)
            yield item


class CacheLost(Exception):
    """The caches of some shards were lost with a worker."""


class Executor(Protocol):
    """Hold shards and run functions on them."""

    n_shards: int
    local_threads: int
    """Number of threads that the caller's own process may use."""
    checkpoint: CheckpointFolder | None
    """Takes what shards keep for the next attempt of the run; None keeps nothing."""

    def workers(self) -> list[str]:
        """Return the names of the workers that can hold shards."""
        ...

    def load(self, load: Callable[..., Any], plans: Sequence[Any]) -> None:
        """Build shard i as ``load(plans[i], context)`` on the worker that will hold it."""
        ...

    def map(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        """Call a function that reads every shard; return results in the order of the shards.

        ``per_shard[i]``, if given, follows `args` in the call on shard i.
        """
        ...

    def apply(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        """Call a function that changes every shard, and record it in the lineage."""
        ...

    def shuffle_reduce(
        self,
        split: Callable[..., Sequence[Any]],
        join: Callable[[Sequence[Any]], R],
        n_pieces: int,
    ) -> list[R]:
        """Return for each j the join of piece j of all shards, an all-to-all exchange.

        A shard's pieces are ``split(shard, context, n_pieces)``.
        """
        ...

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        """Exchange pieces between all shards: ``take(shard, context, pieces)`` on every shard.

        The pieces of shard j are number j of what ``split(shard, context, n_shards)`` returns on
        each shard. Values that a shard keeps of them in its `cache` are not part of its lineage.

        Raises
        ------
        CacheLost
            If a shard has moved to another worker.
        """
        ...

    def unit(self) -> AbstractContextManager[None]:
        """Group calls that leave values in the caches of shards which later ones of them need.

        A run that goes on after an interruption makes all calls of the group again, or none.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return the executor's entry in the manifest.

        Keys: cluster, n_workers, threads_per_worker, recovered_shards (how often a shard was
        rebuilt on another worker), machines (processor architectures).
        """
        ...


class LocalExecutor:
    """Hold shards in this process and call functions directly.

    Parameters
    ----------
    threads : int, optional
        Number of threads that a function may use; by default all processors of this process.
    report : callable, optional
        Takes the number of rows just processed.
    while_waiting : callable
        See `TaskContext`.
    """

    checkpoint: CheckpointFolder | None = None

    def __init__(
        self,
        threads: int | None = None,
        report: Callable[[int], None] = _ignore,
        while_waiting: Callable[[], None] = do_nothing,
    ) -> None:
        self.context = TaskContext(threads or available_cpus(), report, while_waiting=while_waiting)
        self.local_threads = self.context.threads
        self.n_shards = 0
        self._shards: list[Any] = []

    def workers(self) -> list[str]:
        return ["this process"]

    def load(self, load: Callable[..., Any], plans: Sequence[Any]) -> None:
        self._shards = [load(plan, self.context) for plan in plans]
        self.n_shards = len(self._shards)

    def map(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        calls = zip(self._shards, arguments_per_shard(args, per_shard, self.n_shards), strict=True)
        return [function(shard, self.context, *arguments) for shard, arguments in calls]

    apply = map

    def shuffle_reduce(
        self,
        split: Callable[..., Sequence[Any]],
        join: Callable[[Sequence[Any]], R],
        n_pieces: int,
    ) -> list[R]:
        splits = [split(shard, self.context, n_pieces) for shard in self._shards]
        return list(
            self.context.map(lambda j: join([pieces[j] for pieces in splits]), range(n_pieces))
        )

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        splits = [split(shard, self.context, self.n_shards) for shard in self._shards]
        return [
            take(shard, self.context, [pieces[j] for pieces in splits])
            for j, shard in enumerate(self._shards)
        ]

    def unit(self) -> AbstractContextManager[None]:
        return nullcontext()

    def describe(self) -> dict[str, Any]:
        return {
            "cluster": "local",
            "n_workers": 1,
            "threads_per_worker": self.context.threads,
            "recovered_shards": 0,
            "machines": [platform.machine()],
        }


def arguments_per_shard(
    args: tuple[Any, ...], per_shard: Sequence[Any] | None, n_shards: int
) -> list[tuple[Any, ...]]:
    """Return the arguments of the call on each shard."""
    return [args] * n_shards if per_shard is None else [(*args, item) for item in per_shard]


def available_cpus() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
