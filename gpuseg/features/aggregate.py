"""Step 3 of `features.build`: aggregate the lines of some buckets to a file of their customers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg import arrow_compute as pc
from gpuseg.backends import registry
from gpuseg.backends.customers import VALUES, TransactionLines
from gpuseg.backends.protocols import ParallelMap
from gpuseg.features.attributes import Join
from gpuseg.features.definitions import CUSTOMER_ID, FEATURES
from gpuseg.features.join_matches import JoinCounts
from gpuseg.features.joins import attach
from gpuseg.features.line_quality import LineCounts, count_lines
from gpuseg.features.spill import gather
from gpuseg.io.output.base import SIDECAR_SUFFIX, Staging, cannot_write
from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.kept_items import Keep

_GROUP_ROWS = 2**17

_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Task:
    """What workers need to aggregate lines to customers."""

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
class FeaturePart:
    """One written file of features, with counts of its lines and the range of each column."""

    name: str
    rows: int
    bytes: int
    counts: LineCounts
    low: list[float]
    high: list[float]
    joins: list[JoinCounts]


def aggregate_parts(
    _: Any, context: TaskContext, task: Task, parts: Sequence[int]
) -> list[FeaturePart]:
    """Aggregate the lines of some parts of the output, and write these parts."""

    def aggregate(part: int) -> FeaturePart:
        first, last = (n * task.n_buckets // task.n_parts for n in (part, part + 1))
        tables, counts, joins = [], LineCounts(), [JoinCounts()] * len(task.joins)
        for bucket in range(first, last):
            lines = gather(task.files, bucket, task.n_buckets, task.staging)
            table, without_purchase, bucket_counts = features_of(
                lines, task.backend, task.snapshot, task.columns, TaskContext().map
            )
            counts += bucket_counts
            for i, (join, files) in enumerate(task.joins):
                table, join_counts = attach(
                    table, without_purchase, join, files, bucket, task.n_buckets, task.staging
                )
                joins[i] += join_counts
            tables.append(table)
        table = pa.concat_tables(tables)
        name = _part_name(task, part)
        size = write_part(table, name, task.staging)
        return FeaturePart(name, table.num_rows, size, counts, *_range(table, task.columns), joins)

    staging = task.staging

    def is_whole(part: FeaturePart) -> bool:
        return not part.rows or staging.size(part.name) == part.bytes

    keep = Keep(is_whole, is_flushed=not staging.storage.is_local)
    return list(context.map(aggregate, parts, keep=keep))


def _part_name(task: Task, part: int) -> str:
    """Return the name of a file; in a folder of its own it is a sidecar of the output."""
    if not task.folder:
        return task.staging.part_name(part, task.n_parts)
    return f"{task.folder}/{task.staging.part_name(part, task.n_parts, SIDECAR_SUFFIX)}"


def features_of(
    lines: pa.Table, backend: str, snapshot: int, columns: Sequence[str], parallel_map: ParallelMap
) -> tuple[pa.Table, pa.Array, LineCounts]:
    """Return the features of the customers of some lines, sorted by the hashes of the ids.

    The second value is the ids of the customers without a purchase, who have no features.
    """
    ids = lines["customer"].combine_chunks().dictionary_encode()
    hashed = lines["hashed"].to_numpy()
    codes = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = [name for name in TransactionLines._fields if name != "customer"]
    transactions = TransactionLines(codes, *(lines[name].to_numpy() for name in names))
    customers = registry.get_customers(backend).aggregate(
        transactions, len(ids.dictionary), snapshot, parallel_map
    )
    hashes = np.zeros(len(ids.dictionary), np.uint64)
    hashes[codes] = hashed
    has_purchase = customers.counts[:, 0] > 0
    # Customers with equal hashes, which are very rare, are sorted by their ids.
    order = [("hash", "ascending"), ("id", "ascending")]
    keys = pa.table({"hash": hashes, "id": ids.dictionary})
    rows = pc.sort_indices(keys, order).to_numpy()
    rows = rows[has_purchase[rows]]
    table = pa.table({CUSTOMER_ID: ids.dictionary.take(pa.array(rows))} | {
        feature.name: _column(customers.values[rows, VALUES.index(feature.name)], feature.whole)
        for feature in FEATURES
        if feature.name in columns
    })  # fmt: skip
    without_purchase = ids.dictionary.filter(pa.array(~has_purchase))
    return table, without_purchase, count_lines(customers.counts, ids.dictionary)


def _range(table: pa.Table, columns: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the minimum and the maximum of each column, NaN for a column without values."""
    ranges = [pc.min_max(table[name]).as_py() for name in columns]
    low, high = (
        [np.nan if ends[end] is None else float(ends[end]) for ends in ranges]
        for end in ("min", "max")
    )
    return low, high


def _column(values: Any, whole: bool) -> pa.Array:
    if whole:
        return pa.array(values.astype(np.int64))
    return pa.array(values, mask=np.isnan(values))


def write_part(table: pa.Table, name: str, staging: Staging) -> int:
    """Write a file of features, unless it has no rows; return its bytes.

    One that is there already is replaced as a whole.

    Raises
    ------
    ResourceError
    """
    if not table.num_rows:
        return 0
    path, fs = staging.path(name), staging.storage.fs
    part = f"{path}{_UNFINISHED}" if staging.storage.is_local else path
    try:
        with fs.open(part, "wb") as sink:
            pq.write_table(table, sink, row_group_size=_GROUP_ROWS, write_page_checksum=True)
        if part != path:
            Path(part).replace(path)
        return int(fs.size(path))
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(path, error) from None
