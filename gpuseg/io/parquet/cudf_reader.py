"""From Parquet row groups to a shard on a GPU: cuDF decodes there, and the rows never leave it.

Columns of numbers are decoded on the GPU; the others by Arrow, as without a GPU, and are then
moved. Both readers make the same bits of a file, and refuse the same: what is wrong with a row
group is told by Arrow, which reads it again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.cuda import gpus
from gpuseg.backends.cuda.decoded import TYPES, Column, DecodedRows
from gpuseg.errors import DataError, ResourceError
from gpuseg.io.parquet.checksums import are_sound
from gpuseg.io.parquet.shard_plan import RowGroup, ShardPlan, fill, load_shard
from gpuseg.io.storage import first_line
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.device_shard import DeviceShard
from gpuseg.sharding.shard import Shard

_BACKEND = "cuda"

_ROWS_BESIDE = 6
"""Of a row group, while it is decoded, stands so much beside its rows: its pages, compressed and
not, and its columns of up to 8 bytes a value, where the rows have 4."""

_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, OSError)
"""What cuDF's C++ exceptions become in Python, but for those of memory."""

_STEP = "set runtime.reader = 'arrow'"


def lacking() -> str | None:
    """Return why cuDF cannot be used here, None where it can."""
    try:
        import pylibcudf  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:  # its libraries, too, may be missing
        return f"cuDF cannot be imported ({first_line(error)})"
    return None


def load_on_gpu(plan: ShardPlan, env: TaskContext, by_arrow: Sequence[str], must: bool) -> Shard:
    """Read a shard into the memory of the GPU: float32 features, float64 weights, NaN for gaps.

    Where the GPU has no room, the shard is read by Arrow into that of the host.

    Parameters
    ----------
    by_arrow : sequence of str
        Columns that Arrow decodes.
    must : bool
        Whether it is an error where the GPU has no room.

    Raises
    ------
    DataError
        As `io.parquet.shard_plan.load_shard`.
    ResourceError
        Where cuDF is not installed; for a row group that only Arrow can decode; with `must`, for a
        GPU without room.
    """
    if reason := lacking():
        raise ResourceError(f"a worker has no cuDF: {reason}; install it there, or {_STEP}")
    groups = plan.groups()
    largest = max(group.rows for group in groups)
    if registry.get(_BACKEND).fits(plan.rows + _ROWS_BESIDE * largest, plan.width):
        try:
            return _Reading(plan, by_arrow).load(groups, env)
        except MemoryError:  # another process was quicker
            pass
    if must:
        raise ResourceError(
            f"runtime.reader = 'cudf': the GPU has no room for the {plan.rows:,} rows of a shard "
            "and a row group beside them; use more GPUs, smaller row groups, or "
            "runtime.reader = 'auto'"
        )
    return load_shard(plan, env)


@dataclass(frozen=True)
class _FromHost:
    """What Arrow decoded of a row group: features (of them, rows), weights (rows,)."""

    features: NDArray[np.float32] | None
    weight: NDArray[np.float64] | None


class _Reading:
    """The reading of one shard.

    Parameters
    ----------
    plan : ShardPlan
    by_arrow : sequence of str
    """

    def __init__(self, plan: ShardPlan, by_arrow: Sequence[str]) -> None:
        self._plan = plan
        self._columns: dict[str, tuple[int, int | None]] = {}
        self._at: list[int] = []
        self._footers: dict[str, pq.FileMetaData] = {}
        encoders, f = [], 0
        for encoder in plan.encoders:
            width = len(encoder.names())
            if encoder.column in by_arrow:
                encoders.append(encoder)
                self._at += range(f, f + width)
            elif encoder.kind == "is missing":  # they come after the numbers
                self._columns[encoder.column] = (self._columns[encoder.column][0], f)
            else:
                self._columns[encoder.column] = (f, None)
            f += width
        weight = plan.weight if plan.weight in by_arrow else None
        self._of_host = replace(plan, encoders=tuple(encoders), weight=weight)
        self._weight = plan.weight if weight is None else None

    def load(self, groups: Sequence[RowGroup], env: TaskContext) -> Shard:
        """Read all row groups: on threads what the host does, then in turn what the GPU does."""
        plan = self._plan
        there = DecodedRows(gpus.launcher(), plan.rows, plan.width, plan.weight is not None)
        for group, host in zip(groups, env.map(self._on_host, groups), strict=True):
            rows = slice(group.start, group.start + group.rows)
            if there.write(rows, self._on_gpu(group), host.features, self._at, host.weight):
                self._explain(group)
                raise ResourceError(_differs(plan, group, "reads other values"))
            env.report(group.rows)
        shard = DeviceShard(there.x, there.weight, _BACKEND, plan)
        if plan.drop_missing:
            shard.drop_missing(env)
        return shard

    def _on_host(self, group: RowGroup) -> _FromHost:
        """Look at the pages that the GPU will decode, and decode what it will not."""
        if not self._is_sound(group):
            self._explain(group)
        plan, n = self._of_host, group.rows
        features = np.empty((plan.width, n), np.float32) if plan.encoders else None
        weight = None if plan.weight is None else np.empty(n)
        if features is None and weight is None:
            return _FromHost(None, None)
        x = np.empty((n, 0), np.float32) if features is None else features.T
        try:
            _fill(plan, group, x, weight)
        except DataError:
            self._explain(group)  # of all columns, another one may be the first that is wrong
            raise
        return _FromHost(features, weight)

    def _is_sound(self, group: RowGroup) -> bool:
        names, path = self._names(), group.piece.path
        if path not in self._footers:
            with self._plan.storage.open_parquet(path) as file:
                self._footers[path] = file.metadata
        footer = self._footers[path].row_group(group.number)
        chunks = [footer.column(i) for i in range(footer.num_columns)]
        return are_sound(path, [chunk for chunk in chunks if chunk.path_in_schema in names])

    def _on_gpu(self, group: RowGroup) -> list[Column]:
        """Decode a row group; its columns are done when this returns."""
        try:
            return list(self._decoded(group))
        except _FAILURES as error:
            failed = first_line(error)
        self._explain(group)
        raise ResourceError(_differs(self._plan, group, f"cannot decode it ({failed})"))

    def _decoded(self, group: RowGroup) -> Iterator[Column]:
        import pylibcudf as plc

        source = plc.io.SourceInfo([group.piece.path])
        builder = plc.io.parquet.ParquetReaderOptions.builder(source)
        options = builder.use_pandas_metadata(False).build()
        options.set_column_names(self._names())
        options.set_row_groups([[group.number]])
        table = plc.io.parquet.read_parquet(options)
        plc.utils.CUDF_DEFAULT_STREAM.synchronize()
        types = {int(getattr(plc.TypeId, _type_id(name))): name for name in TYPES}
        columns = dict(zip(table.column_names(), table.columns, strict=True))
        for name in self._names():
            own = columns[name]
            if own.size() != group.rows:
                raise ValueError(f"column '{name}' has {own.size()} rows, not {group.rows}")
            if (kind := int(own.type().id())) not in types:
                raise TypeError(f"column '{name}' is of cuDF's type {kind}")
            about = (own.data(), types[kind])
            mask, first = own.null_mask(), own.offset()
            if name in self._columns:
                feature, flag = self._columns[name]
                yield Column(*about, feature, mask, first, flag)
            if name == self._weight:
                yield Column(*about, None, mask, first)

    def _names(self) -> list[str]:
        """Return the columns that the GPU decodes."""
        weight = [] if self._weight is None else [self._weight]
        return list(dict.fromkeys([*self._columns, *weight]))

    def _explain(self, group: RowGroup) -> None:
        """Let Arrow read the row group as it would without a GPU, and say what is wrong."""
        plan, n = self._plan, group.rows
        weight = None if plan.weight is None else np.empty(n)
        _fill(plan, group, np.empty((n, plan.width), np.float32), weight)


def _fill(
    plan: ShardPlan, group: RowGroup, x: NDArray[np.float32], weight: NDArray[np.float64] | None
) -> None:
    """Decode a row group by Arrow into x (rows, d) and weight (rows,)."""
    for batch in plan.batches(group):
        start = batch.start - group.start
        rows = slice(start, start + batch.columns.num_rows)
        fill(plan, batch, x[rows], None if weight is None else weight[rows])


def _type_id(name: str) -> str:
    """Return cuDF's name of a type."""
    return "BOOL8" if name == "bool" else name.upper()


def _differs(plan: ShardPlan, group: RowGroup, what: str) -> str:
    path = plan.storage.relative(group.piece.path)
    return f"{path}: row group {group.number}: cuDF {what}, and Arrow can read it: {_STEP}"
