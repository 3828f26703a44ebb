"""Who decodes the rows of a job, Arrow or cuDF, and why: the choice is recorded, never silent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from gpuseg.backends.registry import BackendChoice
from gpuseg.errors import ConfigError, GpusegError, ResourceError
from gpuseg.io.parquet.cudf_reader import lacking, load_on_gpu
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import ShardPlan, load_shard
from gpuseg.io.parquet.streamed_shard import open_stream
from gpuseg.jobs.job import JobSpec
from gpuseg.runtime.executor import Executor
from gpuseg.sharding.device_shard import is_on_device


@dataclass(frozen=True)
class Reader:
    """Who decodes the rows.

    Attributes
    ----------
    name : {"arrow", "cudf"}
    why : str
    by_arrow : mapping of str to str
        Columns that Arrow decodes beside cuDF, and why.
    asked : bool
        Whether the job names the reader.
    """

    name: str
    why: str
    by_arrow: Mapping[str, str] = field(default_factory=dict)
    asked: bool = False

    def described(self) -> dict[str, Any]:
        """Return what manifest and --dry-run say of it."""
        beside = {"by_arrow": dict(self.by_arrow)} if self.by_arrow else {}
        return {"name": self.name, "why": self.why, **beside}


@dataclass(frozen=True)
class _Obstacle:
    """What keeps cuDF from reading, what would help, and whether the job is at fault."""

    what: str
    step: str
    error: type[GpusegError] = ResourceError


def choose_reader(spec: JobSpec, dataset: Dataset, choice: BackendChoice, mode: str) -> Reader:
    """Resolve `runtime.reader`.

    cuDF is not so much as looked for unless the rows would stay on a GPU.

    Parameters
    ----------
    choice : BackendChoice
        The backend.
    mode : {"resident", "streamed"}
        How the rows are held.

    Raises
    ------
    ConfigError, ResourceError
        Where cuDF is asked for and cannot read; Arrow is never taken in its place.
    """
    asked = spec.runtime.reader
    if asked == "arrow":
        return Reader("arrow", "asked for", asked=True)
    by_arrow = left_to_arrow(dataset, spec.prepare.categorical)
    obstacle = _obstacle(spec, dataset, choice, mode, by_arrow)
    if asked == "cudf":
        if obstacle:
            raise obstacle.error(
                f"runtime.reader = 'cudf': {obstacle.what}; {obstacle.step}, or leave the key out"
            )
        return Reader("cudf", "asked for", by_arrow, asked=True)
    if obstacle is None and spec.runtime.cluster not in ("local", "cuda"):
        obstacle = _Obstacle(
            f"the workers of cluster = {spec.runtime.cluster!r} may have no GPU each: ask for "
            "runtime.reader = 'cudf' where they have",
            "",
        )
    if obstacle:
        return Reader("arrow", f"auto: {obstacle.what}")
    return Reader("cudf", "auto: rows are decoded on the GPU, and stay there", by_arrow)


def _obstacle(
    spec: JobSpec, dataset: Dataset, choice: BackendChoice, mode: str, by_arrow: Mapping[str, str]
) -> _Obstacle | None:
    """Return the first thing that keeps cuDF from reading."""
    if choice.name != "cuda":
        return _Obstacle(
            f"cuDF reads into the memory of a GPU, and the backend is '{choice.name}'",
            f"that was taken because of '{choice.why}': use runtime.backend = 'cuda'",
        )
    if spec.segment.algorithm == "dbscan":
        return _Obstacle(
            "DBSCAN lays out its rows in the memory of the host",
            "use another algorithm",
            ConfigError,
        )
    if mode != "resident":
        return _Obstacle(
            "the rows are streamed, a block at a time", "use a higher runtime.memory_limit"
        )
    if not dataset.storage.is_local:
        return _Obstacle(
            f"the files are not on a disk of this machine ({dataset.storage.url})",
            "copy them to one",
            ConfigError,
        )
    columns = _columns(dataset)
    if all(name in by_arrow for name in columns):
        return _Obstacle(
            f"there is no column that cuDF would decode ('{columns[0]}': {by_arrow[columns[0]]})",
            "name columns of numbers in input.features",
            ConfigError,
        )
    missing = lacking()
    return None if missing is None else _Obstacle(missing, "pip install 'gpuseg[cuda13]'")


def _columns(dataset: Dataset) -> list[str]:
    weight = [] if dataset.weight is None else [dataset.weight]
    return list(dict.fromkeys([*dataset.features, *weight]))


def left_to_arrow(dataset: Dataset, categories: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns that Arrow decodes in any case, and why.

    cuDF takes those of which both make the same numbers, to the bit.
    """
    file, found = dataset.files[0], {}
    for name in _columns(dataset):
        if name in file.constants:
            found[name] = "a partition column, which is in no file"
        elif name in categories:
            found[name] = "a category"
        elif not _is_plain(kind := file.schema.field(name).type):
            found[name] = f"{kind}, which cuDF does not round as Arrow does"
    return found


def _is_plain(kind: pa.DataType) -> bool:
    """Whether cuDF has a type of the same values."""
    t = pa.types
    plain = t.is_integer(kind) or t.is_float32(kind) or t.is_float64(kind) or t.is_boolean(kind)
    return bool(plain)


def place_rows(
    executor: Executor,
    reader: Reader,
    mode: str,
    plans: Sequence[ShardPlan],
) -> Reader:
    """Read the shards where they will live; return who has read them.

    Raises
    ------
    DataError, ResourceError
        See `io.parquet.shard_plan.load_shard` and `io.parquet.cudf_reader.load_on_gpu`.
    """
    if reader.name == "arrow":
        executor.load(load_shard if mode == "resident" else open_stream, plans)
        return reader
    load = partial(load_on_gpu, by_arrow=tuple(reader.by_arrow), must=reader.asked)
    executor.load(load, plans)
    there = executor.map(is_on_device)
    if not any(there):
        reader = Reader("arrow", "auto: the GPU has no room for the rows and a row group beside")
    elif not all(there):
        left = f"{len(there) - sum(there)} of {len(there)} shards had no room there"
        reader = replace(reader, why=f"{reader.why}; {left}, and were read by Arrow")
    return reader
