"""Count categories and missing values before encoders are fitted."""

from collections.abc import Sequence
from functools import reduce

from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import (
    RowGroup,
    ShardPlan,
    plan_itself,
    read_batches,
    vectors_in_rows,
)
from gpuseg.preprocessing.encoding.fit_encoders import ColumnCounts
from gpuseg.runtime.executor import Executor, TaskContext

_BATCH_ROWS = 65_536


def count_columns(
    executor: Executor, dataset: Dataset, categories: Sequence[str], others: Sequence[str]
) -> dict[str, ColumnCounts]:
    """Count the categories of some columns and the missing values of others, over all rows.

    Raises
    ------
    DataError
        For columns that cannot be categories and files that cannot be decoded.
    """
    plans = dataset.plan_shards(len(executor.workers()), drop_missing=False)
    executor.load(plan_itself, plans)
    counts = executor.map(_count, list(categories), list(others))
    return reduce(_merged, counts)


def _count(
    plan: ShardPlan, context: TaskContext, categories: list[str], others: list[str]
) -> dict[str, ColumnCounts]:
    """Count the rows of one shard, with several row groups at a time."""
    names = [*categories, *others]
    shapes = {e.column: e.shape for e in plan.encoders if e.kind == "vector"}

    def on(group: RowGroup) -> dict[str, ColumnCounts]:
        counts, start = {name: ColumnCounts() for name in names}, group.start
        for batch in read_batches(plan, group.part, group.number, names, _BATCH_ROWS):
            for name in names:
                with vectors_in_rows(plan, start, name):
                    counts[name].add(batch.column(name), name, name in categories, shapes.get(name))
            start += batch.num_rows
        return counts

    return reduce(_merged, context.map(on, plan.groups()))


def _merged(
    one: dict[str, ColumnCounts], other: dict[str, ColumnCounts]
) -> dict[str, ColumnCounts]:
    for name, counts in one.items():
        counts.merge(other[name], name)
    return one
