"""What a job will need, from the footers alone: printed by --dry-run, checked before a run."""

from dataclasses import dataclass
from typing import Any

import psutil

from gpuseg.backends.registry import BackendChoice
from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.parquet.dataset import Dataset, open_dataset
from gpuseg.io.storage import Storage
from gpuseg.jobs.job import JobSpec, further_columns
from gpuseg.jobs.reader_choice import Reader, choose_reader
from gpuseg.jobs.resolve import ResolvedJob
from gpuseg.runtime.cluster import ClusterSpec
from gpuseg.segmentation.specs import DBSCANSpec, KMeansSpec

_PROCESS_BYTES = 350 * 2**20
"""A worker with NumPy, Numba, Arrow and Dask loaded, and its compiled kernels."""

_WORK_BYTES_PER_THREAD = 32 * 2**20
"""Batches being decoded, blocks being assigned, parts being written."""

_ID_BYTES = 24
"""Of each id passing through: its hash, its place among the sorted, and the sorted copy."""

_RESULT_BYTES = 8
"""Of each row: int32 label and float32 distance; before that, what a run remembers of it."""

_DENSITY_BYTES = 120
"""Of each row while DBSCAN runs: places, counts, sets, clusters, sizes of differences."""

_MAX_ID_TURNS = 16

_USABLE = 0.9
"""Share of a limit that a forecast may fill: Dask ends a worker at 95 % of it."""


@dataclass(frozen=True)
class MemoryPlan:
    """How workers hold their rows.

    Attributes
    ----------
    mode : {"resident", "streamed"}
        In memory, or decoded from Parquet in every pass.
    why : str
    bytes : int
        Memory that the busiest worker will take at its peak.
    spare_bytes : int
        What it may take beyond its rows to remember what saves work.
    id_turns : int
        In how many turns the ids are checked, to save memory.
    """

    mode: str
    why: str
    bytes: int
    spare_bytes: int
    id_turns: int


@dataclass(frozen=True)
class JobPlan:
    """A resolved job and what it will need.

    Attributes
    ----------
    dataset : Dataset
    choice : BackendChoice
        The backend, and why.
    cluster : ClusterSpec
    memory : MemoryPlan or None
        None where the workers are not known yet.
    width : int
        Features at the most.
    unit : bool
        Whether rows are scaled to length one.
    target : Storage
        Where the output goes.
    reader : Reader
        Who would decode the rows, if they are not streamed where that is not known yet.
    """

    dataset: Dataset
    choice: BackendChoice
    cluster: ClusterSpec
    memory: MemoryPlan | None
    width: int
    unit: bool
    target: Storage
    reader: Reader

    def describe(self, spec: JobSpec) -> dict[str, Any]:
        """Return what --dry-run prints."""
        job = spec.public()
        source = "transactions" if spec.transactions else "input"
        job[source]["features"] = list(self.dataset.features)
        return {
            "job": job,
            "files": len(self.dataset.files),
            "row_groups": self.dataset.row_groups,
            "rows": self.dataset.rows,
            "backend": {"name": self.choice.name, "why": self.choice.why},
            "reader": self.reader.described(),
            "workers": self.cluster.workers if self.cluster.is_ours else None,
            "threads_per_worker": self.cluster.threads if self.cluster.is_ours else None,
            "rows_are": self.memory and self.memory.mode,
            "rows_why": self.memory and self.memory.why,
            "estimated_bytes_per_worker": self.memory and self.memory.bytes,
        }


def forecast(spec: JobSpec, place: ResolvedJob, storage: Storage) -> JobPlan:
    """Read the footers below `storage`, forecast what the job needs, refuse what cannot succeed.

    Nothing is written.

    Raises
    ------
    ConfigError, DataError, ResourceError
        All that can be known before the data is read.
    """
    given = spec.input
    id_key = None if spec.transactions else place.id_key  # there the ids are hashed already
    dataset = open_dataset(
        storage, given.features, given.id, given.weight, id_key,
        tuple(spec.prepare.categorical), tuple(spec.audit.columns),
    )  # fmt: skip
    unit = spec.segment.algorithm == "kmeans" and spec.segment.metric == "cosine"
    spec.prepare.transforms(spec.prepare.preview(dataset.features), "prepare.transform")
    width = spec.prepare.most_features(dataset.features)
    if isinstance(spec.segment, KMeansSpec) and spec.prepare.keeps_columns:
        spec.segment.models()[0].check_init(width)
    if isinstance(spec.segment, DBSCANSpec):
        _check_dbscan(spec, spec.segment, len(dataset.features))
    cluster = place.cluster
    memory = (
        plan_memory(
            dataset,
            cluster,
            cluster.workers,
            spec.segment.algorithm,
            width,
            len(further_columns(spec)),
        )
        if cluster.is_ours
        else None
    )
    mode = memory.mode if memory else "resident"
    reader = choose_reader(spec, dataset, place.choice, mode)
    return JobPlan(dataset, place.choice, cluster, memory, width, unit, place.target, reader)


def _check_dbscan(spec: JobSpec, rules: DBSCANSpec, n_features: int) -> None:
    """Refuse what a metric, or the choice of eps, does not suit."""
    if rules.metric == "haversine" and n_features != 2:
        raise ConfigError(
            f"segment.metric = 'haversine' takes two features, latitude and longitude in radians, "
            f"and there are {n_features}: name the two in input.features"
        )
    if rules.metric == "haversine" and (
        spec.prepare.scale != "none"
        or spec.prepare.transform != "none"
        or spec.prepare.pca is not None
    ):
        raise ConfigError(
            "segment.metric = 'haversine' takes latitude and longitude as they are: set "
            "prepare.scale = 'none', and leave prepare.transform and prepare.pca out"
        )
    if rules.eps == "auto" and spec.input.weight:
        raise ConfigError(
            "segment.eps = 'auto' does not look at weights, and input.weight = "
            f"{spec.input.weight!r}: give an eps, or leave input.weight out"
        )


def plan_memory(
    dataset: Dataset,
    cluster: ClusterSpec,
    workers: int,
    algorithm: str = "kmeans",
    width: int | None = None,
    further: int = 0,
) -> MemoryPlan:
    """Choose how the rows are held: in memory where they fit, otherwise streamed from Parquet.

    DBSCAN keeps all rows in memory, and again in the order of their tiles. `width` is the number of
    columns of a row; by default that of the features. `further`
    are results of a row beside label and distance.

    Raises
    ------
    ResourceError
        Where not even streaming fits the limit; with the forecast and what would do.
    """
    rows = max(plan.rows for plan in dataset.plan_shards(workers, drop_missing=False))
    limit, whose = _limit(cluster, workers)
    fixed = _PROCESS_BYTES + cluster.threads * _WORK_BYTES_PER_THREAD
    columns = (width or len(dataset.features)) + (2 if dataset.weight else 0)
    result = _RESULT_BYTES + 4 * further
    resident = fixed + rows * (4 * columns + result)
    if algorithm == "dbscan":
        copies = 1 if workers == 1 else 3  # tiles; with several workers also regions and visitors
        resident += rows * (4 * columns * copies + _DENSITY_BYTES)
    ids = rows * _ID_BYTES if dataset.id else 0
    if resident + ids <= limit:
        why = f"{_size(resident + ids)} a worker, within {whose}"
        spare = min(limit - resident, resident)
        return MemoryPlan("resident", why, resident + ids, spare, 1)
    if algorithm == "dbscan":
        step = f"a worker alone takes {_size(fixed)}: use a higher limit"
        if limit > fixed:
            enough = -(-2 * (resident + ids - fixed) * workers // (limit - fixed))
            step = (
                f"use about {enough} workers (runtime.n_workers) on machines of their own, or a "
                "higher limit"
            )
        raise ResourceError(
            f"{whose} a worker: DBSCAN keeps all rows in memory, and the largest of {workers} "
            f"shards needs about {_size(resident + ids)}; {step}"
        )
    groups = cluster.threads * dataset.largest_group_bytes
    streamed = fixed + groups + rows * (result + 1)
    turns = -(-ids // max(limit - streamed, 1)) if ids else 1
    if streamed <= limit and turns <= _MAX_ID_TURNS:
        why = f"in memory they would take {_size(resident + ids)} a worker, beyond {whose}"
        return MemoryPlan("streamed", why, streamed + ids // turns, 0, turns)
    needed = streamed + ids // _MAX_ID_TURNS
    if limit > fixed + groups:
        enough = -(-(needed - fixed - groups) * workers // (limit - fixed - groups))
        step = f"use about {enough} workers (runtime.n_workers), or a higher limit"
    else:
        step = f"a worker alone takes {_size(fixed + groups)}: use a higher limit"
    raise ResourceError(
        f"{whose} a worker: the largest of {workers} shards needs about {_size(needed)}, even "
        f"with its rows streamed from Parquet; {step}"
    )


def _limit(cluster: ClusterSpec, workers: int) -> tuple[int, str]:
    """Return the memory a worker may take, and in words who says so."""
    if cluster.memory_limit is not None:
        usable = int(cluster.memory_limit * _USABLE)
        asked = _size(cluster.memory_limit)
        return usable, f"{_USABLE:.0%} of runtime.memory_limit = {asked}"
    if not cluster.is_ours:
        return 2**63, "the memory of its machine"
    share = psutil.virtual_memory().available // workers
    return share, f"the {_size(share)} that this machine has left for each"


def _size(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
