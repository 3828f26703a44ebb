"""Read Parquet row groups into a shard on a GPU: cuDF decodes there, and rows never leave it.

cuDF decodes numeric columns. Arrow decodes the others, as without a GPU, and they are then moved.
Both readers give the same bits and refuse the same files: if a row group fails, Arrow reads it
again and reports the error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.backends.cuda import gpus
from gpuseg.backends.cuda.decoded import TYPES, Column, DecodedRows
from gpuseg.errors import DataError, ResourceError, set_key
from gpuseg.io.library_errors import first_line
from gpuseg.io.parquet.checksums import are_sound
from gpuseg.io.parquet.shard_plan import RowGroup, ShardPlan, fill, load_shard
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.device_shard import DeviceShard
from gpuseg.sharding.shard import Shard

_BACKEND = "cuda"

_DECODING_ROWS = 6
"""Memory for decoding a row group, in multiples of its rows: compressed and decompressed pages, and
columns of up to 8 bytes per value, where rows have 4."""

_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, OSError)
"""Python types of cuDF's C++ exceptions, except for those of memory."""

_HINT = set_key("reader", "arrow")


def unavailable() -> str | None:
    """Return why cuDF cannot be used here, or None if it can."""
    try:
        import pylibcudf  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:  # its libraries may be missing too
        return f"cuDF cannot be imported ({first_line(error)})"
    return None


def load_on_gpu(
    plan: ShardPlan, context: TaskContext, by_arrow: Sequence[str], must: bool
) -> Shard:
    """Read a shard into GPU memory: float32 features, float64 weights, NaN for missing values.

    If the GPU has too little memory, Arrow reads the shard into host memory.

    Parameters
    ----------
    by_arrow : sequence of str
        Columns that Arrow decodes; it also decodes those that are measured from an origin.
    must : bool
        Whether too little GPU memory is an error.

    Raises
    ------
    DataError
        As `io.parquet.shard_plan.load_shard`.
    ResourceError
        If cuDF is not installed; for a row group that only Arrow can decode; with `must`, if the
        GPU has too little memory.
    """
    if reason := unavailable():
        raise ResourceError(
            "reader.no_cudf",
            f"a worker has no cuDF: {reason}",
            hint=f"install it there, or {_HINT}",
            parameter="reader",
        )
    groups = plan.groups()
    largest = max(group.rows for group in groups)
    if registry.get(_BACKEND).fits(plan.rows + _DECODING_ROWS * largest, plan.width):
        try:
            return _ShardReader(plan, by_arrow).load(groups, context)
        except MemoryError:  # another process took the memory
            pass
    if must:
        raise ResourceError(
            "reader.no_gpu_memory",
            f"the GPU has too little memory for the {plan.rows:,} rows of a shard and one row "
            "group",
            value="cudf",
            hint="use more GPUs, smaller row groups, or `reader` = 'auto'",
            parameter="reader",
        )
    return load_shard(plan, context)


@dataclass(frozen=True)
class _FromHost:
    """Columns of a row group that Arrow decoded: features (n, rows) and weights (rows,)."""

    features: NDArray[np.float32] | None
    weight: NDArray[np.float64] | None


class _ShardReader:
    """Read one shard.

    Parameters
    ----------
    plan : ShardPlan
    by_arrow : sequence of str
    """

    def __init__(self, plan: ShardPlan, by_arrow: Sequence[str]) -> None:
        self._plan = plan
        self._columns: dict[str, tuple[int, int | None]] = {}
        self._host_features: list[int] = []
        self._footers: dict[str, pq.FileMetaData] = {}
        host_columns = {*by_arrow, *(e.column for e in plan.encoders if e.has_origin)}
        encoders, f = [], 0
        for encoder in plan.encoders:
            width = encoder.n_features
            if encoder.column in host_columns:
                encoders.append(encoder)
                self._host_features += range(f, f + width)
            elif encoder.kind == "is missing":  # these come after the numbers
                self._columns[encoder.column] = (self._columns[encoder.column][0], f)
            else:
                self._columns[encoder.column] = (f, None)
            f += width
        weight = plan.weight if plan.weight in by_arrow else None
        self._host_plan = replace(plan, encoders=tuple(encoders), weight=weight)
        self._weight = plan.weight if weight is None else None

    def load(self, groups: Sequence[RowGroup], context: TaskContext) -> Shard:
        """Read all row groups: host work on threads, GPU work one group after the other."""
        plan = self._plan
        decoded = DecodedRows(gpus.launcher(), plan.rows, plan.width, plan.weight is not None)
        for group, host in zip(groups, context.map(self._on_host, groups), strict=True):
            rows = slice(group.start, group.start + group.rows)
            on_gpu = self._on_gpu(group)
            plan.storage.refuse_change(group.part.path, group.part.version)
            if decoded.write(rows, on_gpu, host.features, self._host_features, host.weight):
                self._explain(group)
                raise _differs(plan, group, "reads different values")
            context.report(group.rows)
        shard = DeviceShard(decoded.x, decoded.weight, _BACKEND, plan)
        if plan.drop_missing:
            shard.drop_missing(context)
        return shard

    def _on_host(self, group: RowGroup) -> _FromHost:
        """Verify the pages that the GPU will decode, and decode the other columns."""
        if not self._is_sound(group):
            self._explain(group)
        plan, n = self._host_plan, group.rows
        features = np.empty((plan.width, n), np.float32) if plan.encoders else None
        weight = None if plan.weight is None else np.empty(n)
        if features is None and weight is None:
            return _FromHost(None, None)
        x = np.empty((n, 0), np.float32) if features is None else features.T
        try:
            _fill(plan, group, x, weight)
        except DataError:
            self._explain(group)  # the first wrong column may be another one
            raise
        return _FromHost(features, weight)

    def _is_sound(self, group: RowGroup) -> bool:
        names, path = self._names(), group.part.path
        if path not in self._footers:
            with self._plan.storage.open_parquet(path, group.part.version) as file:
                self._footers[path] = file.metadata
        footer = self._footers[path].row_group(group.number)
        chunks = [footer.column(i) for i in range(footer.num_columns)]
        return are_sound(path, [chunk for chunk in chunks if chunk.path_in_schema in names])

    def _on_gpu(self, group: RowGroup) -> list[Column]:
        """Decode a row group; the columns are complete on return."""
        try:
            return list(self._decoded(group))
        except _FAILURES as error:
            failed = first_line(error)
        self._explain(group)
        raise _differs(self._plan, group, f"cannot decode it ({failed})")

    def _decoded(self, group: RowGroup) -> Iterator[Column]:
        import pylibcudf as plc

        source = plc.io.SourceInfo([group.part.path])
        builder = plc.io.parquet.ParquetReaderOptions.builder(source)
        options = builder.use_pandas_metadata(False).build()
        options.set_column_names(self._names())
        options.set_row_groups([[group.number]])
        table = plc.io.parquet.read_parquet(options)
        plc.utils.CUDF_DEFAULT_STREAM.synchronize()
        types = {int(getattr(plc.TypeId, _type_id(name))): name for name in TYPES}
        columns = dict(zip(table.column_names(), table.columns, strict=True))
        for name in self._names():
            column = columns[name]
            if column.size() != group.rows:
                raise ValueError(f"column '{name}' has {column.size()} rows, not {group.rows}")
            if (kind := int(column.type().id())) not in types:
                raise TypeError(f"column '{name}' has cuDF type {kind}")
            data = (column.data(), types[kind])
            mask, first = column.null_mask(), column.offset()
            if name in self._columns:
                feature, flag = self._columns[name]
                yield Column(*data, feature, mask, first, flag)
            if name == self._weight:
                yield Column(*data, None, mask, first)

    def _names(self) -> list[str]:
        """Return the columns that the GPU decodes."""
        weight = [] if self._weight is None else [self._weight]
        return list(dict.fromkeys([*self._columns, *weight]))

    def _explain(self, group: RowGroup) -> None:
        """Read the row group by Arrow, which raises the error of a wrong one."""
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


def _differs(plan: ShardPlan, group: RowGroup, problem: str) -> ResourceError:
    path = plan.storage.relative(group.part.path)
    return ResourceError(
        "reader.cudf_differs",
        f"{path}: row group {group.number}: cuDF {problem}, but Arrow can read it",
        hint=_HINT,
        parameter="reader",
    )
