"""What rank 0 does for the others: it holds the scheduler, and tells them the end of the run."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from os.path import lexists
from typing import Any

from distributed import Client, Scheduler
from distributed.scheduler import WorkerState

from gpuseg.errors import ConfigError, ResourceError, set_key
from gpuseg.runtime.dask.credentials import credentials_of
from gpuseg.runtime.dask.executor import DaskExecutor
from gpuseg.runtime.interrupts import interrupts_deferred, raise_if_interrupted
from gpuseg.runtime.key_pair import new_key_pair
from gpuseg.runtime.ranks.addresses import LOOPBACK, addresses
from gpuseg.runtime.ranks.environment import RankEnvironment
from gpuseg.runtime.ranks.event_loop import EventLoop
from gpuseg.runtime.ranks.invitation import Invitation
from gpuseg.runtime.ranks.rank_worker import (
    FAILED,
    NO_PAGES,
    RankOptions,
    RankWorker,
    dask_for_ranks,
    rank_of,
)
from gpuseg.runtime.ranks.rendezvous import Rendezvous
from gpuseg.runtime.ranks.run_end import RunEnd, receive_end

_START_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_TELL_SECONDS = 3.0
_LEAVE_SECONDS = 3.0
_CLOSE_SECONDS = 3.0

_LATE_SECONDS = 10.0
"""How long rank 0, whose run has failed at its start, waits for ranks that have yet to come: they
would wait for it in vain."""

_MOST_NAMES = 8
"""Ranks that a message names."""


class OpenRanks:
    """The ranks of a run, on rank 0.

    Attributes
    ----------
    environment : RankEnvironment
    client : distributed.Client
        Of the scheduler whose workers are the ranks.
    run_id : str
        Of the output that was published; the other ranks look for it.
    """

    def __init__(
        self,
        environment: RankEnvironment,
        rendezvous: Rendezvous,
        options: RankOptions,
        client: Client,
        scheduler: Scheduler,
        worker_here: str,
    ) -> None:
        self.environment, self.client, self.run_id = environment, client, ""
        self._rendezvous, self._options, self._scheduler = rendezvous, options, scheduler
        self._worker_here = worker_here
        self._deadline = time.monotonic() + options.start_timeout
        self._names: dict[str, str] = {}

    @contextmanager
    def executor(
        self, report: Callable[[int], None], log: Callable[[str], None]
    ) -> Iterator[DaskExecutor]:
        """Wait for all ranks, and open an executor on them.

        Parameters
        ----------
        report : callable
            Takes the number of rows just processed.
        log : callable
            Takes messages for the user.

        Raises
        ------
        ResourceError
            If a rank does not come in time.
        """
        if not self._names:  # a rank that has come may be lost until the next executor
            self._wait()
        executor = DaskExecutor(
            self.client, "ranks", None, report, log, calls_directly=True,
            name_of=self._name_of, lost_for_good=True,
        )  # fmt: skip
        try:
            executor.workers()  # those that leave from now on are reported
            yield executor
        finally:
            executor.close()
            with suppress(*FAILED):  # another part of the run may need the memory
                executor.forget_shards()

    def blind_to(self, path: str) -> list[str]:
        """Return the names of the ranks that do not see a file or folder."""
        seen = self.client.run(lexists, path, on_error="return")
        # Where a rank was lost meanwhile there is an error instead; the executor notices that.
        return sorted(self._name_of(worker) for worker, sees in seen.items() if sees is False)

    def tell(self, end: RunEnd) -> None:
        """Tell the other ranks how the run has ended, and wait until they have left."""
        with suppress(*FAILED):
            others = self._others()
            if not others:
                return
            with suppress(*FAILED):
                self.client.sync(
                    lambda: self.client.run(
                        receive_end, end, workers=others, on_error="ignore", asynchronous=True
                    ),
                    callback_timeout=_TELL_SECONDS,
                )
            deadline = time.monotonic() + _LEAVE_SECONDS
            while self._others() and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)

    def await_late(self) -> None:
        """Wait for ranks that have not come yet, but not for long."""
        deadline = min(self._deadline, time.monotonic() + _LATE_SECONDS)
        while self._missing() and time.monotonic() < deadline:
            raise_if_interrupted()
            time.sleep(_LOOK_SECONDS)

    def _wait(self) -> None:
        while missing := self._missing():
            raise_if_interrupted()
            if time.monotonic() > self._deadline:
                raise self._not_all(missing)
            time.sleep(_LOOK_SECONDS)
        self._learn_names()

    def _missing(self) -> list[int]:
        come = {rank_of(worker.name) for worker in self._workers().values()}
        return [rank for rank in range(self.environment.size) if rank not in come]

    def _others(self) -> list[str]:
        return [address for address in self._workers() if address != self._worker_here]

    def _workers(self) -> dict[str, WorkerState]:
        """Return the workers that the scheduler has, by address.

        They are copied in its thread: in another one, a worker that comes or goes meanwhile ends
        the copy with an error.
        """

        async def copy() -> dict[str, WorkerState]:
            return dict(self._scheduler.workers)

        workers: dict[str, WorkerState] = self.client.sync(copy, callback_timeout=_START_SECONDS)
        return workers

    def _learn_names(self) -> None:
        """Keep the name of each rank and its machine, for messages when it is lost."""
        hosts = self.client.run(socket.gethostname, on_error="ignore")
        for address, worker in self._workers().items():
            host = hosts.get(address, worker.host)
            self._names[address] = f"rank {rank_of(worker.name)} on {host}"

    def _name_of(self, worker: str) -> str:
        if worker not in self._names:
            with suppress(*FAILED):
                self._learn_names()
        return self._names.get(worker, worker)

    def _not_all(self, missing: list[int]) -> ResourceError:
        names = ", ".join(map(str, missing[:_MOST_NAMES]))
        more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
        word = "rank" if len(missing) == 1 else "ranks"
        have = "has" if len(missing) == 1 else "have"
        hint = "look at the output of these ranks; `start_timeout` gives them more time"
        if self.environment.launcher == "slurm":
            hint += "; in a script of sbatch, start the command with srun"
        return ResourceError(
            "ranks.missing",
            f"{word} {names}{more} of {self.environment.size} {have} not come within "
            f"{self._options.start_timeout:g} s; {self._rendezvous.describe()}",
            hint=hint,
        )


_current: ContextVar[OpenRanks | None] = ContextVar("open ranks", default=None)


def current_ranks() -> OpenRanks:
    """Return the ranks that this process has opened.

    Raises
    ------
    ConfigError
        If it has opened none.
    """
    ranks = _current.get()
    if ranks is None:
        raise ConfigError(
            "ranks.not_here",
            "this command cannot run on several ranks",
            value="ranks",
            hint=set_key("cluster", "local"),
            parameter="cluster",
        )
    return ranks


@contextmanager
def open_ranks(
    environment: RankEnvironment, rendezvous: Rendezvous, options: RankOptions
) -> Iterator[OpenRanks]:
    """Start the scheduler of the ranks and the worker of rank 0, and publish how to join.

    For rank 0; the others call `serve_rank`. At the end the others are told how it came: by an
    exception, or without.

    Parameters
    ----------
    environment : RankEnvironment
    rendezvous : Rendezvous
    options : RankOptions

    Raises
    ------
    ConfigError, ResourceError
        If the servers cannot be started.
    """
    with ExitStack() as stack:
        stack.enter_context(dask_for_ranks())
        ranks = _started(environment, rendezvous, options, stack)
        token = _current.set(ranks)
        try:
            yield ranks
        except BaseException as error:
            with interrupts_deferred():
                end = RunEnd.by(error, environment.describe())
            if end.error and end.error != "ranks.missing":
                ranks.await_late()
            with interrupts_deferred():
                ranks.tell(end)
            raise
        else:
            with interrupts_deferred():
                ranks.tell(RunEnd(run_id=ranks.run_id))
        finally:
            _current.reset(token)


def _started(
    environment: RankEnvironment, rendezvous: Rendezvous, options: RankOptions, stack: ExitStack
) -> OpenRanks:
    pair = rendezvous.pair or new_key_pair()
    security = credentials_of(pair)
    hosts = [LOOPBACK] if environment.is_on_one_machine else addresses(options.interface)
    loop = EventLoop()
    stack.callback(loop.stop)

    async def start() -> Scheduler:
        scheduler: Scheduler = await Scheduler(
            host=LOOPBACK if environment.is_on_one_machine else None, port=rendezvous.port,
            protocol="tls", security=security, dashboard_address=NO_PAGES, dashboard=False,
        )  # fmt: skip
        scheduler.http_server.stop()
        return scheduler

    with interrupts_deferred():
        try:
            scheduler = loop.call(start, seconds=_START_SECONDS)
        except FAILED as error:
            raise _not_started(rendezvous, error) from None
        stack.callback(_close, loop, scheduler)
        port = scheduler.port
        worker = RankWorker(
            environment.rank, f"tls://{LOOPBACK}:{port}", hosts[0], security, options.threads,
            _START_SECONDS,
        )  # fmt: skip
        stack.callback(worker.close)
        client = Client(
            f"tls://{LOOPBACK}:{port}", security=security, loop=loop.loop, set_as_default=False
        )
        stack.callback(_close_client, client)
    invitation = Invitation(tuple(f"tls://{host}:{port}" for host in hosts), pair)
    rendezvous.publish(invitation.to_text())
    stack.callback(rendezvous.withdraw)
    return OpenRanks(environment, rendezvous, options, client, scheduler, worker.address)


def _close(loop: EventLoop, scheduler: Any) -> None:
    with interrupts_deferred(), suppress(*FAILED):
        loop.call(scheduler.close, seconds=_CLOSE_SECONDS)


def _close_client(client: Client) -> None:
    with interrupts_deferred(), suppress(*FAILED, AssertionError):
        client.close(timeout=_CLOSE_SECONDS)


def _not_started(rendezvous: Rendezvous, error: BaseException) -> ResourceError:
    reason = error.__cause__ or error
    where = f" at port {rendezvous.port}" if rendezvous.port else ""
    return ResourceError(
        "ranks.not_started",
        f"the scheduler of the ranks could not be started{where} ({reason})",
        hint="choose another port in `address`" if rendezvous.port else "run again",
        parameter="address" if rendezvous.port else None,
    )
