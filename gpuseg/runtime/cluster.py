"""Open the executor that the job's `runtime` section asks for, and close it again."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import process
from tempfile import gettempdir
from threading import Thread
from typing import TYPE_CHECKING, Any

from gpuseg.errors import ResourceError, install_extra, literal, set_key
from gpuseg.runtime.executor import Executor, LocalExecutor, available_cpus, do_nothing
from gpuseg.runtime.fork_server import (
    continue_fork_server,
    start_fork_server,
    without_variable,
)
from gpuseg.runtime.interrupts import interrupts_deferred
from gpuseg.runtime.owned_folder import FOLDER_PREFIX, remove_abandoned
from gpuseg.runtime.program_guard import error_of_program
from gpuseg.runtime.resource_tracker import start_resource_tracker
from gpuseg.runtime.tls_files import ENCRYPTED, TlsFiles

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS = 10

_START_SECONDS = 60
"""How long the start of a worker may take."""

_CLOSE_SECONDS = 10
"""How long the end of a cluster, or of the connection to it, may take."""

_UNREACHABLE = (OSError, ValueError, TypeError, LookupError, RuntimeError, CancelledError)
"""What Dask raises where no scheduler answers, or something that is none does."""

_TLS_HINT = (
    "check that a scheduler with certificates runs there, that `tls_ca_file` has the authority of "
    "its certificate, and that it trusts that of `tls_cert`"
)

_METHOD = "distributed.worker.multiprocessing-method"

_STARTED_CLUSTERS = ("dask", "cuda")
"""Clusters on this machine that are started for a run and stopped after it."""


@dataclass(frozen=True)
class ClusterSpec:
    """Where to run.

    Attributes
    ----------
    cluster : str
        "local", "dask", "cuda", "ranks" or the address of a scheduler.
    n_workers : int or None
        For "ranks" their number; None outside of a launcher.
    threads_per_worker : int or None
    memory_limit : int or None
        Bytes per worker.
    secret : str or None
        A variable of the environment that only workers need.
    tls : TlsFiles or None
        Certificates for the address of a scheduler; by default those of Dask's configuration.
    workers_here : int or None
        Number of workers on this machine, where that is not the number of all.
    """

    cluster: str
    n_workers: int | None
    threads_per_worker: int | None
    memory_limit: int | None
    secret: str | None = None
    tls: TlsFiles | None = None
    workers_here: int | None = None

    @property
    def workers(self) -> int:
        """Number of workers, as far as it is known before connecting."""
        return 1 if self.cluster == "local" else self.n_workers or available_cpus()

    @property
    def threads(self) -> int:
        """Threads of each worker that is started; for "local", those of all workers together."""
        if self.cluster == "local":
            per_worker = self.threads_per_worker
            return per_worker * (self.n_workers or 1) if per_worker else available_cpus()
        return self.threads_per_worker or max(1, available_cpus() // self.workers)

    @property
    def is_managed(self) -> bool:
        """Whether the number of workers, and what each has, is known before the run."""
        if self.cluster == "ranks":
            return self.n_workers is not None
        return self.is_on_this_machine

    @property
    def is_on_this_machine(self) -> bool:
        """Whether all workers are known to be on this machine."""
        return self.cluster in ("local", *_STARTED_CLUSTERS)


@contextmanager
def open_executor(
    spec: ClusterSpec,
    report: Callable[[int], None],
    log: Callable[[str], None],
    worker_modules: Sequence[str] = (),
    while_waiting: Callable[[], None] = do_nothing,
) -> Iterator[Executor]:
    """Start the cluster or connect to it; stop it afterwards if it was started.

    Parameters
    ----------
    spec : ClusterSpec
    report : callable
        Takes the number of rows just processed.
    log : callable
        Takes messages for the user.
    worker_modules : sequence of str
        Modules that workers use. Those that are forked have imported them.
    while_waiting : callable
        See `LocalExecutor`; workers of a cluster leave this process no such time.

    Raises
    ------
    ResourceError
        If a scheduler cannot be reached or has no workers.
    """
    from gpuseg.runtime.scratch import scratch_folder

    for folder in {gettempdir(), scratch_folder()}:
        with suppress(OSError):
            remove_abandoned(folder, FOLDER_PREFIX)
    if spec.cluster == "local":
        yield LocalExecutor(spec.threads, report, while_waiting)
        return
    if spec.cluster == "ranks":
        from gpuseg.runtime.ranks.rank_zero import current_ranks

        with current_ranks().executor(report, log) as ranks:
            yield ranks
        return
    is_forked = _prepare_fork(spec, worker_modules)  # first: it imports while this process does
    from gpuseg.runtime.dask.executor import DaskExecutor

    with _client(spec, is_forked) as client:
        starts_workers = spec.cluster in _STARTED_CLUSTERS
        n_workers = None if starts_workers else spec.n_workers
        executor = DaskExecutor(client, spec.cluster, n_workers, report, log, starts_workers)
        try:
            yield executor
        finally:
            executor.close()


def refuse_program_without_guard(cluster: str) -> None:
    """Refuse to start workers from a program that each of them would run again.

    Workers that are copies of this process do not; Dask can be configured to start these.

    Raises
    ------
    ConfigError
    """
    error = error_of_program(cluster) if cluster in _STARTED_CLUSTERS else None
    if error is not None:
        import dask

        if dask.config.get(_METHOD, "spawn") != "fork":
            raise error


def end_worker_that_runs_the_program() -> None:
    """End this process without a word if it is a worker that is just importing the program.

    A program that calls gpuseg at its top level, not below ``if __name__ == "__main__":``, does so
    again where a worker imports it. The process that started the worker tells the user.
    """
    this = process.current_process()
    if getattr(this, "_inheriting", False) and "Nanny" in this.name:
        raise SystemExit(1)


def _prepare_fork(spec: ClusterSpec, worker_modules: Sequence[str]) -> bool:
    """Return whether workers are to be forked; start the process that they are forked from.

    dask-cuda's workers are not: each sees its own GPU by a variable of its environment, which must
    be set before imports. Nor are they if the configuration of Dask names another method.
    """
    import dask

    if spec.cluster != "dask" or dask.config.get(_METHOD, "spawn") != "spawn":
        return False
    return start_fork_server_for_workers(worker_modules, spec.secret)


def start_fork_server_for_workers(modules: Sequence[str], secret: str | None = None) -> bool:
    """Start the fork server; return whether workers can be forked from it. It ignores Ctrl-C.

    The server, and the tracker of resources, do not get the variable `secret` of the environment.
    """
    with without_variable(secret), _interrupts_blocked():
        return start_fork_server(modules)


@contextmanager
def _client(spec: ClusterSpec, is_forked: bool) -> Iterator[Client]:
    import dask
    from distributed import Client, utils

    from gpuseg.runtime.dask.http_servers import close_http_servers
    from gpuseg.runtime.dask.settings import quiet_logs, settings_for_all, settings_of_started

    settings = settings_for_all()
    if is_forked:
        settings[_METHOD] = "forkserver"
        utils._forkserver_preload_set = True  # otherwise Dask replaces the list of modules
    with ExitStack() as stack:
        stack.enter_context(quiet_logs())
        if spec.cluster in _STARTED_CLUSTERS:
            from gpuseg.runtime.temporary_folder import temporary_folder

            folder = stack.enter_context(temporary_folder())
            settings |= settings_of_started(folder)
            stack.enter_context(dask.config.set(settings))
            cluster = stack.enter_context(_started_cluster(spec, folder))
            with _start_errors():
                client = Client(cluster)
                close_http_servers(client, cluster.scheduler)
        else:
            stack.enter_context(dask.config.set(settings))
            client = _connect(spec.cluster, spec.tls)
        stack.callback(_close, client)
        yield client


@contextmanager
def _started_cluster(spec: ClusterSpec, folder: str) -> Iterator[Any]:
    from gpuseg.runtime.dask.credentials import new_credentials

    cluster_class, unlimited = _cluster_class(spec)
    # Forked workers have the variables that the fork server got when it started. dask-cuda sets
    # those of its workers itself.
    options = {"env": dict(os.environ)} if spec.cluster == "dask" else {}
    # A signal would leave processes behind that have begun to start.
    with _interrupts_blocked(), interrupts_deferred(), _start_errors():
        cluster = cluster_class(
            local_directory=folder,
            n_workers=spec.workers,
            threads_per_worker=spec.threads,
            processes=True,
            memory_limit=spec.memory_limit or unlimited,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any free port
            security=new_credentials(),
            protocol="tls",
            silence_logs=logging.CRITICAL,
            death_timeout=_START_SECONDS,
            **options,
        )
    try:
        yield cluster
    except BaseException:
        _kill_workers(cluster)  # they have nothing to save, and may be stopped or hang
        raise
    finally:
        continue_fork_server()
        _close(cluster)


@contextmanager
def _start_errors() -> Iterator[None]:
    """Turn the errors of workers that do not start into `ResourceError`."""
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        raise ResourceError(
            "cluster.not_started",
            f"the workers could not be started ({type(error).__name__}: {error})",
            hint="run again; a program that calls gpuseg.run must do so below "
            "`if __name__ == '__main__':`, since workers import the program",
            parameter="cluster",
        ) from None


def _kill_workers(cluster: Any) -> None:
    """End the worker processes of this machine at once; nothing starts them again."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        if pid := getattr(nanny, "pid", None):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _close(connected: Any) -> None:
    """Close a client or a cluster; go on if this fails, as it does where processes were lost.

    Dask would close what a signal has left open at the end of the process, and log it.
    """
    with interrupts_deferred(), suppress(OSError, RuntimeError, CancelledError, AssertionError):
        connected.close(timeout=_CLOSE_SECONDS)


def _cluster_class(spec: ClusterSpec) -> tuple[Callable[..., Any], Any]:
    """Return the class that starts the workers, and its value for "no memory limit".

    dask-cuda gives each worker its own GPU; CuPy allocates from its own pool there.
    """
    if spec.cluster == "dask":
        from distributed import LocalCluster

        return LocalCluster, 0
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ResourceError(
            "cluster.no_dask_cuda",
            f"dask-cuda cannot be imported ({error})",
            value="cuda",
            hint=f"{install_extra('cuda13')}, or {set_key('cluster', 'local')}, which uses one GPU",
            parameter="cluster",
        ) from None
    return LocalCUDACluster, "auto"


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT in this thread, and permanently in threads and processes started meanwhile.

    Ctrl-C goes to every process of a terminal. The workers, including those that replace lost
    ones later, must leave it to this process, which stops them in order.
    """
    start_resource_tracker()  # otherwise it starts later and unblocks SIGINT
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def has_dask_certificates() -> bool:
    """Whether the configuration of Dask names certificates of a client."""
    import dask

    keys = ("ca-file", "client.cert")
    return all(dask.config.get(f"distributed.comm.tls.{key}", None) for key in keys)


def _connect(address: str, tls: TlsFiles | None) -> Client:
    client = None
    try:
        client = _new_client(address, tls)
        scheduler: Any = client.scheduler
        n_workers = len(client.sync(scheduler.ncores, callback_timeout=_CONNECT_SECONDS))
    except _UNREACHABLE as error:
        if client is not None:
            _close(client)
        raise ResourceError(
            "cluster.unreachable",
            f"no scheduler answers within {_CONNECT_SECONDS} s ({type(error).__name__})",
            value=address,
            hint=_TLS_HINT if address.startswith(ENCRYPTED) else
            f"start one with 'dask scheduler', or {set_key('cluster', 'dask')}; the address of one "
            "with certificates begins with tls://",
            parameter="cluster",
        ) from None  # fmt: skip
    if not n_workers:
        _close(client)
        raise ResourceError(
            "cluster.no_workers",
            "the scheduler has no workers",
            value=address,
            hint=f"start some with 'dask worker {literal(address)}'",
            parameter="cluster",
        )
    return client


def _new_client(address: str, tls: TlsFiles | None) -> Client:
    """Connect to a scheduler; do not wait for one that is stopped.

    Dask's own limit is not one of all that it waits for, so another thread waits.

    Raises
    ------
    OSError, ValueError
    """
    from distributed import Client, Security

    security = None
    if tls is not None:
        security = Security(
            require_encryption=True,
            tls_ca_file=tls.ca_file,
            tls_client_cert=tls.cert,
            tls_client_key=tls.key,
        )
    connected: Future[Client] = Future()

    def connect() -> None:
        try:
            client = Client(
                address, timeout=f"{_CONNECT_SECONDS}s", set_as_default=False, security=security
            )
        except BaseException as error:  # noqa: BLE001 - the other thread raises it
            connected.set_exception(error)
        else:
            connected.set_result(client)

    def close(late: Future[Client]) -> None:
        if late.exception() is None:
            _close(late.result())

    Thread(target=connect, name="gpuseg-connect", daemon=True).start()
    try:
        return connected.result(_CONNECT_SECONDS + 2)
    except BaseException:  # the time is over, or Ctrl-C
        connected.add_done_callback(close)
        raise
