"""Choose who decodes the rows of a job, Arrow or cuDF; the manifest has the choice and its reason.

An explicit choice is never replaced by the other reader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from gpuseg.backends.registry import BackendChoice
from gpuseg.errors import ConfigError, GpusegError, ResourceError, install_extra, literal, set_key
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import ShardPlan, load_shard
from gpuseg.io.parquet.spilled_rows import spill_shard
from gpuseg.jobs.job import JobSpec
from gpuseg.runtime.executor import Executor
from gpuseg.segmentation.base import MemoryNeeds
from gpuseg.sharding.device_shard import is_on_device


@dataclass(frozen=True)
class Reader:
    """Who decodes the rows.

    Attributes
    ----------
    name : {"arrow", "cudf"}
    reason : str
    by_arrow : mapping of str to str
        Columns that Arrow decodes although cuDF is the reader, and why.
    required : bool
        Whether the job names the reader, so that no other may replace it.
    """

    name: str
    reason: str
    by_arrow: Mapping[str, str] = field(default_factory=dict)
    required: bool = False

    def describe(self) -> dict[str, Any]:
        """Return what the manifest and --dry-run say of the reader."""
        by_arrow = {"by_arrow": dict(self.by_arrow)} if self.by_arrow else {}
        return {"name": self.name, "reason": self.reason, **by_arrow}


@dataclass(frozen=True)
class _Obstacle:
    """A reason why cuDF cannot read, what would help, and whether the job is at fault."""

    code: str
    problem: str
    hint: str = ""
    error: type[GpusegError] = ResourceError


def choose_reader(
    spec: JobSpec, dataset: Dataset, backend: BackendChoice, needs: MemoryNeeds, mode: str
) -> Reader:
    """Resolve `runtime.reader`; cuDF is imported only if rows would stay on a GPU.

    Parameters
    ----------
    backend : BackendChoice
    needs : MemoryNeeds
        Of the algorithm.
    mode : {"resident", "spilled"}
        How the rows are held.

    Raises
    ------
    ConfigError, ResourceError
        If the job names cuDF, and it cannot read.
    """
    requested = spec.runtime.reader
    if requested == "arrow":
        return Reader("arrow", "requested", required=True)
    by_arrow = left_to_arrow(dataset, spec.prepare.categorical)
    obstacle = _obstacle(dataset, backend, needs, mode, by_arrow, spec.algorithm.title)
    if requested == "cudf":
        if obstacle:
            raise obstacle.error(
                obstacle.code, obstacle.problem, value="cudf", parameter="reader",
                hint=f"{obstacle.hint}, or leave `reader` out",
            )  # fmt: skip
        return Reader("cudf", "requested", by_arrow, required=True)
    if obstacle is None and spec.runtime.no_gpu_reason:
        obstacle = _Obstacle(
            "reader.workers_without_gpu",
            f"{spec.runtime.no_gpu_reason}; set runtime.reader = 'cudf' if they do",
        )
    if obstacle:
        return Reader("arrow", f"auto: {obstacle.problem}")
    return Reader("cudf", "auto: rows are decoded on the GPU, and stay there", by_arrow)


def _obstacle(
    dataset: Dataset,
    backend: BackendChoice,
    needs: MemoryNeeds,
    mode: str,
    by_arrow: Mapping[str, str],
    title: str,
) -> _Obstacle | None:
    """Return the first reason why cuDF cannot read."""
    if backend.name != "cuda":
        return _Obstacle(
            "reader.backend_not_cuda",
            f"cuDF reads into the memory of a GPU, and the backend is '{backend.name}'",
            f"it was chosen because of '{literal(backend.reason)}'; {set_key('backend', 'cuda')}",
        )
    if not needs.on_device:
        return _Obstacle(
            "reader.algorithm_on_host",
            f"{title} needs the rows in the memory of the host",
            "use another `algorithm`",
            ConfigError,
        )
    if mode != "resident":
        return _Obstacle(
            "reader.rows_on_disk",
            "the rows do not fit in memory, and are read from disk a block at a time",
            "use a higher `memory_limit`",
        )
    if not dataset.storage.is_local:
        return _Obstacle(
            "reader.files_not_local",
            f"the files are not on a disk of this machine ({dataset.storage.url})",
            "copy them to one",
            ConfigError,
        )
    columns = _columns(dataset)
    if all(name in by_arrow for name in columns):
        return _Obstacle(
            "reader.no_column",
            f"there is no column that cuDF would decode ('{columns[0]}': {by_arrow[columns[0]]})",
            "name columns of numbers in `features`",
            ConfigError,
        )
    from gpuseg.io.parquet.cudf_reader import unavailable

    missing = unavailable()
    if missing is None:
        return None
    return _Obstacle("reader.no_cudf", missing, install_extra("cuda13"))


def _columns(dataset: Dataset) -> list[str]:
    weight = [] if dataset.weight is None else [dataset.weight]
    return list(dict.fromkeys([*dataset.features, *weight]))


def left_to_arrow(dataset: Dataset, categories: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns that Arrow decodes in any case, and why.

    cuDF decodes the columns of which both make the same numbers, to the bit.
    """
    file, reasons = dataset.files[0], dict[str, str]()
    differing = {name for file in dataset.files for name in file.conversions}
    for name in _columns(dataset):
        if name in file.constants:
            reasons[name] = "a partition column, which is in no file"
        elif name in categories:
            reasons[name] = "a category"
        elif name in dataset.shapes:
            reasons[name] = "vectors, which Arrow decodes as one block of rows"
        elif name in differing:
            reasons[name] = f"{dataset.types[name]}, which not all files have"
        elif not _is_plain(kind := dataset.types[name]):
            reasons[name] = f"{kind}, which cuDF does not round as Arrow does"
    return reasons


def _is_plain(kind: pa.DataType) -> bool:
    """Whether cuDF has a type of the same values."""
    t = pa.types
    plain = t.is_integer(kind) or t.is_float32(kind) or t.is_float64(kind) or t.is_boolean(kind)
    return bool(plain)


def load_shards(
    executor: Executor, reader: Reader, mode: str, plans: Sequence[ShardPlan]
) -> Reader:
    """Load a shard for each plan; return who has read them.

    Raises
    ------
    DataError, ResourceError
        See `io.parquet.shard_plan.load_shard` and `io.parquet.cudf_reader.load_on_gpu`.
    """
    if reader.name == "arrow":
        executor.load(load_shard if mode == "resident" else spill_shard, plans)
        return reader
    from gpuseg.io.parquet.cudf_reader import load_on_gpu

    load = partial(load_on_gpu, by_arrow=tuple(reader.by_arrow), must=reader.required)
    executor.load(load, plans)
    on_device = executor.map(is_on_device)
    if not any(on_device):
        return Reader("arrow", "auto: the GPU has no room for the rows and one more row group")
    if not all(on_device):
        n_others = len(on_device) - sum(on_device)
        others = f"Arrow read {n_others} of {len(on_device)} shards, for which no room was left"
        return replace(reader, reason=f"{reader.reason}; {others}")
    return reader
