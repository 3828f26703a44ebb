"""An event loop in a thread of its own, for the servers of a rank."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from distributed.utils import LoopRunner, sync

R = TypeVar("R")


class EventLoop:
    """Start a thread with an event loop."""

    def __init__(self) -> None:
        self._runner = LoopRunner(asynchronous=False)
        self._runner.start()

    @property
    def loop(self) -> Any:
        """The loop."""
        return self._runner.loop

    def call(self, function: Callable[..., Awaitable[R]], *args: Any, seconds: float) -> R:
        """Call a function in the loop, and wait for its result, for some seconds.

        Raises
        ------
        TimeoutError
        """
        result: R = sync(self.loop, function, *args, callback_timeout=seconds)
        return result

    def stop(self) -> None:
        """End the thread."""
        self._runner.stop()
