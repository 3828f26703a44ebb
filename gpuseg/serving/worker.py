"""A worker process of a server: ``python -m gpuseg.serving.worker``, started by the supervisor.

It reads its orders from standard input, one line of JSON, and ends when that is closed.
"""

import json
import os
import select
import socket
import sys
import time

from gpuseg.errors import GpusegError
from gpuseg.serving.failure_log import FailureLog
from gpuseg.serving.listener import listen
from gpuseg.serving.model_reload import CurrentModel
from gpuseg.serving.server import load_current, serve_until_signal
from gpuseg.serving.settings import ServerSettings
from gpuseg.serving.shared_counters import SharedCounters

SWITCH_SECONDS = 0.0005
"""How long a thread with a large request may keep the event loop waiting."""

_RETRY_SECONDS = 0.5


def main() -> None:
    """Serve until a signal, or until the supervisor has ended."""
    orders = json.loads(sys.stdin.buffer.readline())
    settings = ServerSettings.from_json(orders["settings"])
    sys.setswitchinterval(SWITCH_SECONDS)
    counters = SharedCounters(orders["counters"], settings.workers, orders["slot"])
    try:
        current = _load(settings, counters, orders["may_wait"])
        listener = socket.socket(fileno=orders["listener"])
        listen(listener)
    except GpusegError as error:
        print(json.dumps({"error": str(error), "exit_code": error.exit_code}), flush=True)
        sys.exit(error.exit_code)
    serve_until_signal(
        settings,
        current,
        counters,
        listener,
        lambda: print(json.dumps({"ready": True}), flush=True),
        parent=sys.stdin.fileno(),
    )
    sys.stdout.flush()
    os._exit(0)  # threads of unfinished requests would be waited for


def _load(settings: ServerSettings, counters: SharedCounters, may_wait: bool) -> CurrentModel:
    """Return the model; a worker in the place of another one waits for an output that is whole.

    Raises
    ------
    GpusegError
    """
    log, logged = FailureLog(), ""
    while True:
        try:
            return load_current(settings, counters)
        except GpusegError as error:
            if not may_wait:
                raise
            if error.code != logged:
                log.write(f"a worker waits for the model: {error}")
                logged = error.code
            if select.select([sys.stdin], [], [], 0)[0]:  # the supervisor has ended
                raise
        time.sleep(_RETRY_SECONDS)


if __name__ == "__main__":
    main()
