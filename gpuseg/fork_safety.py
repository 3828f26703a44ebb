"""Let a process be forked at any moment: also while other threads import, compile or fit.

A forked child has only the thread that forked. What another thread of its parent was about to do
stays half done in the child, and the locks of that thread stay taken for ever.
"""

import concurrent.futures.thread  # noqa: F401 - its hooks for forks come before those of this file
import os
from collections.abc import Sequence
from importlib import _bootstrap
from threading import get_ident
from time import monotonic, sleep
from typing import Any, Protocol

_MAX_SECONDS = 30.0
"""How long a fork waits until no other thread imports."""


class Lock(Protocol):
    """What is locked and unlocked by methods of these names."""

    def acquire(self) -> Any: ...

    def release(self) -> None: ...


_LOCKS: list[Lock] = []
_held: Sequence[Lock] = ()


def hold_at_fork(lock: Lock) -> None:
    """Let each fork wait for a reentrant lock, so that the child finds it free.

    No thread may wait for one such lock while it holds another.
    """
    _LOCKS.append(lock)


def _hold() -> None:
    """Take the locks at a moment when no other thread imports."""
    global _held
    deadline = monotonic() + _MAX_SECONDS
    while True:
        held = tuple(_LOCKS)
        for lock in held:
            lock.acquire()
        _held = held
        if not _others_import() or monotonic() > deadline:
            return
        _release()  # the import may need a lock
        sleep(0.001)


def _release() -> None:
    for lock in reversed(_held):
        lock.release()


def _others_import() -> bool:
    """Whether another thread has a lock of Python's imports, which a child would wait for."""
    references = list(getattr(_bootstrap, "_module_locks", {}).values())
    owners = {getattr(reference(), "owner", None) for reference in references}
    return bool(owners - {None, get_ident()})


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
