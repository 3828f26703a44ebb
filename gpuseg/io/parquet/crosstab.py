"""Count the customers of each segment by the values of columns that are not clustered."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import to_numpy
from gpuseg.errors import DataError
from gpuseg.io.parquet.shard_plan import RowGroup, ShardPlan, read_batches
from gpuseg.preprocessing.encoding.arrow_columns import as_text
from gpuseg.runtime.executor import CacheLost, Executor, TaskContext
from gpuseg.sharding.shard import Shard

MAX_VALUES = 1000
"""Maximum values of an audited column; a column with more identifies people."""

_BATCH_ROWS = 65_536
_DROPPED = -(2**31)

Labels = NDArray[np.int32]

Counts = dict[str, Counter[tuple[int, str | None]]]
"""By column: number of customers by (segment, value); None is a missing value."""


def cross_tabulate(
    executor: Executor, columns: Sequence[str], merge: Callable[[Labels], Labels]
) -> Counts:
    """Count the customers of the loaded and labeled shards.

    Parameters
    ----------
    merge : callable
        Takes labels, and returns them with one number for all segments that are counted together.

    Raises
    ------
    DataError
        For columns that cannot be categories or have more than `MAX_VALUES` values.
    """
    totals = reduce(_merged, executor.map(_count, list(columns), merge))
    for name, counts in totals.items():
        _refuse_many(name, counts)
    return totals


def _count(
    shard: Shard, context: TaskContext, columns: list[str], merge: Callable[[Labels], Labels]
) -> Counts:
    if shard.labels is None:
        raise CacheLost
    plan: ShardPlan = shard.source
    labels = merged = merge(shard.labels)
    if shard.kept is not None:
        labels = np.full(plan.rows, _DROPPED, np.int32)
        labels[shard.kept] = merged

    def on(group: RowGroup) -> Counts:
        counts: Counts = {name: Counter() for name in columns}
        start = group.start
        for batch in read_batches(plan, group.part, group.number, columns, _BATCH_ROWS):
            segments = labels[start : start + batch.num_rows]
            start += batch.num_rows
            for name in columns:
                counts[name].update(_pairs(segments, batch.column(name), name))
                _refuse_many(name, counts[name])
        return counts

    return reduce(_merged, context.map(on, plan.groups()), {name: Counter() for name in columns})


def _pairs(
    labels: NDArray[np.int32], column: pa.Array, name: str
) -> Counter[tuple[int, str | None]]:
    """Count (segment, value) pairs of some rows, without dropped rows."""
    try:
        _, text = as_text(column, name)
    except DataError:
        raise DataError(
            "audit.not_a_category",
            f"'{name}' has type {column.type}",
            rule="an audited column must hold text, integers or booleans",
            hint="make groups of it, such as 'under 30', or leave it out",
            parameter="audit_columns",
        ) from None
    encoded = pc.dictionary_encode(text)
    values = [*encoded.dictionary.to_pylist(), None]
    code = to_numpy(pc.fill_null(encoded.indices, len(values) - 1))
    kept = labels != _DROPPED
    pairs, counts = np.unique(np.stack([labels[kept], code[kept]]), axis=1, return_counts=True)
    return Counter({
        (int(segment), values[value]): int(count)
        for (segment, value), count in zip(pairs.T, counts, strict=True)
    })  # fmt: skip


def _refuse_many(name: str, counts: Counter[tuple[int, str | None]]) -> None:
    if len({value for _, value in counts}) > MAX_VALUES:
        raise DataError(
            "audit.too_many_values",
            f"'{name}' has more than {MAX_VALUES:,} different values and may identify people",
            hint="make groups of it, or leave it out",
            parameter="audit_columns",
        )


def _merged(one: Counts, other: Counts) -> Counts:
    for name, counts in one.items():
        counts.update(other[name])
    return one
