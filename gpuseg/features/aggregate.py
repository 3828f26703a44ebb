"""Step 3 of `features.build`: from the lines of some buckets to a file with their customers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpuseg.backends import registry
from gpuseg.backends.customers import VALUES, TransactionLines
from gpuseg.backends.protocols import ParallelMap
from gpuseg.features.attributes import Join
from gpuseg.features.definitions import CUSTOMER_ID, FEATURES
from gpuseg.features.joins import Joined, attach
from gpuseg.features.quality import LineCounts, tally_of
from gpuseg.features.spill import gather
from gpuseg.io.output.base import Staging, cannot_write
from gpuseg.runtime.executor import TaskContext

_GROUP_ROWS = 2**17


@dataclass(frozen=True)
class Task:
    """What workers need to describe customers."""

    backend: str
    snapshot: int
    files: Sequence[str]
    n_buckets: int
    n_parts: int
    staging: Staging
    folder: str
    columns: tuple[str, ...]
    joins: tuple[tuple[Join, list[str]], ...]


@dataclass(frozen=True)
class Written:
    name: str
    rows: int
    bytes: int
    tally: LineCounts
    low: list[float]
    high: list[float]
    joined: list[Joined]


def describe_parts(_: Any, env: TaskContext, task: Task, parts: Sequence[int]) -> list[Written]:
    def describe(part: int) -> Written:
        first, last = (n * task.n_buckets // task.n_parts for n in (part, part + 1))
        tables, tally, joined = [], LineCounts(), [Joined()] * len(task.joins)
        for bucket in range(first, last):
            lines = gather(task.files, bucket, task.n_buckets, task.staging)
            table, own = features_of(
                lines, task.backend, task.snapshot, task.columns, TaskContext().map
            )
            tally += own
            for i, (join, files) in enumerate(task.joins):
                table, found = attach(table, join, files, bucket, task.n_buckets, task.staging)
                joined[i] += found
            tables.append(table)
        table = pa.concat_tables(tables)
        name = f"{task.folder}/" * bool(task.folder) + task.staging.part_name(part, task.n_parts)
        size = _write(table, name, task.staging)
        return Written(name, table.num_rows, size, tally, *_range(table, task.columns), joined)

    return list(env.map(describe, parts))


def features_of(
    lines: pa.Table, backend: str, snapshot: int, columns: Sequence[str], each: ParallelMap
) -> tuple[pa.Table, LineCounts]:
    """Return the features of the customers of some lines, in the order of their hashes."""
    ids = lines["customer"].combine_chunks().dictionary_encode()
    hashed = lines["hashed"].to_numpy()
    codes = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = [name for name in TransactionLines._fields if name != "customer"]
    own = TransactionLines(codes, *(lines[name].to_numpy() for name in names))
    found = registry.get_customers(backend).aggregate(own, len(ids.dictionary), snapshot, each)
    of_customer = np.zeros(len(ids.dictionary), np.uint64)
    of_customer[codes] = hashed
    bought = found.counts[:, 0] > 0
    # Customers whose hashes are equal, which all but never are, are ordered by their ids.
    by = [("hash", "ascending"), ("id", "ascending")]
    keys = pa.table({"hash": of_customer, "id": ids.dictionary})
    rows = pc.sort_indices(keys, by).to_numpy()
    rows = rows[bought[rows]]
    table = pa.table({CUSTOMER_ID: ids.dictionary.take(pa.array(rows))} | {
        feature.name: _column(found.values[rows, VALUES.index(feature.name)], feature.whole)
        for feature in FEATURES
        if feature.name in columns
    })  # fmt: skip
    return table, tally_of(found.counts)


def _range(table: pa.Table, columns: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the least and the largest value of each column, NaN where there is none."""
    found = [pc.min_max(table[name]).as_py() for name in columns]
    low, high = (
        [np.nan if own[end] is None else float(own[end]) for own in found] for end in ("min", "max")
    )
    return low, high


def _column(values: Any, whole: bool) -> pa.Array:
    if whole:
        return pa.array(values.astype(np.int64))
    return pa.array(values, mask=np.isnan(values))


def _write(table: pa.Table, name: str, staging: Staging) -> int:
    if not table.num_rows:
        return 0
    path, fs = staging.path(name), staging.storage.fs
    try:
        with fs.open(path, "wb") as sink:
            pq.write_table(table, sink, row_group_size=_GROUP_ROWS, write_page_checksum=True)
        return int(fs.size(path))
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(path, error) from None
