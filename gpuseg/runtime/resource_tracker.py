"""The resource tracker of `multiprocessing`, made to survive that its process is killed.

The tracker is a process that removes the semaphores of a process that was killed. Python starts it
again when it is lost, but tells it nothing of earlier semaphores, so that it later prints a
traceback for each of them.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker, synchronize, util
from typing import Any

_Tracker: Any = resource_tracker.ResourceTracker
_util: Any = util
_lock: Any = synchronize.SemLock

_environment_lock = threading.Lock()

_WARNINGS = "PYTHONWARNINGS"

_QUIET = "ignore:resource_tracker:UserWarning"


class _RestartedTracker(_Tracker):  # type: ignore[misc]
    """A tracker that gets all semaphores again when it is started again."""

    def ensure_running(self) -> None:
        was_running = self._fd is not None
        if was_running and self._check_alive():
            return
        with warnings.catch_warnings(), _quiet_process():
            warnings.simplefilter("ignore", UserWarning)
            super().ensure_running()
        if was_running:
            for name in _semaphores():
                super()._send("REGISTER", name, "semaphore")

    def _send(self, cmd: str, name: str, rtype: str) -> None:
        if self._fd is not None and not self._check_alive():
            self.ensure_running()
            if cmd == "UNREGISTER" and rtype == "semaphore":
                super()._send("REGISTER", name, rtype)
        super()._send(cmd, name, rtype)


def start_resource_tracker() -> None:
    """Start the tracker, if it does not run yet, and let it survive."""
    tracker: Any = resource_tracker._resource_tracker
    if type(tracker) is _Tracker:
        tracker.__class__ = _RestartedTracker
        resource_tracker.ensure_running = tracker.ensure_running
        resource_tracker.getfd = tracker.getfd
    tracker.ensure_running()


def _semaphores() -> list[str]:
    """Return the names of the semaphores that this process has yet to remove."""
    finalizers: list[Any] = list(_util._finalizer_registry.values())
    return [one._args[0] for one in finalizers if one._callback is _lock._cleanup]


@contextmanager
def _quiet_process() -> Iterator[None]:
    """Keep a process that is started inside from warning of what it removes."""
    with _environment_lock:
        before = os.environ.get(_WARNINGS)
        os.environ[_WARNINGS] = f"{before},{_QUIET}" if before else _QUIET
        try:
            yield
        finally:
            if before is None:
                del os.environ[_WARNINGS]
            else:
                os.environ[_WARNINGS] = before
