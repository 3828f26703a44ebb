"""One process that serves: it loads the model, then takes connections until it is told to end."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import uvicorn
import uvloop

from gpuseg.serving.access_token import token_from
from gpuseg.serving.app import ScoringApp
from gpuseg.serving.bounded_http import BoundedHttp
from gpuseg.serving.failure_log import FailureLog
from gpuseg.serving.listener import BACKLOG
from gpuseg.serving.metrics import Metrics
from gpuseg.serving.model_reload import CurrentModel
from gpuseg.serving.output_watch import OutputWatch
from gpuseg.serving.protocols.row_texts import warm_up
from gpuseg.serving.settings import ServerSettings
from gpuseg.serving.shared_counters import SharedCounters

_THREADS = 2
"""Threads for large requests: one may read a body while the other one scores."""


class _Server(uvicorn.Server):
    """uvicorn's server, with the signals left to `serve_until_signal`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def load_current(settings: ServerSettings, counters: SharedCounters) -> CurrentModel:
    """Return the model that a process begins with, warm.

    Raises
    ------
    ConfigError, DataError, ResourceError
    """
    warm_up()
    return CurrentModel(OutputWatch(settings.model), FailureLog(), Metrics(counters))


def serve_until_signal(
    settings: ServerSettings,
    current: CurrentModel,
    counters: SharedCounters,
    listener: socket.socket,
    when_ready: Callable[[], None],
    parent: int | None = None,
) -> int:
    """Answer requests; return the signal that ended this.

    Requests that have begun get their answers. A second signal ends at once.

    Parameters
    ----------
    listener : socket
        It listens.
    when_ready : callable
        Called once requests are answered.
    parent : int, optional
        Descriptor of a pipe that ends when the parent process does; that counts as SIGTERM.
    """
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).disabled = True  # failures have lines in a log of their own
    main = _serve(settings, current, counters, listener, when_ready, parent)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _serve(
    settings: ServerSettings,
    current: CurrentModel,
    counters: SharedCounters,
    listener: socket.socket,
    when_ready: Callable[[], None],
    parent: int | None,
) -> int:
    loop, log, metrics = asyncio.get_running_loop(), FailureLog(), Metrics(counters)
    metrics.use_model(current.model.run_id)
    limits, executor = settings.limits, ThreadPoolExecutor(_THREADS, "gpuseg-serve")
    watcher_thread = ThreadPoolExecutor(1, "gpuseg-watch")
    app = ScoringApp(
        current, settings.name, token_from(settings.token_env), limits, metrics, log, executor
    )
    server = _Server(
        uvicorn.Config(
            app,
            http=type("LimitedHttp", (BoundedHttp,), {"limits": limits}),  # uvicorn takes a class
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=int(limits.seconds) + 1,
        )
    )
    received: list[int] = []

    def stop(number: int) -> None:
        if received:
            server.force_exit = True
        received.append(number)
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    if parent is not None:
        loop.add_reader(parent, _stop_with_parent, loop, parent, stop)
    watcher = loop.create_task(current.watch(watcher_thread, settings.poll_seconds))
    ready = loop.create_task(_tell_ready(server, when_ready))
    try:
        await server.serve(sockets=[listener])
    finally:
        watcher.cancel()
        ready.cancel()
        executor.shutdown(wait=False, cancel_futures=True)
        watcher_thread.shutdown(wait=False, cancel_futures=True)
    return received[0] if received else signal.SIGTERM


def _stop_with_parent(
    loop: asyncio.AbstractEventLoop, parent: int, stop: Callable[[int], None]
) -> None:
    loop.remove_reader(parent)
    stop(signal.SIGTERM)


async def _tell_ready(server: uvicorn.Server, when_ready: Callable[[], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    when_ready()
