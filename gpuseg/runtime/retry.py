"""Repeat work whose shards lost their caches with a worker."""

from collections.abc import Callable
from typing import TypeVar

from gpuseg.errors import ResourceError
from gpuseg.runtime.executor import CacheLost

R = TypeVar("R")

MAX_ATTEMPTS = 3

LOSS_HINT = "give each worker more memory, or use more workers"


def _silent(_: str) -> None:
    pass


def retry_if_lost(function: Callable[[], R], log: Callable[[str], None] = _silent) -> R:
    """Return the result of a function; call it again where it raises `CacheLost`.

    The executor rebuilds the shards of a lost worker, but not their caches. Only the outermost
    caller wraps its work, so that attempts do not multiply.

    Parameters
    ----------
    function : callable
        Must be safe to call again from the start.
    log : callable
        Takes a line for the user on each restart.

    Raises
    ------
    ResourceError
        After `MAX_ATTEMPTS` attempts.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            return function()
        except CacheLost:
            if attempt + 1 < MAX_ATTEMPTS:
                log("a worker or a task was lost; clustering starts again")
    raise ResourceError(
        "worker.lost_repeatedly",
        f"clustering lost workers or tasks in each of {MAX_ATTEMPTS} attempts",
        hint=LOSS_HINT,
    )
