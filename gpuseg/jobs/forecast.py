"""What a job will need, from the footers alone: printed by --dry-run, checked before a run."""

import os
from dataclasses import dataclass
from typing import Any

import psutil

from gpuseg.backends.registry import Choice, choose
from gpuseg.data.dataset import Dataset, open_dataset
from gpuseg.data.output import check_free
from gpuseg.data.storage import Storage, reaching
from gpuseg.engine.preparation import Recipe
from gpuseg.errors import JobError, ResourceError
from gpuseg.jobs.spec import JobSpec
from gpuseg.runtime.cluster import ClusterSpec
from gpuseg.validation import nearest_known

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
    recipe : Recipe
        The preparation, feature by feature.
    target : Storage
        Where the output goes.
    """

    dataset: Dataset
    choice: Choice
    cluster: ClusterSpec
    worker_bytes: int
    recipe: Recipe
    target: Storage

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
            "workers": self.cluster.workers if self.cluster.is_ours else None,
            "threads_per_worker": self.cluster.threads if self.cluster.is_ours else None,
            "estimated_bytes_per_worker": self.worker_bytes if self.cluster.is_ours else None,
        }


def forecast(spec: JobSpec) -> Forecast:
    """Read the footers, forecast what the job needs, and refuse what cannot succeed.

    Nothing is written.

    Raises
    ------
    JobError, DataError, ResourceError
        All that can be known before the data is read.
    """
    choice = choose(spec.runtime.backend)
    storage = Storage.at(spec.input.path, spec.input.storage_options, "input.path")
    dataset = open_dataset(storage, spec.input.features, spec.input.id, spec.input.weight)
    recipe = Recipe(
        dataset.features, spec.prepare.missing, _transforms(spec, dataset), spec.prepare.scale
    )
    spec.segment.check_init(len(dataset.features))
    runtime = spec.runtime
    cluster = ClusterSpec(
        runtime.cluster,
        runtime.n_workers,
        runtime.threads_per_worker,
        None if runtime.memory_limit is None else int(runtime.memory_limit),
    )
    if cluster.is_ours:
        check_memory(dataset, cluster, cluster.workers)
    target = Storage.at(spec.output.path, spec.output.storage_options, "output.path")
    _refuse_overlap(storage, target)
    with reaching("output.path", target.url):
        check_free(target, spec.output.overwrite)
    worker = worker_bytes(dataset, cluster.workers, cluster.threads)
    return Forecast(dataset, choice, cluster, worker, recipe, target)


def _transforms(spec: JobSpec, dataset: Dataset) -> tuple[str, ...]:
    """Return the transform of each feature."""
    asked = spec.prepare.transform
    if isinstance(asked, str):
        return (asked,) * len(dataset.features)
    for name in asked:
        if name not in dataset.features:
            raise JobError(
                f"prepare.transform.{name}: not a feature; {nearest_known(name, dataset.features)}"
            )
    return tuple(asked.get(name, "none") for name in dataset.features)


def _refuse_overlap(source: Storage, target: Storage) -> None:
    """Refuse an output that would replace its input, or lie in it, or hold it."""
    if source.is_local != target.is_local:
        return
    a, b = ((os.path.realpath(s.root) if s.is_local else s.root) + "/" for s in (source, target))
    if a.startswith(b) or b.startswith(a):
        raise JobError(
            f"output.path = {target.url!r}: overlaps input.path = {source.url!r}; "
            "write to a folder of its own"
        )


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
    needed = worker_bytes(dataset, workers, cluster.threads)
    limit = cluster.memory_limit
    if limit is None:
        _check_machine(needed, workers, cluster)
        return
    if needed <= limit:
        return
    fixed = _PROCESS_BYTES + cluster.threads * _WORK_BYTES_PER_THREAD
    if limit > fixed:
        enough = -(-(needed - fixed) * workers // (limit - fixed))
        step = f"use about {enough} workers (runtime.n_workers), or a higher limit"
    else:
        step = f"a worker alone takes {_size(fixed)}: use a higher limit"
    raise ResourceError(
        f"runtime.memory_limit = {_size(limit)} a worker: the largest of {workers} shards needs "
        f"about {_size(needed)}; {step}"
    )


def _check_machine(needed: int, workers: int, cluster: ClusterSpec) -> None:
    """Refuse workers of ours that do not fit into what memory this machine has left."""
    available = psutil.virtual_memory().available
    if cluster.is_ours and needed * workers > available:
        raise ResourceError(
            f"{workers} workers need about {_size(needed)} each, and this machine has "
            f"{_size(available)} left; use fewer features, or the workers of more machines "
            "(runtime.cluster = 'tcp://…')"
        )


def _size(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
