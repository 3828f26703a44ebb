"""The files of the customers whose segment changed: id, from, to."""

from collections.abc import Iterator
from itertools import chain, islice

import pyarrow as pa

from gpuseg.io.output.assignments import Part, write_batches
from gpuseg.io.output.base import Staging
from gpuseg.runtime.executor import ONE_THREAD

CHANGES = "_changes"
"""Folder of the files."""

FROM, TO = "from", "to"
"""Columns of the older and the new segment; null is not in that output."""

_GROUP_ROWS = 131_072

_GROUPS_PER_FILE = 8


def write_changes(staging: Staging, id: str, tables: Iterator[pa.Table]) -> list[Part]:
    """Write changes; files and row groups are cut by nothing but the number of rows.

    Parameters
    ----------
    staging : Staging
    id : str
        Column of the ids.
    tables : iterator of Table
        Consecutive rows: ids, `from`, `to`; at least one table.

    Returns
    -------
    list of Part
        At least one: without a change it has no rows.

    Raises
    ------
    ResourceError
        If a file cannot be written.
    """
    staging.make(CHANGES)
    parts: list[Part] = []
    groups = _groups(tables)
    for first in groups:
        batches = (group.columns for group in chain([first], islice(groups, _GROUPS_PER_FILE - 1)))
        name = f"{CHANGES}/{staging.part_name(len(parts), 1)}"
        parts.append(write_batches(staging, name, [id, FROM, TO], [FROM, TO], batches, ONE_THREAD))
    return parts


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Cut consecutive tables into batches of equal numbers of rows; the last one is shorter."""
    waiting = next(tables)
    n_groups = 0
    for table in tables:
        waiting = pa.concat_tables([waiting, table])
        while waiting.num_rows >= _GROUP_ROWS:
            yield _batch(waiting.slice(0, _GROUP_ROWS))
            waiting = waiting.slice(_GROUP_ROWS)
            n_groups += 1
    for start in range(0, waiting.num_rows or (n_groups == 0), _GROUP_ROWS):
        yield _batch(waiting.slice(start, _GROUP_ROWS))


def _batch(rows: pa.Table) -> pa.RecordBatch:
    columns = [column.combine_chunks() for column in rows.columns]
    return pa.record_batch(columns, schema=rows.schema)
