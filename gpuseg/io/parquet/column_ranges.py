"""Find the origins of columns before their values become float32 (`numerics.origin`).

A column is far from zero only if each part of its rows is. So the footer of the first file rules
out nearly every column, and the values of the others alone are read.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import islice

import numpy as np
import pyarrow as pa

from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.read_batches import minima_and_maxima, wrap_decoding
from gpuseg.io.parquet.shard_plan import RowGroup, ShardPlan, plan_itself, read_batches
from gpuseg.numerics.origin import ColumnRanges
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers
from gpuseg.runtime.executor import Executor, TaskContext

_BATCH_ROWS = 65_536
_FIRST_ROWS = 64

_UNKNOWN = (np.inf, -np.inf)
"""The range of no values."""


def find_origins(executor: Executor, dataset: Dataset, columns: Sequence[str]) -> dict[str, float]:
    """Return the origins of those columns of numbers that have one other than 0.

    Raises
    ------
    DataError
        For files that cannot be decoded.
    """
    candidates = _may_be_far(dataset, columns)
    if not candidates:
        return {}
    executor.load(plan_itself, dataset.plan_shards(len(executor.workers()), drop_missing=False))
    ranges = reduce(ColumnRanges.merge, executor.map(_ranges, candidates))
    origins = zip(candidates, ranges.origins().tolist(), strict=True)
    return {name: origin for name, origin in origins if origin}


def _may_be_far(dataset: Dataset, columns: Sequence[str]) -> list[str]:
    """Return the columns that the first row group does not rule out.

    By its statistics, or by its first rows for columns without any.
    """
    file = dataset.files[0]
    wide = [
        name
        for name in columns
        if name not in file.constants and _loses_digits(file.schema.field(name).type)
    ]
    if not wide:
        return []
    storage, number = dataset.storage, next(i for i, rows in enumerate(file.group_rows) if rows)
    with (
        storage.open_parquet(file.path, file.version) as opened,
        wrap_decoding(storage, file.path, file.version),
    ):
        known = minima_and_maxima(opened, number, wide)
        ranges = {name: (float(low), float(high)) for name, (low, high) in known.items()}
        if unknown := [name for name in wide if name not in ranges]:
            batches = opened.iter_batches(_FIRST_ROWS, row_groups=[number], columns=unknown)
            for batch in islice(batches, 1):  # a footer may tell of rows that are not there
                first = _ranges_of_batch(batch.select(unknown))
                bounds = zip(first.low.tolist(), first.high.tolist(), strict=True)
                ranges |= dict(zip(unknown, bounds, strict=True))
    low, high = np.array([ranges.get(name, _UNKNOWN) for name in wide]).T
    far = ColumnRanges(low, high, np.zeros(len(wide), bool)).are_far()
    return [name for name, is_far in zip(wide, far.tolist(), strict=True) if is_far]


def _loses_digits(kind: pa.DataType) -> bool:
    """Return whether float32 cannot hold every value of a type of numbers."""
    t = pa.types
    small = (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.float16(), pa.float32())
    return not t.is_boolean(kind) and kind not in small


def _ranges(plan: ShardPlan, context: TaskContext, columns: list[str]) -> ColumnRanges:
    """Return the ranges of columns in one shard, read with several row groups at a time."""

    def read(group: RowGroup) -> ColumnRanges:
        batches = read_batches(plan, group.part, group.number, columns, _BATCH_ROWS)
        return reduce(ColumnRanges.merge, map(_ranges_of_batch, batches), _no_rows(len(columns)))

    return reduce(ColumnRanges.merge, context.map(read, plan.groups()), _no_rows(len(columns)))


def _no_rows(n_columns: int) -> ColumnRanges:
    return ColumnRanges.of(np.empty((0, n_columns)))


def _ranges_of_batch(batch: pa.RecordBatch) -> ColumnRanges:
    numbers = [as_numbers(column).astype(np.float64) for column in batch.columns]
    return ColumnRanges.of(np.stack(numbers, axis=1))
