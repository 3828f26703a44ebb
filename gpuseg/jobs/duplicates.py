"""Ids: rows with the id of an earlier row, and features that look like ids or row numbers."""

import re
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import DataError, set_key
from gpuseg.formatting import count_with
from gpuseg.io.output.assignments import Part
from gpuseg.io.parquet.ids import (
    are_distinct,
    count_duplicates,
    duplicate_rows,
    split_ids,
    split_ids_and_rows,
)
from gpuseg.jobs.plan import InputTable
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.sharding import row_passes as passes
from gpuseg.sharding.shard import Shard

_RANGES_PER_SHARD = 4
"""Ranges of the hashed ids per shard, so that threads share the sorting and merging."""

_LIKE_AN_ID = re.compile(r"(?i:(^|[_\s-])(id|key|uuid)$)|[a-z]I[dD]$")

_LIKE_A_ROW_NUMBER = re.compile(
    r"(?i)index|level_\d+|row[_ ]?(nr|no|num|number|id|index|names?)|\.\.\.1"
)
"""Names that pandas, Polars, R and databases give to numbers of rows, and people to features."""


def named_like_ids(table: InputTable, features: Sequence[str]) -> list[str]:
    """Return features that are named like ids and were taken by default."""
    if table.features is not None or table.id is not None:
        return []
    return [name for name in features if is_named_like_an_id(name)]


def is_named_like_an_id(name: str) -> bool:
    """Return whether a column has a name such as "customer_id" or "customerId"."""
    return bool(_LIKE_AN_ID.search(name))


def named_like_row_numbers(table: InputTable, features: Sequence[str]) -> list[str]:
    """Return features that are named like numbers of rows and were taken by default."""
    if table.features is not None:
        return []
    return [name for name in features if _LIKE_A_ROW_NUMBER.fullmatch(name)]


def number_rows(executor: Executor) -> int:
    """Set the number of each shard's first row; return the number of rows."""
    sizes = executor.map(passes.n_rows)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1].tolist()
    executor.apply(passes.set_first_row, per_shard=starts)
    return sum(sizes)


def drop_duplicates(executor: Executor, id: str, rule: str, drop_missing: bool) -> int:
    """Drop every row with the id of an earlier row; return how many there were.

    Rows with missing values are dropped after that if `drop_missing` is set. Ids are compared by
    64-bit hashes: among ten million different ids, it is almost certain that no two are equal.

    Raises
    ------
    DataError
        With the rule "error", if there is such a row.
    """
    ranges = _RANGES_PER_SHARD * executor.n_shards
    duplicates = executor.shuffle_reduce(split_ids_and_rows, duplicate_rows, ranges)
    rows = np.sort(np.concatenate(duplicates))
    if rows.size and rule == "error":
        raise DataError(
            "id.duplicates",
            value=id,
            parameter="id",
            rule=f"{count_with(len(rows), 'row', 'has', 'have')} the id of another row, and "
            "`duplicates` = 'error' allows none",
            hint=f"remove them, or {set_key('duplicates', 'first')} (or 'keep')",
        )
    ends = np.cumsum(executor.map(passes.n_rows))
    starts = np.append(0, ends[:-1])
    cuts = np.searchsorted(rows, ends)[:-1]
    in_shard = [part - start for part, start in zip(np.split(rows, cuts), starts, strict=True)]
    executor.apply(_drop_rows, drop_missing, per_shard=in_shard)
    return len(rows)


def count_duplicate_ids(executor: Executor, parts: Sequence[Part], turns: int) -> int:
    """Return the number of rows with the id of another row; rows without an id do not count.

    The ids are compared in several turns, each with a part of the hashes, to save memory.

    Parameters
    ----------
    parts : sequence of Part
        All parts, as they were written.
    """
    if are_distinct([part.ids for part in parts]):
        return 0
    n_duplicates = _count_duplicates(executor, turns)
    if n_duplicates:  # only then rows without an id make a difference
        n_duplicates = _count_duplicates(executor, turns, True)
    return n_duplicates


def duplicates_warning(id: str, n_duplicates: int) -> str:
    """Return the warning that rows have the id of another row."""
    return (
        f"input.id = '{id}': {count_with(n_duplicates, 'row', 'has', 'have')} the id of another "
        "row; each row has its own line in the output"
    )


def _count_duplicates(executor: Executor, turns: int, leave_out_missing: bool = False) -> int:
    return sum(
        count
        for turn in range(turns)
        for count in executor.shuffle_reduce(
            partial(split_ids, turn=turn, turns=turns, leave_out_missing=leave_out_missing),
            count_duplicates,
            _RANGES_PER_SHARD * executor.n_shards,
        )
    )


def _drop_rows(
    shard: Shard, context: TaskContext, drop_missing: bool, rows: NDArray[np.int64]
) -> None:
    kept = np.ones(shard.n_rows, bool)
    kept[rows] = False
    shard.filter_rows(context, kept)
    if drop_missing:
        shard.drop_missing(context)
