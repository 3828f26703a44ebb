"""What runs on a Dask worker: it keeps shards, and brings them up to their lineage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from distributed import get_worker

from gpuseg.runtime.executor import TaskContext

R = TypeVar("R")

TOPIC = "gpuseg-rows"
"""Under which workers tell how many rows they have done."""


@dataclass(frozen=True)
class Step:
    """A function of a shard's lineage, and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass
class _Kept:
    """A shard on its worker: how many steps of its lineage it has been through."""

    steps: int
    shard: Any
    answer: Any


_SHARDS: dict[str, _Kept] = {}
_CLOSED: set[str] = set()


class ShardMissing(Exception):
    """The worker has no such shard, or one that has been through fewer steps than thought."""


def work(
    key: str,
    steps: tuple[Step, ...],
    known: int,
    function: Callable[..., R] | None,
    args: tuple[Any, ...],
    inputs: Sequence[Any],
) -> R:
    """Bring the shard up to its lineage, then call the function on it.

    `steps` are those of the lineage from number `known` on. Without a function, return what
    the last step of the lineage answered.
    """
    worker = get_worker()
    run = key.split("/")[0]
    env = TaskContext(worker.state.nthreads, lambda rows: worker.log_event(TOPIC, (run, rows)))
    kept = _SHARDS.pop(key, None) or _Kept(0, None, None)
    if kept.steps < known:
        raise ShardMissing(key)
    for step in steps[kept.steps - known :]:
        if kept.steps == 0:
            kept.shard = step.function(*step.args, *inputs, env)
        else:
            kept.answer = step.function(kept.shard, env, *step.args)
        kept.steps += 1
    if run not in _CLOSED:
        _SHARDS[key] = kept
    answer: R = kept.answer if function is None else function(kept.shard, env, *args)
    return answer


def forget(run: str) -> None:
    """Forget the shards of a run, also those that tasks under way will finish."""
    _CLOSED.add(run)
    for key in list(_SHARDS):
        if key.startswith(run):
            _SHARDS.pop(key, None)
