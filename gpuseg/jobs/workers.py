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
    sections = [values.get(name) for name in ("runtime", "input", "transactions")]
    runtime, *sources = [keys if isinstance(keys, Mapping) else {} for keys in sections]
    if runtime.get("cluster") == "dask":
        secrets = [keys.get("id_hash_key_env") for keys in sources]
        secret = next((name for name in secrets if isinstance(name, str) and name.isascii()), None)
        start_fork_server_for_workers(WORKER_MODULES, secret)
