"""Open the executor that the job's `runtime` section asks for, and close it again."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gpuseg.errors import ResourceError, literal
from gpuseg.runtime.executor import Executor, LocalExecutor, available_cpus, do_nothing
from gpuseg.runtime.fork_server import start_fork_server, without_variable

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS = 10

_METHOD = "distributed.worker.multiprocessing-method"

_STARTED_CLUSTERS = ("dask", "cuda")
"""Clusters on this machine that are started for a run and stopped after it."""


@dataclass(frozen=True)
class ClusterSpec:
    """Where to run.

    Attributes
    ----------
    cluster : str
        "local", "dask", "cuda" or the address of a scheduler.
    n_workers : int or None
    threads_per_worker : int or None
    memory_limit : int or None
        Bytes per worker.
    secret : str or None
        A variable of the environment that only workers need.
    """

    cluster: str
    n_workers: int | None
    threads_per_worker: int | None
    memory_limit: int | None
    secret: str | None = None

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
        """Whether gpuseg starts the workers, so that their number is known before the run."""
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
    if spec.cluster == "local":
        yield LocalExecutor(spec.threads, report, while_waiting)
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
            with suppress(OSError, TimeoutError):  # the cluster may have ended
                executor.close()


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

    # Shards are not Dask's data, so spilling or pausing would not help. A worker that exceeds
    # its limit is ended; the memory plan is checked against the limit before the start.
    settings: dict[str, Any] = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
        "distributed.scheduler.reuse-broadcast-comm": True,
    }
    if is_forked:
        settings[_METHOD] = "forkserver"
        utils._forkserver_preload_set = True  # otherwise Dask replaces the list of modules
    with dask.config.set(settings):
        if spec.cluster in _STARTED_CLUSTERS:
            with _started_cluster(spec) as cluster, Client(cluster) as client:
                yield client
        else:
            with _connect(spec.cluster) as client:
                yield client


@contextmanager
def _started_cluster(spec: ClusterSpec) -> Iterator[Any]:
    from gpuseg.runtime.scratch import scratch_folder

    cluster_class, unlimited = _cluster_class(spec)
    # Forked workers have the variables that the fork server got when it started. dask-cuda sets
    # those of its workers itself.
    options = {"env": dict(os.environ)} if spec.cluster == "dask" else {}
    folder = scratch_folder()
    scratch = TemporaryDirectory(prefix="gpuseg-", dir=folder, ignore_cleanup_errors=True)
    with _interrupts_blocked():
        cluster = cluster_class(
            local_directory=scratch.name,
            n_workers=spec.workers,
            threads_per_worker=spec.threads,
            processes=True,
            memory_limit=spec.memory_limit or unlimited,
            dashboard_address="127.0.0.1:0",  # any free port: 8787 may be in use
            silence_logs=logging.CRITICAL,
            **options,
        )
    with scratch, cluster:
        yield cluster


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
            hint="pip install 'gpuseg[cuda13]', or use `cluster` = 'local', which uses one GPU",
            parameter="cluster",
        ) from None
    return LocalCUDACluster, "auto"


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT in this thread, and permanently in threads and processes started meanwhile.

    Ctrl-C goes to every process of a terminal. The workers, including those that replace lost
    ones later, must leave it to this process, which stops them in order.
    """
    resource_tracker.ensure_running()  # otherwise it starts later and unblocks SIGINT
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _connect(address: str) -> Client:
    from distributed import Client

    try:
        client = Client(address, timeout=f"{_CONNECT_SECONDS}s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ResourceError(
            "cluster.unreachable",
            f"no scheduler answers within {_CONNECT_SECONDS} s ({type(error).__name__})",
            value=address,
            hint="start one with 'dask scheduler', or use `cluster` = 'dask'",
            parameter="cluster",
        ) from None
    if not client.nthreads():
        client.close()
        raise ResourceError(
            "cluster.no_workers",
            "the scheduler has no workers",
            value=address,
            hint=f"start some with 'dask worker {literal(address)}'",
            parameter="cluster",
        )
    return client
