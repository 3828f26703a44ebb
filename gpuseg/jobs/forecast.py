"""What a job will need, from the footers alone: printed by --dry-run, checked before a run."""

from dataclasses import dataclass
from typing import Any

from gpuseg.backends.registry import Choice, choose
from gpuseg.data.dataset import Dataset, open_dataset
from gpuseg.data.storage import Storage
from gpuseg.errors import ResourceError
from gpuseg.jobs.spec import JobSpec
from gpuseg.runtime.cluster import ClusterSpec

_PROCESS_BYTES = 350 * 2**20
"""A worker with NumPy, Numba, Arrow and Dask loaded, and its compiled kernels."""

_WORK_BYTES_PER_THREAD = 32 * 2**20
"""Batches being decoded, blocks being assigned, parts being written."""


@dataclass(frozen=True)
class Forecast:
    """A resolved job and what it will need.

    Attributes
    ----------
    dataset : Dataset
    choice : Choice
        The backend, and why.
    cluster : ClusterSpec
    worker_bytes : int
        Memory that the busiest worker will take.
    """

    dataset: Dataset
    choice: Choice
    cluster: ClusterSpec
    worker_bytes: int

    def describe(self, spec: JobSpec) -> dict[str, Any]:
        """Return what --dry-run prints."""
        job = spec.public()
        job["input"]["features"] = list(self.dataset.features)
        return {
            "job": job,
            "files": len(self.dataset.files),
            "row_groups": self.dataset.row_groups,
            "rows": self.dataset.rows,
            "backend": {"name": self.choice.name, "why": self.choice.why},
            "workers": self.cluster.workers,
            "threads_per_worker": self.cluster.threads,
            "estimated_bytes_per_worker": self.worker_bytes,
        }


def forecast(spec: JobSpec) -> Forecast:
    """Read the footers and forecast what the job needs; nothing is written.

    Raises
    ------
    DataError, ResourceError, JobError
        As `open_dataset` and `choose` do.
    """
    choice = choose(spec.runtime.backend)
    storage = Storage.at(spec.input.path, spec.input.storage_options, "input.path")
    dataset = open_dataset(storage, spec.input.features, spec.input.id, spec.input.weight)
    runtime = spec.runtime
    cluster = ClusterSpec(
        runtime.cluster,
        runtime.n_workers,
        runtime.threads_per_worker,
        None if runtime.memory_limit is None else int(runtime.memory_limit),
    )
    worker = worker_bytes(dataset, cluster.workers, cluster.threads)
    return Forecast(dataset, choice, cluster, worker)


def worker_bytes(dataset: Dataset, workers: int, threads: int) -> int:
    """Return the bytes of memory that the busiest worker will take at its peak.

    Resident: float32 features, int32 label, float32 distance, and the weight. At the end the
    hashes of the ids pass through: they, their buckets and the sorted copy, 8 bytes each.
    """
    plans = dataset.plan_shards(workers, drop_missing=False)
    rows = max(plan.rows for plan in plans)
    resident = 4 * len(dataset.features) + 8 + (8 if dataset.weight else 0)
    passing = 24 if dataset.id else 0
    return rows * (resident + passing) + threads * _WORK_BYTES_PER_THREAD + _PROCESS_BYTES


def check_memory(dataset: Dataset, cluster: ClusterSpec, workers: int) -> None:
    """Refuse a job whose shards do not fit the limit of their workers.

    Raises
    ------
    ResourceError
        With the forecast, the limit, and the number of workers that would do.
    """
    limit = cluster.memory_limit
    if limit is None:
        return
    needed = worker_bytes(dataset, workers, cluster.threads)
    if needed <= limit:
        return
    fixed = _PROCESS_BYTES + cluster.threads * _WORK_BYTES_PER_THREAD
    if limit > fixed:
        enough = -(-(needed - fixed) * workers // (limit - fixed))
        step = f"use about {enough} workers (runtime.n_workers), or a higher limit"
    else:
        step = f"a worker alone takes {_gib(fixed)}: use a higher limit"
    raise ResourceError(
        f"runtime.memory_limit = {_gib(limit)} a worker: the largest of {workers} shards needs "
        f"about {_gib(needed)}; {step}"
    )


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"
