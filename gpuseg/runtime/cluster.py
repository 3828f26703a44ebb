"""From the job's `runtime` section to an executor, and its end."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gpuseg.errors import ResourceError
from gpuseg.runtime.executor import Executor, LocalExecutor, available_cpus

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS = 10

_STARTED = ("dask", "cuda")
"""Clusters on this machine that are started for a run, and stopped after it."""


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
        Bytes a worker.
    """

    cluster: str
    n_workers: int | None
    threads_per_worker: int | None
    memory_limit: int | None

    @property
    def workers(self) -> int:
        """Number of workers, as far as it is known before connecting."""
        return 1 if self.cluster == "local" else self.n_workers or available_cpus()

    @property
    def threads(self) -> int:
        """Threads of a worker that we start; in this process, those of all workers together."""
        if self.cluster == "local":
            own = self.threads_per_worker
            return own * (self.n_workers or 1) if own else available_cpus()
        return self.threads_per_worker or max(1, available_cpus() // self.workers)

    @property
    def is_ours(self) -> bool:
        """Whether we start the workers, so that their number is known beforehand."""
        return self.cluster in ("local", *_STARTED)


@contextmanager
def open_executor(
    spec: ClusterSpec, report: Callable[[int], None], say: Callable[[str], None]
) -> Iterator[Executor]:
    """Start or reach what the spec names; stop what was started.

    Raises
    ------
    ResourceError
        When a scheduler cannot be reached or has no workers.
    """
    if spec.cluster == "local":
        yield LocalExecutor(spec.threads, report)
        return
    from gpuseg.runtime.dask.executor import DaskExecutor

    with _client(spec) as client:
        n_workers = None if spec.cluster in _STARTED else spec.n_workers
        executor = DaskExecutor(client, spec.cluster, n_workers, report, say)
        try:
            yield executor
        finally:
            with suppress(OSError, TimeoutError):  # the cluster may be gone by now
                executor.close()


@contextmanager
def _client(spec: ClusterSpec) -> Iterator[Client]:
    import dask
    from distributed import Client

    # Shards are not Dask's data, so spilling or pausing would not help; a worker that grows
    # past its limit is ended, and the limit is checked against a forecast before the start.
    settings: dict[str, Any] = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
    }
    with dask.config.set(settings):
        if spec.cluster in _STARTED:
            with _local_cluster(spec) as cluster, Client(cluster) as client:
                yield client
        else:
            with _reached(spec.cluster) as client:
                yield client


@contextmanager
def _local_cluster(spec: ClusterSpec) -> Iterator[Any]:
    start, unlimited = _kind_of_cluster(spec)
    scratch = TemporaryDirectory(prefix="gpuseg-", ignore_cleanup_errors=True)
    with _interrupts_held_back():
        cluster = start(
            local_directory=scratch.name,
            n_workers=spec.workers,
            threads_per_worker=spec.threads,
            processes=True,
            memory_limit=spec.memory_limit or unlimited,
            dashboard_address="127.0.0.1:0",  # any free port: 8787 may be another cluster's
            silence_logs=logging.CRITICAL,
        )
    with scratch, cluster:
        yield cluster


def _kind_of_cluster(spec: ClusterSpec) -> tuple[Callable[..., Any], Any]:
    """Return what starts the workers, and what it takes for no limit of their memory.

    dask-cuda shows each worker a GPU of its own; CuPy allocates there from a pool of its own.
    """
    if spec.cluster == "dask":
        from distributed import LocalCluster

        return LocalCluster, 0
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ResourceError(
            f"runtime.cluster = 'cuda': dask-cuda cannot be imported ({error}); "
            "pip install 'gpuseg[cuda13]', or use cluster = 'local', which takes one GPU"
        ) from None
    return LocalCUDACluster, "auto"


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold SIGINT back in this thread, and for good in threads and processes begun meanwhile.

    Ctrl-C goes to every process of a terminal. The workers, now and those started later in
    place of lost ones, must leave it to this process, which ends them in good order.
    """
    resource_tracker.ensure_running()  # else it starts later, and lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reached(address: str) -> Client:
    from distributed import Client

    try:
        client = Client(address, timeout=f"{_CONNECT_SECONDS}s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ResourceError(
            f"runtime.cluster = {address!r}: no scheduler answers there within "
            f"{_CONNECT_SECONDS} s ({type(error).__name__}); start one with 'dask scheduler', "
            "or use cluster = 'dask'"
        ) from None
    if not client.nthreads():
        client.close()
        raise ResourceError(
            f"runtime.cluster = {address!r}: the scheduler has no workers; start some with "
            f"'dask worker {address}'"
        )
    return client
