"""Plans of shards, and the decoding of Parquet row groups into features."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.errors import DataError
from gpuseg.formatting import numbered_row
from gpuseg.io.file_version import FileVersion
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.parquet.read_batches import read_row_groups
from gpuseg.io.parquet.unify_files import Conversion, converted
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage
from gpuseg.numerics.to_float32 import write_columns
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.encoding.vectors import WrongVector, as_matrix
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

PART_ROWS = 1_048_576
"""Maximum rows of an output part, if row groups permit; parts are written in parallel."""

_BATCH_ROWS = 131_072
"""Maximum number of rows decoded at a time. More rows are decoded faster, by a third at 16 columns
if it is the whole row group instead of 16,384 rows."""

_BATCH_ROWS_WITH_TEXT = 16_384
"""The same where a column has categories: their texts may be long."""

_BATCH_VALUES = 2**21
"""Values decoded at a time, so that wide tables take no more memory: 16 MiB of float64."""


@dataclass(frozen=True)
class PartPlan:
    """Consecutive row groups of one file that make one part of the output.

    Attributes
    ----------
    path : str
    row_groups : tuple of int
    group_rows : tuple of int
        Rows of each row group, by the footer.
    number : int
        Number of the part in the order of the rows of the whole data.
    constants : dict
        Hive partition columns and their values, pyarrow scalars.
    version : FileVersion
        The version of the file that the plan is made for.
    conversions : mapping
        Columns whose type in this file is not that of all files.
    """

    path: str
    row_groups: tuple[int, ...]
    group_rows: tuple[int, ...]
    number: int
    constants: dict[str, Any]
    version: FileVersion
    conversions: Mapping[str, Conversion] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all row groups."""
        return sum(self.group_rows)

    def with_group(self, group: int, rows: int) -> "PartPlan":
        """Return the plan with the next row group of the file added."""
        return replace(
            self, row_groups=(*self.row_groups, group), group_rows=(*self.group_rows, rows)
        )


@dataclass(frozen=True)
class RowGroup:
    """One row group of a shard.

    Attributes
    ----------
    part : PartPlan
    number : int
        Number of the row group in its file.
    start, rows : int
        First row within the shard as read, and number of rows.
    """

    part: PartPlan
    number: int
    start: int
    rows: int


@dataclass(frozen=True)
class Batch:
    """Decoded rows; `start` is the position of the first one within the shard as read."""

    start: int
    columns: pa.RecordBatch


@dataclass(frozen=True)
class ShardPlan:
    """The row groups and columns that one worker reads.

    Attributes
    ----------
    storage : Storage
    parts : tuple of PartPlan
    encoders : tuple of Encoder
        They turn columns into features.
    weight, id : str or None
    drop_missing : bool
        Whether rows with a missing feature are dropped.
    n_parts : int
        Number of parts of the whole output.
    id_key : Key or None
        The key of the hashes that replace ids in the output.
    null_values : tuple of str
        Text that stands for no id.
    carried : tuple of str
        Columns that the output has too, as they are; only with an id.
    """

    storage: Storage
    parts: tuple[PartPlan, ...]
    encoders: tuple[Encoder, ...]
    weight: str | None
    id: str | None
    drop_missing: bool
    n_parts: int
    id_key: Key | None = None
    null_values: tuple[str, ...] = NULL_VALUES
    carried: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows to read."""
        return sum(part.rows for part in self.parts)

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(encoder.n_features for encoder in self.encoders)

    def starts(self) -> list[int]:
        """Return the first row of each part within the shard as read."""
        return list(accumulate((part.rows for part in self.parts), initial=0))[:-1]

    def groups(self) -> list[RowGroup]:
        """Return the row groups in the order of their rows."""
        groups = []
        for part, start in zip(self.parts, self.starts(), strict=True):
            for number, rows in zip(part.row_groups, part.group_rows, strict=True):
                groups.append(RowGroup(part, number, start, rows))
                start += rows
        return groups

    def batches(self, group: RowGroup, max_rows: int = _BATCH_ROWS) -> Iterator[Batch]:
        """Decode features and weights of a row group, at most `max_rows` rows at a time."""
        others = [self.weight] if self.weight else []
        n_rows = min(self.rows_per_batch(len(others)), max_rows)
        return self._batches_with(group, others, n_rows)

    def scored_batches(self, group: RowGroup) -> Iterator[Batch]:
        """Decode features, ids and carried columns of a row group, some rows at a time."""
        others = [] if self.id is None else [self.id, *self.carried]
        return self._batches_with(group, others, self.rows_per_batch())

    def _batches_with(self, group: RowGroup, others: Sequence[str], n_rows: int) -> Iterator[Batch]:
        columns = dict.fromkeys(encoder.column for encoder in self.encoders)
        names = list(dict.fromkeys([*columns, *others]))
        start = group.start
        for batch in read_batches(self, group.part, group.number, names, n_rows):
            yield Batch(start, batch)
            start += batch.num_rows
            del batch  # the next rows take its memory

    def rows_per_batch(self, n_others: int = 0) -> int:
        """Return how many rows are decoded at a time, with so many weights beside the features."""
        columns = dict.fromkeys(encoder.column for encoder in self.encoders)
        n_elements = sum(e.n_features - 1 for e in self.encoders if e.kind == "vector")
        n_rows = min(_BATCH_ROWS, max(_BATCH_VALUES // (len(columns) + n_others + n_elements), 1))
        if any(encoder.kind not in ("number", "vector") for encoder in self.encoders):
            n_rows = min(n_rows, _BATCH_ROWS_WITH_TEXT)
        return n_rows

    def describe_row(self, row: int) -> str:
        """Describe the origin of a row as read; rows count from 0."""
        return numbered_row(*self.origin(row))

    def origin(self, row: int) -> tuple[str, int]:
        """Return the name of the file of a row as read, and its number there from 0."""
        i = max(i for i, start in enumerate(self.starts()) if start <= row)
        part = self.parts[i]
        with self.storage.open_parquet(part.path, part.version) as file:
            groups = range(part.row_groups[0])
            before = sum(file.metadata.row_group(g).num_rows for g in groups)
        return self.storage.relative(part.path), before + row - self.starts()[i]


def plan_itself(plan: ShardPlan, context: TaskContext) -> ShardPlan:
    """Return the plan as the shard, for passes over columns before the rows are loaded."""
    return plan


def load_shard(plan: ShardPlan, context: TaskContext) -> Shard:
    """Read a shard: float32 features, float64 weights, NaN for missing values.

    Raises
    ------
    DataError
        As `read_rows`.
    """
    x = np.empty((plan.rows, plan.width), np.float32)
    weight = None if plan.weight is None else np.empty(plan.rows)
    read_rows(plan, context, x, weight)
    shard = Shard(x, weight, source=plan)
    if plan.drop_missing:
        shard.drop_missing(context)
    return shard


def read_rows(
    plan: ShardPlan,
    context: TaskContext,
    x: NDArray[np.float32],
    weight: NDArray[np.float64] | None,
    done: Callable[[slice], None] = lambda rows: None,
) -> None:
    """Read the rows of a shard into x (n, d) and their weights into weight (n,).

    Parameters
    ----------
    done : callable
        Called with rows that have been read; it may be called by several threads.

    Raises
    ------
    DataError
        For a file that cannot be decoded, a value beyond float32, and a weight that is
        missing, negative or not finite.
    """

    def read(group: RowGroup) -> None:
        for batch in plan.batches(group):
            rows = slice(batch.start, batch.start + batch.columns.num_rows)
            fill(plan, batch, x[rows], None if weight is None else weight[rows])
            done(rows)
            context.report(batch.columns.num_rows)
            del batch  # the next rows take its memory

    for _ in context.map(read, plan.groups()):
        pass
    pa.default_memory_pool().release_unused()  # Arrow would keep it for the next files


def read_batches(
    plan: ShardPlan, part: PartPlan, group: int, columns: list[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield record batches of one row group, with the types of all files and partition columns.

    Raises
    ------
    DataError
        If a page cannot be decoded or its checksum does not match, the row group has other rows
        than its footer says, or the file has changed; for a value that the type of all files does
        not hold.
    """
    stored = [name for name in dict.fromkeys(columns) if name not in part.constants]
    n_rows = part.group_rows[part.row_groups.index(group)]
    for batch in read_row_groups(
        plan.storage, part.path, part.version, [group], n_rows, stored, rows
    ):
        batch = converted(batch, part.conversions, plan.storage.relative(part.path))
        decoded = dict(zip(batch.schema.names, batch.columns, strict=True))
        arrays = {
            name: decoded[name]
            if name in decoded
            else pa.repeat(part.constants[name], batch.num_rows)
            for name in columns
        }
        yield pa.record_batch(arrays)
        del batch, decoded, arrays  # the next rows take their memory


def fill(
    plan: ShardPlan, batch: Batch, x: NDArray[np.float32], weight: NDArray[np.float64] | None
) -> None:
    """Write the features of a batch into x (rows, d) and its weights into weight (rows,)."""
    numbers, f = list[tuple[int, NDArray[Any]]](), 0
    for encoder in plan.encoders:
        column, width = batch.columns.column(encoder.column), encoder.n_features
        if encoder.kind == "number":
            numbers.append((f, encoder.subtract_origin(as_numbers(column))))
        elif encoder.kind == "vector":
            with vectors_in_rows(plan, batch.start, encoder.column):
                values = encoder.subtract_origin(as_matrix(column, encoder.shape))
            with _beyond_is_infinite():
                x[:, f : f + width] = values
            _refuse_beyond(plan, x[:, f : f + width], encoder, batch.start, values)
        else:
            encoder.encode_into(column, x[:, f : f + width])
        f += width
    with _beyond_is_infinite():
        write_columns(x, numbers)
    encoders = [encoder for encoder in plan.encoders if encoder.kind == "number"]
    for encoder, (number, values) in zip(encoders, numbers, strict=True):
        _refuse_beyond(plan, x[:, number], encoder, batch.start, values)
    if weight is not None and plan.weight is not None:
        weights = as_numbers(batch.columns.column(plan.weight))
        weight[:] = _checked_weight(plan, batch.start, weights)


@contextmanager
def vectors_in_rows(
    plan: ShardPlan, start: int, column: str, parameter: str | None = "features"
) -> Iterator[None]:
    """Say of vectors that have another shape where they are; `start` is the first row.

    Raises
    ------
    DataError
    """
    try:
        yield
    except WrongVector as error:
        raise error.in_row(column, plan.describe_row(start + error.row), parameter) from None


def _beyond_is_infinite() -> np.errstate:
    """Let values beyond float32 become infinite, and a signalling NaN a quiet one."""
    return np.errstate(over="ignore", invalid="ignore")


def _refuse_beyond(
    plan: ShardPlan, out: NDArray[np.float32], encoder: Encoder, start: int, values: NDArray[Any]
) -> None:
    """Refuse finite values (n,) or (n, n_features) that out, the same as float32, has as infinite.

    Raises
    ------
    DataError
    """
    if values.dtype == np.float64 and _may_overflow(values) and np.isinf(out).any():
        beyond = np.argwhere(np.isinf(out) & np.isfinite(values))
        if beyond.size:
            row, *element = beyond[0].tolist()
            name = encoder.feature_names()[sum(element)]
            raise DataError(
                "feature.beyond_float32",
                f"feature '{name}': value {values[row, *element]:g} in "
                f"{plan.describe_row(start + row)} is beyond float32 (maximum 3.4e38)",
                hint="rescale the column or leave it out of `features`",
                parameter="features",
            )


def _may_overflow(values: NDArray[np.float64]) -> bool:
    """Whether a value is beyond float32, or missing; this is faster than to look at float32."""
    if not values.size:
        return False
    largest = np.finfo(np.float32).max
    return not (values.max() <= largest and values.min() >= -largest)


def _checked_weight(plan: ShardPlan, start: int, values: NDArray[Any]) -> NDArray[np.float64]:
    weight = values.astype(np.float64)
    wrong = np.flatnonzero(~((weight >= 0) & (weight <= np.finfo(np.float32).max)))
    if wrong.size:
        raise DataError(
            "weight.invalid",
            f"value {weight[wrong[0]]:g} in {plan.describe_row(start + int(wrong[0]))}",
            value=plan.weight,
            rule="weights must be numbers from 0 to 1e30",
            hint=_weight_hint(float(weight[wrong[0]])),
            parameter="weight",
        )
    return weight


def _weight_hint(weight: float) -> str:
    """Return the next step for a weight that is refused."""
    if math.isnan(weight):
        return "fill this weight, or drop the row"
    if weight < 0:
        return "correct this weight, or drop the row"
    return "divide all weights by the same number, or correct this one"
