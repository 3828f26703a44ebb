"""Find the origins of columns before their values become float32 (`numerics.origin`).

A column is far from zero only if each part of its rows is. So the footer of the first file rules
out nearly every column, and the values of the others alone are read.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import reduce
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.read_batches import checked, minima_and_maxima, wrap_decoding
from gpuseg.io.parquet.shard_plan import (
    RowGroup,
    ShardPlan,
    plan_itself,
    read_batches,
    vectors_in_rows,
)
from gpuseg.io.parquet.unify_files import converted
from gpuseg.numerics.origin import ColumnRanges
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers
from gpuseg.preprocessing.encoding.fit_encoders import uncoded
from gpuseg.preprocessing.encoding.vectors import (
    Shape,
    WrongVector,
    as_matrix,
    type_of_elements,
)
from gpuseg.runtime.executor import Executor, TaskContext

_BATCH_ROWS = 65_536
_FIRST_ROWS = 64

_BATCH_VALUES = 2**22
"""Values read at a time, so that long vectors take no more memory."""

_NOT_EXACT = np.zeros(1, bool)
"""Of a range that the statistics of a row group have."""


def find_origins(executor: Executor, dataset: Dataset, columns: Sequence[str]) -> dict[str, float]:
    """Return the origins of those features of columns of numbers that have one other than 0.

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
    encoders = [uncoded(name, dataset.shapes) for name in candidates]
    names = [name for encoder in encoders for name in encoder.feature_names()]
    origins = zip(names, ranges.origins().tolist(), strict=True)
    return {name: origin for name, origin in origins if origin}


def _may_be_far(dataset: Dataset, columns: Sequence[str]) -> list[str]:
    """Return the columns that the first row group does not rule out.

    By its statistics, or by its first rows for columns without any.
    """
    file = dataset.files[0]
    wide = [
        name
        for name in columns
        if name not in file.constants and _loses_digits(dataset.types[name])
    ]
    if not wide:
        return []
    storage, number = dataset.storage, next(i for i, rows in enumerate(file.group_rows) if rows)
    with (
        storage.open_parquet(file.path, file.version) as opened,
        wrap_decoding(storage, file.path, file.version),
    ):
        known = minima_and_maxima(opened, number, wide)
        ranges = {
            name: ColumnRanges(np.array([low], float), np.array([high], float), _NOT_EXACT)
            for name, (low, high) in known.items()
        }
        if unknown := [name for name in wide if name not in ranges]:
            batches = opened.iter_batches(_FIRST_ROWS, row_groups=[number], columns=unknown)
            for batch in islice(batches, 1):  # a footer may tell of rows that are not there
                first = converted(
                    checked(batch, unknown), file.conversions, storage.relative(file.path)
                ).columns
                for name, column in zip(unknown, first, strict=True):
                    with suppress(WrongVector):  # the pass over all rows will say where it is
                        numbers = _numbers(column, dataset.shapes.get(name))
                        ranges[name] = ColumnRanges.of(numbers)
    return [name for name in wide if name not in ranges or _may_get_origin(ranges[name])]


def _may_get_origin(part: ColumnRanges) -> bool:
    """Return whether one of the columns may be far from zero, by a part of its rows.

    One with a 0 is far only if it has nothing else; then 0 is its origin.
    """
    has_zero = (part.low <= 0) & (part.high >= 0)
    return bool((part.are_far() & ~has_zero).any())


def _loses_digits(kind: pa.DataType) -> bool:
    """Return whether float32 cannot hold every value of a type of numbers or vectors."""
    t, kind = pa.types, type_of_elements(kind)
    small = (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.float16(), pa.float32())
    return not t.is_boolean(kind) and kind not in small


def _ranges(plan: ShardPlan, context: TaskContext, columns: list[str]) -> ColumnRanges:
    """Return the ranges of features in one shard, read with several row groups at a time."""
    encoders = {encoder.column: encoder for encoder in plan.encoders}
    width = sum(encoders[name].n_features for name in columns)
    no_rows = ColumnRanges.of(np.empty((0, width)))
    n_rows = min(_BATCH_ROWS, max(_BATCH_VALUES // width, 1))

    def read(group: RowGroup) -> ColumnRanges:
        ranges, start = no_rows, group.start
        for batch in read_batches(plan, group.part, group.number, columns, n_rows):
            numbers = []
            for name in columns:
                with vectors_in_rows(plan, start, name):
                    numbers.append(_numbers(batch.column(name), encoders[name].shape))
            ranges = ranges.merge(ColumnRanges.of(np.concatenate(numbers, axis=1)))
            start += batch.num_rows
        return ranges

    return reduce(ColumnRanges.merge, context.map(read, plan.groups()), no_rows)


def _numbers(column: pa.Array, shape: Shape | None) -> NDArray[np.float64]:
    """Return numbers, or the elements of vectors, float64 (n, features)."""
    values = as_matrix(column, shape) if shape else as_numbers(column)[:, None]
    return values.astype(np.float64, copy=False)
