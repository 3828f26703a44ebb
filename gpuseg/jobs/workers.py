"""What workers import, and their early start."""

from collections.abc import Mapping
from typing import Any

from gpuseg.runtime.cluster import start_fork_server_for_workers

WORKER_MODULES = (
    "distributed.nanny",
    "pyarrow.compute",
    "gpuseg.algorithms.kmeans.fit",
    "gpuseg.backends.numba.backend",
    "gpuseg.jobs.stages.segment",
    "gpuseg.jobs.stages.write",
    "gpuseg.runtime.dask.worker",
)
"""Modules of the functions that workers of a k-means job call, and what these import at their first
call. The start waits for these imports; workers of other jobs import the rest themselves."""


def start_importing_for_workers(values: Mapping[str, Any]) -> None:
    """Start the process that imports for workers, if a job will start workers.

    It imports while this process does. The values of the job need not be valid, and a configuration
    of Dask that names another way to start workers is not read here: then the process is not used.
    """
    runtime = values.get("runtime")
    if isinstance(runtime, Mapping) and runtime.get("cluster") == "dask":
        start_fork_server_for_workers(WORKER_MODULES)
