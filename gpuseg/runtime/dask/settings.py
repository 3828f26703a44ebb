"""How Dask is set up for the clusters of runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CONNECT_SECONDS = 10

_SILENT_SECONDS = 30
"""A worker that gpuseg has started and that says nothing for so long is replaced.

Its own thread reports twice a second, whatever it computes; only a process that is stopped or hangs
does not."""


def settings_for_all() -> dict[str, Any]:
    """Return the settings of all clusters.

    Shards are not Dask's data, so spilling or pausing would not help. A worker that exceeds its
    limit is ended; the memory plan is checked against the limit before the start.
    """
    return {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
        "distributed.scheduler.reuse-broadcast-comm": True,
    }


def settings_of_started(folder: str) -> dict[str, Any]:
    """Return further settings, of a cluster that is started for a run.

    Parameters
    ----------
    folder : str
        For Dask's own temporary files.
    """
    return {
        "temporary-directory": folder,
        "distributed.scheduler.worker-ttl": f"{_SILENT_SECONDS}s",
        # Pages over HTTP are open to all users of the machine.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Keep what Dask and asyncio log off the terminal: errors of lost processes, with tracebacks.

    The errors are handled. Logs that the program itself has set up get them nevertheless.
    """
    last_resort = logging.NullHandler()
    logging.getLogger("asyncio").addHandler(last_resort)
    handlers = [
        (handler, handler.level)
        for handler in logging.getLogger("distributed").handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    ]
    for handler, _ in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in handlers:
            handler.setLevel(level)
        logging.getLogger("asyncio").removeHandler(last_resort)
