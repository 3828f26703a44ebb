"""An executor that records the results of its calls, and takes those of an earlier attempt.

The caller of an executor does the same in each attempt of a run: what it does next follows from the
results so far. So a run goes on where it was interrupted if it gets the recorded results, without
calls. Calls that made the shards are made again just before the first call that was not recorded;
like this a shard is rebuilt after its worker was lost, bit for bit.

Values that calls leave in caches of shards are lost. Calls that need each other's are a unit, which
is recorded as a whole.
"""

import hashlib
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from gpuseg.runtime.checkpoint_folder import CheckpointFolder
from gpuseg.runtime.executor import Executor
from gpuseg.runtime.journal.fingerprint import CallFingerprint, name_of
from gpuseg.runtime.journal.journal import Journal
from gpuseg.runtime.kept_items import KeepingItems
from gpuseg.runtime.record_pickle import dumps, loads

R = TypeVar("R")

_NOT_STORABLE = (pickle.PicklingError, TypeError, AttributeError)


@dataclass(frozen=True)
class Entry:
    """A recorded call.

    Attributes
    ----------
    kind, function : str
        What was called, and the name of the function that it was called with.
    fingerprint : bytes
        That of the arguments.
    result : object
    """

    kind: str
    function: str
    fingerprint: bytes
    result: Any

    def is_of(self, other: "Entry") -> bool:
        """Whether both are of the same call."""
        return (self.kind, self.function, self.fingerprint) == (
            other.kind, other.function, other.fingerprint,
        )  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """A place in a journal, between two calls.

    Attributes
    ----------
    n_frames : int
    chain : bytes
        A hash of all calls before.
    """

    n_frames: int
    chain: bytes


class JournaledExecutor:
    """Record the calls of another executor.

    Parameters
    ----------
    executor : Executor
    journal : Journal
    checkpoint : CheckpointFolder, optional
        Takes what shards keep by themselves.
    log : callable
        Takes messages for the user.
    placeholders : mapping of str to str
        Texts in arguments that differ between attempts, such as paths of temporary folders, and
        what stands for them.
    trusts_files : bool
        Whether files that earlier calls have written are as they were: the machine has run since.

    Attributes
    ----------
    n_taken, n_made : int
        Calls whose results were recorded before, and calls that were made.
    """

    def __init__(
        self,
        executor: Executor,
        journal: Journal,
        checkpoint: CheckpointFolder | None = None,
        log: Callable[[str], None] = lambda text: None,
        placeholders: Mapping[str, str] | None = None,
        trusts_files: bool = True,
    ) -> None:
        self._inner, self._journal, self._log = executor, journal, log
        self._placeholders, self._trusts_files = placeholders or {}, trusts_files
        self.checkpoint = executor.checkpoint = checkpoint
        self._frames: Iterator[bytes] | None = journal.frames()
        self._recorded = deque[Entry]()
        self._rebuilding: list[Callable[[], Any]] = []
        self._unit: list[Entry] | None = None
        self._is_storable = True
        self._chain = b""
        self.n_taken = self.n_made = 0
        self.n_shards, self.local_threads = 0, executor.local_threads

    def workers(self) -> list[str]:
        # They are asked in any case: shards are planned for as many as there are.
        workers = self._inner.workers()
        self._call("workers", None, (len(workers),), lambda: None)
        return workers

    def load(self, load: Callable[..., Any], plans: Sequence[Any]) -> None:
        self.n_shards = len(plans)
        self._call("load", load, (plans,), lambda: self._inner.load(load, plans))

    def map(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        return self._on_shards("map", self._inner.map, function, args, per_shard)

    def apply(
        self, function: Callable[..., R], *args: Any, per_shard: Sequence[Any] | None = None
    ) -> list[R]:
        return self._on_shards("apply", self._inner.apply, function, args, per_shard)

    def shuffle_reduce(
        self,
        split: Callable[..., Sequence[Any]],
        join: Callable[[Sequence[Any]], R],
        n_pieces: int,
    ) -> list[R]:
        result: list[R] = self._call(
            "shuffle_reduce", split, (split, join, n_pieces),
            lambda: self._inner.shuffle_reduce(split, join, n_pieces),
        )  # fmt: skip
        return result

    def shuffle(self, split: Callable[..., Sequence[Any]], take: Callable[..., R]) -> list[R]:
        result: list[R] = self._call(
            "shuffle", split, (split, take), lambda: self._inner.shuffle(split, take)
        )
        return result

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = self._call("describe", None, (), self._inner.describe)
        return described

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Record the calls inside together, at the end, and store what was recorded."""
        if self._unit is not None:
            yield
            return
        self._unit = []
        try:
            with self._inner.unit():
                yield
            entries = self._unit
        finally:
            self._unit = None
        self._append(entries)
        self._journal.flush()

    def mark(self) -> Mark:
        """Return the present place in the journal."""
        return Mark(self._journal.n_frames - bool(self._recorded), self._chain)

    def cut(self, mark: Mark) -> None:
        """Forget all calls since a place: they will be made again."""
        self._stop_replay(mark.n_frames)
        self._chain = mark.chain

    def _on_shards(
        self,
        kind: str,
        call: Callable[..., list[R]],
        function: Callable[..., R],
        args: tuple[Any, ...],
        per_shard: Sequence[Any] | None,
    ) -> list[R]:
        def make() -> list[R]:
            if self.checkpoint is None:
                return call(function, *args, per_shard=per_shard)
            keeping = KeepingItems(function, self.checkpoint, name)
            numbered = KeepingItems.per_shard(per_shard, self.n_shards)
            return call(keeping, *args, per_shard=numbered)

        entry, writes_files = self._entry(kind, function, (function, args, per_shard))
        name = self._chain.hex()  # the call and all before it
        result: list[R] = self._result(entry, writes_files, make)
        return result

    def _call(
        self,
        kind: str,
        function: Callable[..., Any] | None,
        arguments: tuple[Any, ...],
        make: Callable[[], Any],
    ) -> Any:
        entry, writes_files = self._entry(kind, function, arguments)
        return self._result(entry, writes_files, make)

    def _entry(
        self, kind: str, function: Callable[..., Any] | None, arguments: tuple[Any, ...]
    ) -> tuple[Entry, bool]:
        """Return the entry of a call, without a result, and whether it writes files."""
        fingerprint = CallFingerprint(self._placeholders).add(arguments)
        name = "" if function is None else name_of(function)
        entry = Entry(kind, name, fingerprint.digest(), None)
        text = f"{kind} {name} ".encode() + entry.fingerprint
        self._chain = hashlib.blake2b(self._chain + text, digest_size=16).digest()
        return entry, fingerprint.writes_files

    def _result(self, entry: Entry, writes_files: bool, make: Callable[[], Any]) -> Any:
        recorded = self._take(entry, writes_files)
        if recorded is not None:
            self.n_taken += 1
            if entry.kind == "load":
                self._rebuilding = [make]
            elif entry.kind == "apply":
                self._rebuilding.append(make)
            return recorded.result
        if entry.kind == "load":  # others take the place of the shards
            self._rebuilding.clear()
        if entry.kind != "workers":
            self._rebuild()
        result = make()
        self.n_made += 1
        done = Entry(entry.kind, entry.function, entry.fingerprint, result)
        if self._unit is None:
            self._append([done])
        else:
            self._unit.append(done)
        return result

    def _take(self, entry: Entry, writes_files: bool) -> Entry | None:
        """Return the recorded entry of a call; None if there is none, and from then on."""
        if self._frames is None:
            return None
        if not self._recorded:
            frame = next(self._frames, None)
            if frame is None:
                self._frames = None
                return None
            self._recorded.extend(_entries(frame))
        if self._recorded and self._recorded[0].is_of(entry):
            if self._trusts_files or not writes_files:
                return self._recorded.popleft()
            reason = "its files may not have reached the disk"
        else:
            reason = "it differs, as where the number of workers or their memory has changed"
        self._stop_replay(self._journal.n_frames - 1)
        self._log(f"the run goes on from a call before its interruption: {reason}")
        return None

    def _stop_replay(self, n_frames: int) -> None:
        self._frames = None
        self._recorded.clear()
        if n_frames < self._journal.n_frames:
            self._journal.cut(n_frames)

    def _rebuild(self) -> None:
        """Make the calls again that made the shards, in their order."""
        while self._rebuilding:
            self._rebuilding[0]()
            self._rebuilding.pop(0)

    def _append(self, entries: Sequence[Entry]) -> None:
        """Record calls that were made; after one whose result cannot be stored, none is."""
        if not (entries and self._is_storable):
            return
        try:
            content = dumps(list(entries))
        except _NOT_STORABLE:
            self._is_storable = False
            self._log(
                f"the results of {entries[-1].function} cannot be stored, so that an interrupted "
                "run would begin again there"
            )
            return
        self._journal.append(content)


def _entries(frame: bytes) -> Sequence[Entry]:
    """Return the entries of a frame; none if it has values of unknown classes."""
    try:
        entries: list[Entry] = loads(frame)
    except pickle.UnpicklingError:
        return []
    return entries
