"""End this process some seconds after SIGINT or SIGTERM, wherever its main thread is then.

Python handles a signal in its main thread, and only between two instructions of Python. A compiled
loop may run for hours before the next one. And the exception that the handler raises may be lost:
it may arrive in code of a library that catches everything.
"""

import fcntl
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import Any

INTERRUPTED = 130
"""The exit code of a run that was interrupted."""

_GRACE_SECONDS = 3.0
"""How long the main thread has for an orderly end."""

_REMOVAL_SECONDS = 1.0
"""How long the removal of what the run has begun may take; the next run removes the rest."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_removals: list[Callable[[], None]] = []

_may_tell = Lock()
"""Taken by the one that reports the interrupt, so that it is reported once."""


def remove_if_forced(remove: Callable[[], None]) -> Callable[[], None]:
    """Let a forced end call `remove`, in another thread; return a function that takes this back."""
    _removals.append(remove)

    def take_back() -> None:
        with suppress(ValueError):
            _removals.remove(remove)

    return take_back


def force_end_after_signals() -> None:
    """Watch for SIGINT and SIGTERM from now on; they must have handlers. For the main thread.

    Python's own code in C, not the handler, writes the number of a signal to a pipe; a thread reads
    it. A process that may have no threads is not watched.
    """
    reader, writer = map(_above_standard_streams, os.pipe())
    os.set_blocking(writer, False)
    with suppress(RuntimeError):
        Thread(target=_watch, args=(reader,), name="gpuseg-signals", daemon=True).start()
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


def leave_signals() -> None:
    """Watch no longer: the command has an orderly end of its own, which may take longer."""
    signal.set_wakeup_fd(-1)


def _above_standard_streams(handle: int) -> int:
    """Return another number of a handle: it may have that of a standard stream that is closed."""
    moved = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(handle)
    return moved


def tell_interrupted() -> None:
    """Print, once, that the run was interrupted."""
    if _may_tell.acquire(blocking=False):
        with suppress(OSError):
            os.write(2, b"interrupted\n")


def force_end_after(seconds: float, code: int) -> None:
    """End this process with an exit code after some seconds, if it has not ended by then."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(code)

    with suppress(RuntimeError):  # there may be no more threads
        Thread(target=end, name="gpuseg-end", daemon=True).start()


def _watch(reader: int) -> None:
    while not set(_SIGNALS).intersection(os.read(reader, 64)):
        pass
    time.sleep(_GRACE_SECONDS)
    # This thread must not wait for anything, a lock of an import included.
    removal = Thread(target=_remove, name="gpuseg-removal", daemon=True)
    with suppress(RuntimeError):  # there may be no more threads
        removal.start()
        removal.join(_REMOVAL_SECONDS)
    tell_interrupted()
    os._exit(INTERRUPTED)


def _remove() -> None:
    """End the processes that this one has started, then remove what it has begun.

    The resource tracker of `multiprocessing` ends by itself, once it has removed what is left of
    the others.
    """
    from multiprocessing import resource_tracker

    import psutil

    tracker: Any = resource_tracker._resource_tracker
    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if child.pid != tracker._pid:
                    child.kill()
    for remove in reversed(_removals):
        try:
            remove()
        except Exception:  # noqa: BLE001 - the next ones must be called; the process ends anyway
            continue
