"""Ctrl-C, SIGTERM and SIGUSR2: as an exception that is not lost, and deferred for a moment.

Python raises an exception wherever the main thread is. An import that is interrupted may leave a
lock taken, and another thread that imports then waits forever.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from gpuseg.runtime.exit_codes import INTERRUPTED, PAUSED, SIGNALS, code_of_signal


class Interrupted(BaseException):
    """A signal to end; not a KeyboardInterrupt, which libraries in between would handle."""


class Signals:
    """Turn the first signal to end into `Interrupted`; later ones do not disturb cleanup.

    The exception may be lost in code that catches everything, so `raise_if_interrupted` raises it
    again.

    Attributes
    ----------
    received : bool
        Whether one of the signals has arrived.
    code : int
        The exit code of the process after it.
    is_published : bool
        Whether the output is in its place. Then a signal changes nothing: the run is about to end.
    """

    def __init__(self) -> None:
        global _current
        self.received, self.code, self.is_published = False, INTERRUPTED, False
        _current = self
        self._show_lost, sys.unraisablehook = sys.unraisablehook, self._show_unraisable
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def end(self) -> None:
        """Ignore signals from now on."""
        global _current
        self.received, _current = True, None
        sys.unraisablehook = self._show_lost

    def _show_unraisable(self, lost: Any) -> None:
        """Show an exception that Python drops, such as one in a callback of the garbage collector.

        An interrupt is not shown: it will be raised again.
        """
        if not issubclass(lost.exc_type, Interrupted):
            self._show_lost(lost)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not (self.received or self.is_published):
            self.received, self.code = True, code_of_signal(number)
            raise Interrupted


_current: Signals | None = None


def raise_if_interrupted() -> None:
    """Raise `Interrupted` again if a signal has arrived and this is the main thread."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and _current is not None and _current.received:
        raise Interrupted


def code_of_interrupt() -> int | None:
    """Return the exit code that a signal has given this process; None if none has arrived."""
    return _current.code if _current is not None and _current.received else None


def is_paused() -> bool:
    """Whether a signal has arrived that pauses the run."""
    return code_of_interrupt() == PAUSED


def ignore_later_interrupts() -> None:
    """Let the run end as it is, for its output is in its place: none could go on with it."""
    if _current is not None:
        _current.is_published = True


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Handle signals that arrive inside at the end; another thread than the main one gets none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    handled = {number: handler for number, handler in handlers.items() if callable(handler)}
    with ExitStack() as stack:  # calls all, even if a handler raises meanwhile
        # Also after an error inside: the signal would be lost with it.
        stack.callback(_handle_arrived, arrived, handled)
        for number, handler in handled.items():
            stack.callback(signal.signal, number, handler)
            signal.signal(number, lambda number, frame: arrived.append((number, frame)))
        yield


def _handle_arrived(
    arrived: list[tuple[int, FrameType | None]], handled: dict[signal.Signals, Any]
) -> None:
    with ExitStack() as stack:
        for number, frame in reversed(arrived):
            stack.callback(handled[signal.Signals(number)], number, frame)
