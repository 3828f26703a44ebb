"""Results of single items of a call on a shard, kept for the next attempt of the run.

The same call of the next attempt, on the same shard, takes them and leaves the items out. That is
worth it where an item writes a file: the call may be interrupted after most files are written.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gpuseg.runtime.checkpoint_folder import CheckpointFolder
from gpuseg.runtime.machine_start import machine_start
from gpuseg.runtime.record_pickle import dumps, loads

R = TypeVar("R")

_FOLDER = "items"


@dataclass(frozen=True)
class Keep(Generic[R]):
    """How the results of items are kept.

    Attributes
    ----------
    is_whole : callable
        Whether the files of a kept result are still there.
    is_flushed : bool
        Whether they are on the disk when the result is there. Otherwise the result is taken only
        on a machine that has run since: its memory still has what the disk may not have.
    division : str
        How items are divided, if the call and what came before do not tell.
    """

    is_whole: Callable[[R], bool]
    is_flushed: bool
    division: str = ""


@dataclass(frozen=True)
class _KeptItem:
    start: str
    result: Any


@dataclass(frozen=True)
class KeptItems:
    """The kept results of one call on one shard.

    Attributes
    ----------
    folder : CheckpointFolder
    name : str
        Name of the call and the shard.
    """

    folder: CheckpointFolder
    name: str

    def result(self, number: int, keep: Keep[R], make: Callable[[], R]) -> R:
        """Return the kept result of an item, or make and keep it."""
        name = f"{_FOLDER}/{self.name}/{keep.division}{keep.division and '-'}{number}"
        item = self._kept(name)
        if item is not None and (keep.is_flushed or item.start == machine_start()):
            kept: R = item.result
            if keep.is_whole(kept):
                return kept
        result = make()
        content = dumps(_KeptItem(machine_start(), result))
        self.folder.write(name, lambda file: file.write(content))
        return result

    def _kept(self, name: str) -> _KeptItem | None:
        try:
            with self.folder.open(name) as file:
                item = loads(file.read())
        except (OSError, pickle.UnpicklingError):
            return None
        return item if isinstance(item, _KeptItem) else None


class KeepingItems(Generic[R]):
    """A function on shards whose calls may keep results of items, as `TaskContext.map` does.

    It takes the number of the shard as the last argument, before the argument of the shard if that
    has one: see `per_shard`.

    Parameters
    ----------
    function : callable
    folder : CheckpointFolder
    call : str
        A name that the same call has in each attempt of the run, and no other call.
    """

    def __init__(self, function: Callable[..., R], folder: CheckpointFolder, call: str) -> None:
        self._function, self._folder, self._call = function, folder, call

    @property
    def name(self) -> str:
        """The name of the function."""
        return getattr(self._function, "__name__", type(self._function).__name__)

    @staticmethod
    def per_shard(given: Sequence[Any] | None, n_shards: int) -> list[tuple[Any, ...]]:
        """Return the arguments of the shards, with their numbers."""
        return [(i,) if given is None else (i, given[i]) for i in range(n_shards)]

    def __call__(self, shard: Any, context: Any, *args: Any) -> R:
        *common, (number, *of_shard) = args
        context = context.keeping(KeptItems(self._folder, f"{self._call}/{number}"))
        return self._function(shard, context, *common, *of_shard)
