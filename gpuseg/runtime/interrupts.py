"""Defer Ctrl-C and SIGTERM for a moment.

Python raises an exception wherever the main thread is. An import that is interrupted may leave a
lock taken, and another thread that imports then waits forever.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Handle signals that arrive inside at the end; another thread than the main one gets none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = {number: handler for number, handler in handlers.items() if callable(handler)}
    with ExitStack() as stack:  # restores all, even if a handler raises meanwhile
        for number, handler in handled.items():
            stack.callback(signal.signal, number, handler)
            signal.signal(number, lambda number, frame: arrived.append((number, frame)))
        yield
    for signal_number, frame in arrived:
        handled[signal.Signals(signal_number)](signal_number, frame)
