"""How many customers of each segment have which value in columns that are not clustered by."""

from collections import Counter
from collections.abc import Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpuseg.errors import DataError
from gpuseg.io.parquet.shard_plan import RowGroup, ShardPlan, read_batches
from gpuseg.preprocessing.encoding.arrow_columns import as_text
from gpuseg.runtime.executor import CacheLost, Executor, TaskContext
from gpuseg.sharding.shard import Shard

MAX_VALUES = 1000
"""A column of more is no group of people, but says who they are."""

_BATCH_ROWS = 65_536
_DROPPED = -(2**31)

Counts = dict[str, Counter[tuple[int, str | None]]]
"""By column: customers by segment and value; None is a missing one."""


def cross_tabulate(executor: Executor, columns: Sequence[str]) -> Counts:
    """Count the placed shards, whose labels are assigned.

    Raises
    ------
    DataError
        For columns that cannot be categories, and those of more than `MAX_VALUES` values.
    """
    found = reduce(_merged, executor.map(_count, list(columns)))
    for name, counts in found.items():
        _refuse_many(name, counts)
    return found


def _count(shard: Shard, env: TaskContext, columns: list[str]) -> Counts:
    if shard.labels is None:
        raise CacheLost
    plan: ShardPlan = shard.source
    labels = shard.labels
    if shard.kept is not None:
        labels = np.full(plan.rows, _DROPPED, np.int32)
        labels[shard.kept] = shard.labels

    def on(group: RowGroup) -> Counts:
        counts: Counts = {name: Counter() for name in columns}
        start = group.start
        for batch in read_batches(plan, group.piece, group.number, columns, _BATCH_ROWS):
            own = labels[start : start + batch.num_rows]
            start += batch.num_rows
            for name in columns:
                counts[name].update(_pairs(own, batch.column(name), name))
                _refuse_many(name, counts[name])
        return counts

    return reduce(_merged, env.map(on, plan.groups()), {name: Counter() for name in columns})


def _pairs(
    labels: NDArray[np.int32], column: pa.Array, name: str
) -> Counter[tuple[int, str | None]]:
    """Count segments and values of some rows; rows that were dropped are in no segment."""
    try:
        _, text = as_text(column, name)
    except DataError:
        raise DataError(
            f"audit.columns: '{name}' holds {column.type}, and an audit compares groups: text, "
            "whole numbers or booleans; make groups of it, such as 'under 30', or leave it out"
        ) from None
    encoded = pc.dictionary_encode(text)
    values = [*encoded.dictionary.to_pylist(), None]
    code = pc.fill_null(encoded.indices, len(values) - 1).to_numpy(zero_copy_only=False)
    kept = labels != _DROPPED
    pairs, counts = np.unique(np.stack([labels[kept], code[kept]]), axis=1, return_counts=True)
    return Counter({
        (int(segment), values[value]): int(count)
        for (segment, value), count in zip(pairs.T, counts, strict=True)
    })  # fmt: skip


def _refuse_many(name: str, counts: Counter[tuple[int, str | None]]) -> None:
    if len({value for _, value in counts}) > MAX_VALUES:
        raise DataError(
            f"audit.columns: '{name}' has more than {MAX_VALUES:,} different values: it says who "
            "somebody is, and of which group; leave it out, or make groups of it"
        )


def _merged(one: Counts, other: Counts) -> Counts:
    for name, counts in one.items():
        counts.update(other[name])
    return one
