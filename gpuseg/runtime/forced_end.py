"""End this process some seconds after a signal to end, wherever its main thread is then.

Python handles a signal in its main thread, and only between two instructions of Python. A compiled
loop may run for hours before the next one. And the exception that the handler raises may be lost:
it may arrive in code of a library that catches everything.
"""

import fcntl
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any

from gpuseg.runtime.exit_codes import PAUSED, SIGNALS, code_of_signal, words_of_code

_GRACE_SECONDS = 3.0
"""How long the main thread has for an orderly end."""

_GRACE_SECONDS_TO_PAUSE = 10.0
"""How long it has if what it has done so far is to be kept."""

_SECONDS_OF_ONE_SIGNAL = 1.0
"""Schedulers may send a signal to each process of a job and to all of them: it arrives twice."""

_REMOVAL_SECONDS = 1.0
"""How long the removal of what the run has begun may take; the next run removes the rest."""


@dataclass(frozen=True, eq=False)
class _Removal:
    remove: Callable[[], None]
    unless_paused: bool


_removals: list[_Removal] = []

_may_tell = Lock()
"""Taken by the one that reports the interrupt, so that it is reported once."""


def remove_if_forced(remove: Callable[[], None], unless_paused: bool = False) -> Callable[[], None]:
    """Let a forced end call `remove`, in another thread; return a function that takes this back.

    With `unless_paused` it is not called where the next attempt of the run goes on with it.
    """
    removal = _Removal(remove, unless_paused)
    _removals.append(removal)

    def take_back() -> None:
        with suppress(ValueError):
            _removals.remove(removal)

    return take_back


def force_end_after_signals() -> None:
    """Watch for signals to end from now on; they must have handlers. For the main thread.

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


def tell_interrupted(code: int) -> None:
    """Print, once, that the run was interrupted or paused."""
    if _may_tell.acquire(blocking=False):
        with suppress(OSError):
            os.write(2, words_of_code(code))


def force_end_after(seconds: float, code: int) -> None:
    """End this process with an exit code after some seconds, if it has not ended by then."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(code)

    with suppress(RuntimeError):  # there may be no more threads
        Thread(target=end, name="gpuseg-end", daemon=True).start()


def _watch(reader: int) -> None:
    while (number := _signal(os.read(reader, 64))) is None:
        pass
    code = code_of_signal(number)
    _wait(reader, code)
    # This thread must not wait for anything, a lock of an import included.
    removal = Thread(target=_remove, args=(code,), name="gpuseg-removal", daemon=True)
    with suppress(RuntimeError):  # there may be no more threads
        removal.start()
        removal.join(_REMOVAL_SECONDS)
    tell_interrupted(code)
    os._exit(code)


def _signal(numbers: bytes) -> int | None:
    """Return the first signal to end among the numbers of signals."""
    return next((number for number in numbers if number in SIGNALS), None)


def _wait(reader: int, code: int) -> None:
    """Give the main thread its time. A second signal ends a pause at once."""
    if code != PAUSED:
        time.sleep(_GRACE_SECONDS)
        return
    start = time.monotonic()
    while (left := start + _GRACE_SECONDS_TO_PAUSE - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            number = _signal(os.read(reader, 64))
            if number is not None and time.monotonic() - start > _SECONDS_OF_ONE_SIGNAL:
                return


def _remove(code: int) -> None:
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
    for removal in reversed(_removals):
        if code == PAUSED and removal.unless_paused:
            continue
        try:
            removal.remove()
        except Exception:  # noqa: BLE001 - the next ones must be called; the process ends anyway
            continue
