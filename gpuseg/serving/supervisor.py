"""Worker processes that share a socket: started, and started again when one has ended.

The socket belongs to this process: connections that wait in it outlive each worker.
"""

import json
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from gpuseg.errors import ConfigError, DataError, GpusegError, ResourceError
from gpuseg.serving.failure_log import FailureLog
from gpuseg.serving.metrics import Metrics
from gpuseg.serving.settings import ServerSettings
from gpuseg.serving.shared_counters import SharedCounters, new_counters

_LOOK_SECONDS = 0.1
"""How often to look for workers that have ended."""

_RESTART_SECONDS = 1.0
"""Least time between two starts of a worker in the same slot."""

_KINDS = {kind.exit_code: kind for kind in (ConfigError, DataError, ResourceError)}


class Supervisor:
    """Keeps the workers of a server alive until a signal.

    Parameters
    ----------
    settings : ServerSettings
    listener : socket
        Bound; the first worker that is ready makes it listen.
    when_ready : callable
        Called once all workers answer requests.
    """

    def __init__(
        self, settings: ServerSettings, listener: socket.socket, when_ready: Callable[[], None]
    ) -> None:
        self._settings, self._listener, self._when_ready = settings, listener, when_ready
        self._counters = new_counters(settings.workers)
        self._log = FailureLog()
        self._received: list[int] = []
        self._was_ready = False

    def run(self) -> int:
        """Return the signal that ended the server; all workers have ended then.

        Raises
        ------
        GpusegError
            If a worker cannot begin.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)
        slots = range(self._settings.workers)
        self._workers = [_Worker(self, slot, may_wait=False) for slot in slots]
        try:
            while not self._received:
                self._look()
        finally:
            self._end()
        return self._received[0]

    @property
    def settings(self) -> ServerSettings:
        """What the server was told."""
        return self._settings

    def orders(self, slot: int, may_wait: bool) -> dict[str, Any]:
        """Return what a worker is told on its standard input."""
        return {
            "settings": self._settings.to_json(),
            "listener": self._listener.fileno(),
            "counters": self._counters,
            "slot": slot,
            "may_wait": may_wait,
        }

    @property
    def handles(self) -> tuple[int, int]:
        """The descriptors that workers inherit."""
        return self._listener.fileno(), self._counters

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)

    def _look(self) -> None:
        """Read what workers say, and start those again that have ended."""
        time.sleep(_LOOK_SECONDS)
        for slot, worker in enumerate(self._workers):
            worker.listen()
            if worker.process.poll() is None or self._received:
                continue
            if not self._was_ready:
                raise worker.error()
            # The gauges of the worker that is gone become 0.
            Metrics(SharedCounters(self._counters, self._settings.workers, slot))
            if time.monotonic() < worker.started + _RESTART_SECONDS:
                continue
            self._log.write(f"a worker has ended ({worker.how_ended()}); another one begins")
            worker.close()
            self._workers[slot] = _Worker(self, slot, may_wait=True)
        if not self._was_ready and all(worker.is_ready for worker in self._workers):
            self._was_ready = True
            self._when_ready()

    def _end(self) -> None:
        """Let the workers finish their requests, and end those that do not."""
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + self._settings.limits.seconds + 2.0
        for worker in self._workers:
            while worker.process.poll() is None:
                if time.monotonic() > deadline or len(self._received) > 1:
                    worker.process.kill()
                    worker.process.wait()
                else:
                    time.sleep(_LOOK_SECONDS / 5)
            worker.close()


def interpreter() -> list[str]:
    """Return the command of Python for a worker, which imports from where this process does.

    With ``-m`` alone, Python would import from the current folder first, whoever wrote its files.
    """
    is_imported_from = {"", str(Path.cwd())}.intersection(sys.path)
    return [sys.executable] if is_imported_from else [sys.executable, "-P"]


class _Worker:
    """A worker process, in a slot of the server."""

    def __init__(self, supervisor: Supervisor, slot: int, may_wait: bool) -> None:
        self.started = time.monotonic()
        self.is_ready = False
        self._failure: dict[str, Any] = {}
        self.process = subprocess.Popen(
            [*interpreter(), "-m", "gpuseg.serving.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=supervisor.handles,
            process_group=0,  # Ctrl-C is for the supervisor alone
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        orders = json.dumps(supervisor.orders(slot, may_wait)) + "\n"
        with suppress(BrokenPipeError):  # it has ended already; `Supervisor` will see that
            self._stdin.write(orders.encode())
            self._stdin.flush()  # it stays open: its end tells the worker that this process is gone

    @property
    def _stdin(self) -> Any:
        return self.process.stdin

    @property
    def _stdout(self) -> Any:
        return self.process.stdout

    def listen(self) -> None:
        """Take what the worker has printed."""
        while self._selector.select(0):
            line = self._stdout.readline()
            if not line:
                self._selector.unregister(self._stdout)
                return
            message = json.loads(line)
            self.is_ready |= bool(message.get("ready"))
            self._failure = message if "error" in message else self._failure

    def error(self) -> GpusegError:
        """Return why it could not begin."""
        self.process.wait()
        self.listen()  # it may have told the reason since the last look
        kind = _KINDS.get(self._failure.get("exit_code", 0), ResourceError)
        if not self._failure:
            return ResourceError(
                "worker.ended",
                f"a worker process could not begin ({self.how_ended()})",
                hint="see the lines before this one, or serve with --workers 1",
            )
        return kind("worker.failed", self._failure["error"])

    def how_ended(self) -> str:
        """Return how the process has ended."""
        code = self.process.returncode
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Close what belongs to this process."""
        self._selector.close()
        for stream in (self._stdin, self._stdout):
            with suppress(BrokenPipeError):
                stream.close()
