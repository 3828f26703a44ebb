"""What all ranks but the first do: join rank 0, and work for it until it tells the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from urllib.parse import urlsplit

from distributed import Security
from distributed.comm.core import connect

from gpuseg import __version__
from gpuseg.errors import ConfigError, ResourceError
from gpuseg.runtime.dask.credentials import credentials_of
from gpuseg.runtime.interrupts import Interrupted, raise_if_interrupted
from gpuseg.runtime.ranks.addresses import address_towards
from gpuseg.runtime.ranks.environment import RankEnvironment
from gpuseg.runtime.ranks.invitation import Invitation
from gpuseg.runtime.ranks.rank_worker import FAILED, RankOptions, RankWorker, dask_for_ranks
from gpuseg.runtime.ranks.rendezvous import Rendezvous
from gpuseg.runtime.ranks.run_end import RunEnd, await_end, expect_end

_LOOK_SECONDS = 0.2
_AWAIT_SECONDS = 1.0
_CONNECT_SECONDS = 3.0

_ASK_EACH_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_SECOND_CHANCE_SECONDS = 5.0
"""For a rank that was itself stopped while it waited for the answer."""

_REJOIN_SECONDS = 10.0
"""How long a rank that has lost rank 0 tries to join it again: the network may have failed for a
moment, or the rank itself was silent for so long that rank 0 has given it up."""

_END_SECONDS = 2.0
"""How long an interrupted rank waits for what rank 0 tells: launchers interrupt all ranks."""


def serve_rank(
    environment: RankEnvironment,
    rendezvous: Rendezvous,
    options: RankOptions,
    modules: Sequence[str] = (),
) -> RunEnd:
    """Join the run of rank 0 as a worker; return how the run has ended.

    Parameters
    ----------
    environment : RankEnvironment
    rendezvous : Rendezvous
    options : RankOptions
    modules : sequence of str
        What the work will need, which is imported before.

    Raises
    ------
    ResourceError
        If rank 0 does not come in time, ends without a word, or does not answer for long.
    ConfigError
        If rank 0 has another version of gpuseg.
    """
    expect_end()
    deadline = time.monotonic() + options.start_timeout
    for name in modules:
        import_module(name)
    with dask_for_ranks():
        worker = _join(environment, rendezvous, options, deadline)
        if worker is None:
            raise _rank_zero_missing(environment, rendezvous, options)
        while (end := _work(environment, worker)) is None:
            worker = _join(environment, rendezvous, options, time.monotonic() + _REJOIN_SECONDS)
            if worker is None:
                raise _rank_zero_lost(environment, "has ended without a word, or is out of reach")
        return end


def _work(environment: RankEnvironment, worker: RankWorker) -> RunEnd | None:
    """Work until rank 0 tells the end; return None if the connection to it is lost."""
    asked = time.monotonic()
    try:
        while worker.is_connected:
            if (end := await_end(_LOOK_SECONDS)) is not None:
                return end
            raise_if_interrupted()
            if time.monotonic() - asked > _ASK_EACH_SECONDS:
                if not _answers(worker):
                    seconds = f"{_ANSWER_SECONDS:.0f} s"
                    raise _rank_zero_lost(environment, f"has not answered for {seconds}")
                asked = time.monotonic()
        return await_end(_LOOK_SECONDS)
    except Interrupted:
        if (end := await_end(_END_SECONDS)) is None:
            raise
        return end
    finally:
        worker.close()


def _answers(worker: RankWorker) -> bool:
    """Whether rank 0 answers; a lost connection is told otherwise."""
    return (
        worker.hears_from(_ANSWER_SECONDS)
        or worker.hears_from(_SECOND_CHANCE_SECONDS)
        or not worker.is_connected
    )


def _join(
    environment: RankEnvironment,
    rendezvous: Rendezvous,
    options: RankOptions,
    deadline: float,
) -> RankWorker | None:
    """Join rank 0; return None if that does not succeed in time.

    The text of an earlier start of the run leads nowhere; then it is read again.
    """
    while (left := deadline - time.monotonic()) > 0:
        raise_if_interrupted()
        text = rendezvous.await_text(min(left, _AWAIT_SECONDS))
        invitation = None if text is None else Invitation.from_text(text)
        if invitation is not None:
            with suppress(*FAILED):
                return _accepted(environment, invitation, options, left)
            time.sleep(_LOOK_SECONDS)
    return None


def _accepted(
    environment: RankEnvironment, invitation: Invitation, options: RankOptions, seconds: float
) -> RankWorker:
    security = credentials_of(invitation.pair)
    address = asyncio.run(_reachable(invitation.addresses, security))
    if invitation.version != __version__:
        raise ConfigError(
            "ranks.other_version",
            f"{environment.describe()} has gpuseg {__version__}, and rank 0 has "
            f"{invitation.version}",
            hint="install the same version everywhere",
        )
    scheduler = urlsplit(address).hostname or ""
    host = address_towards(scheduler, options.interface)
    return RankWorker(environment.rank, address, host, security, options.threads, seconds)


async def _reachable(addresses: Sequence[str], security: Security) -> str:
    """Return the first address at which a scheduler with the same key answers.

    Raises
    ------
    OSError
        If there is none.
    """
    arguments = security.get_connection_args("worker")
    for address in addresses:
        with suppress(OSError):
            comm = await connect(address, timeout=_CONNECT_SECONDS, **arguments)
            comm.abort()
            return address
    raise ConnectionError("rank 0 cannot be reached")


def _rank_zero_missing(
    environment: RankEnvironment, rendezvous: Rendezvous, options: RankOptions
) -> ResourceError:
    return ResourceError(
        "ranks.rank_zero_missing",
        f"{environment.describe()} has not met rank 0 within {options.start_timeout:g} s; "
        f"{rendezvous.describe()}",
        hint="look at the output of rank 0; `start_timeout` gives it more time",
    )


def _rank_zero_lost(environment: RankEnvironment, what: str) -> ResourceError:
    return ResourceError(
        "ranks.rank_zero_lost",
        f"rank 0 of {environment.size} {what}, so {environment.describe()} ends, too",
        hint="run again; look at the output of rank 0",
    )
