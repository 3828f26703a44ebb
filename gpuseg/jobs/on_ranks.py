"""Run a command on rank 0 of several equal processes; the others work for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.io.output.base import cannot_write
from gpuseg.io.output.run_folder import RANKS, RunFolder
from gpuseg.jobs.context import job_errors
from gpuseg.jobs.run_sections import RunSections, output_storage
from gpuseg.jobs.schema import RuntimeSpec
from gpuseg.jobs.workers import WORKER_MODULES
from gpuseg.runtime.ranks.environment import RankEnvironment, rank_environment
from gpuseg.runtime.ranks.gpus import choose_gpu
from gpuseg.runtime.ranks.rendezvous import FileRendezvous, Rendezvous, file_name


class _Published(Protocol):
    @property
    def run_id(self) -> str: ...


class Result(Protocol):
    """The result of a command that writes an output."""

    @property
    def record(self) -> _Published: ...


R = TypeVar("R", bound=Result)

SECRET = "GPUSEG_RANKS_SECRET"
"""The variable of the environment with the secret of ranks that meet at an address."""

_LEAST_SECRET = 32

_SEEN_SECONDS = 60.0
_SECONDS_BETWEEN_LOOKS = 0.5


def run_on_ranks(
    spec: RunSections,
    command: Callable[[], R],
    read: Callable[[int], R],
    modules: Sequence[str] = WORKER_MODULES,
) -> R:
    """Run a command; where `runtime.cluster` is "ranks", on rank 0 only.

    The other ranks work for it. When the output is published, they read the result from there.

    Parameters
    ----------
    spec : RunSections
    command : callable
    read : callable
        Returns the result from the published output; it takes the rank.
    modules : sequence of str
        What the work on the ranks needs.

    Raises
    ------
    ConfigError, DataError, ResourceError
        Those of the command, on all ranks.
    """
    if spec.runtime.cluster != "ranks":
        return command()
    environment = rank_environment()
    with job_errors(spec):
        if spec.runtime.backend in ("auto", "cuda"):
            choose_gpu(environment)
        rendezvous = _rendezvous(spec, environment)
    from gpuseg.runtime.ranks.rank_worker import RankOptions

    options = RankOptions(
        threads_of_rank(spec.runtime, environment),
        spec.runtime.start_timeout,
        spec.runtime.interface,
    )
    if environment.is_first:
        from gpuseg.runtime.ranks.rank_zero import open_ranks

        with job_errors(spec), _run_folder(spec):
            with open_ranks(environment, rendezvous, options) as ranks:
                result = command()
                ranks.run_id = result.record.run_id
            return result
    from gpuseg.runtime.ranks.worker_rank import serve_rank

    with job_errors(spec):
        end = serve_rank(environment, rendezvous, options, modules)
        if end.code:
            end.raise_error()
        return _read_published(environment, end.run_id, partial(read, environment.rank))


def threads_of_rank(runtime: RuntimeSpec, environment: RankEnvironment) -> int:
    """Return the number of threads for the work of this rank."""
    return runtime.threads_per_worker or environment.threads()


def _rendezvous(spec: RunSections, environment: RankEnvironment) -> Rendezvous:
    target = output_storage(spec)
    if spec.runtime.rendezvous == "address":
        return _address(spec.runtime)
    if not target.is_local:
        raise ConfigError(
            "rendezvous.no_file",
            "the ranks cannot meet at a file, since the output is not on a file system",
            value=spec.runtime.rendezvous,
            hint='use `rendezvous` = "address", with the secret in the variable '
            f"{SECRET} of the environment",
            parameter="rendezvous",
        )
    folder = RunFolder(target)
    if environment.is_first:
        try:
            folder.make(RANKS)
        except OSError as error:
            raise cannot_write(folder.path, error) from None
    return FileRendezvous(folder, folder.path, f"{RANKS}/{file_name(environment.attempt)}")


@contextmanager
def _run_folder(spec: RunSections) -> Iterator[None]:
    """Remove the place where ranks meet after the run, and the folder of the run if it is empty."""
    try:
        yield
    finally:
        folder = RunFolder(output_storage(spec))
        folder.remove(RANKS)
        folder.remove_if_empty()


def _address(runtime: RuntimeSpec) -> Rendezvous:
    from gpuseg.runtime.key_pair import derived_key_pair
    from gpuseg.runtime.ranks.rendezvous import AddressRendezvous

    secret = os.environ.get(SECRET, "")
    if len(secret) < _LEAST_SECRET:
        raise ConfigError(
            "rendezvous.no_secret",
            f"the variable {SECRET} of the environment "
            + (f"has only {len(secret)} characters" if secret else "is not set"),
            value="address",
            rule=f"all ranks must have the same random secret, of {_LEAST_SECRET} characters or "
            "more: who has it can run code in them",
            hint="make one with 'openssl rand -hex 32'",
            parameter="rendezvous",
        )
    host, _, port = (runtime.address or _address_of_launcher()).rpartition(":")
    return AddressRendezvous(host.strip("[]"), int(port), derived_key_pair(secret))


def _address_of_launcher() -> str:
    """Return the address that launchers such as torchrun set.

    Where torchrun has a server of its own at that port, rank 0 cannot listen there.
    """
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    is_taken = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not host or not port.isdecimal() or is_taken:
        raise ConfigError(
            "address.missing",
            "the address of rank 0 is not known",
            rule="must be set where ranks meet at an address"
            + (", since torchrun itself uses the port MASTER_PORT" if is_taken else ""),
            hint='set `address` to "HOST:PORT" of rank 0',
            parameter="address",
        )
    return f"{host}:{port}"


def _read_published(environment: RankEnvironment, run_id: str, read: Callable[[], R]) -> R:
    """Read the result from the published output; file systems of several machines show it late."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while True:
        try:
            result = read()
        except (ConfigError, DataError, OSError):
            if time.monotonic() > deadline:
                raise
        else:
            if result.record.run_id == run_id:
                return result
        if time.monotonic() > deadline:
            raise ResourceError(
                "ranks.output_not_seen",
                f"rank 0 has published the output, and {environment.describe()} does not see it",
                hint="all ranks must see the folder of the output",
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)
