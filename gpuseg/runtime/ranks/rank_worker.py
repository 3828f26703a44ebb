"""The worker of a rank: it holds shards in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from distributed import Security, Worker

from gpuseg.runtime.dask.settings import quiet_logs, settings_for_all, settings_of_started
from gpuseg.runtime.open_files import raise_open_files
from gpuseg.runtime.ranks.event_loop import EventLoop
from gpuseg.runtime.temporary_folder import temporary_folder

NO_PAGES = "127.0.0.1:0"
"""Where the pages of a worker or a scheduler would be: at any port that others do not reach."""

_CLOSE_SECONDS = 3

_LOOK_SECONDS = 0.2

FAILED = (OSError, RuntimeError, ValueError, asyncio.CancelledError)
"""What Dask raises where a worker cannot start or close in order."""


@dataclass(frozen=True)
class RankOptions:
    """How the ranks of a run work together.

    Attributes
    ----------
    threads : int
        Of the work of this rank.
    start_timeout : float
        Seconds within which all ranks must have come.
    interface : str, optional
        Network interface to use; by default that of the usual way to other machines.
    """

    threads: int
    start_timeout: float = 60.0
    interface: str | None = None


class RankWorker:
    """Start a worker in this process, in a thread, and join the scheduler of rank 0.

    Parameters
    ----------
    rank : int
    scheduler : str
        Address.
    host : str
        Address at which the worker listens.
    security : Security
    threads : int
    seconds : float
        How long the start may take.

    Raises
    ------
    OSError, RuntimeError
        If the scheduler does not take the worker.
    """

    def __init__(
        self,
        rank: int,
        scheduler: str,
        host: str,
        security: Security,
        threads: int,
        seconds: float,
    ) -> None:
        self._loop = EventLoop()

        async def start() -> Worker:
            worker: Worker = await Worker(
                scheduler, nthreads=threads, name=worker_name(rank), host=host, protocol="tls",
                security=security, memory_limit=0, dashboard_address=NO_PAGES, dashboard=False,
                death_timeout=seconds,
            )  # fmt: skip
            worker.http_server.stop()
            return worker

        try:
            self._worker = self._loop.call(start, seconds=seconds + _CLOSE_SECONDS)
        except BaseException:
            self._loop.stop()
            raise

    @property
    def address(self) -> str:
        """The address of the worker."""
        return str(self._worker.address)

    @property
    def is_connected(self) -> bool:
        """Whether the worker belongs to the run of rank 0."""
        return self._worker.status.name in ("running", "paused")

    def hears_from(self, seconds: float) -> bool:
        """Whether the scheduler answers within some seconds."""

        async def ask() -> Any:
            return await self._worker.scheduler.echo(data=1)

        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with suppress(*FAILED):  # what cannot connect fails before the time is over
                self._loop.call(ask, seconds=left)
                return True
            if not self.is_connected:
                return False
            time.sleep(_LOOK_SECONDS)
        return False

    def close(self) -> None:
        """Leave the run; do not wait for work that is not done."""

        async def close() -> None:
            await self._worker.close(timeout=1, executor_wait=False)

        with suppress(*FAILED):
            self._loop.call(close, seconds=_CLOSE_SECONDS)
        self._loop.stop()


def worker_name(rank: int) -> str:
    """Return the name under which the scheduler knows a rank."""
    return f"rank-{rank}"


def rank_of(name: object) -> int | None:
    """Return the rank of a worker with a name."""
    _, is_rank, number = str(name).partition("rank-")
    return int(number) if is_rank and number.isdecimal() else None


@contextmanager
def dask_for_ranks() -> Iterator[None]:
    """Set Dask up for a rank."""
    import dask

    raise_open_files()
    with ExitStack() as stack:
        stack.enter_context(quiet_logs())
        settings = settings_for_all()
        settings |= settings_of_started(stack.enter_context(temporary_folder()))
        settings["distributed.worker.profile.enabled"] = False
        stack.enter_context(dask.config.set(settings))
        yield
