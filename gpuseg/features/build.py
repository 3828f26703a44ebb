"""Build one row of features per customer from transaction lines, out of core.

1. Read: each worker reads its files in chunks and writes the lines by bucket of the customer to the
   scratch folder of the output (`features.spill`).
2. Resolve the snapshot: by default the midnight after the last line. 3. Aggregate: each worker
takes a few buckets at a time; all lines of a customer are in one bucket. It
   sorts them, computes the features and writes one Parquet file. 4. Score, if wanted: see
   `features.rfm_parts`.

Rows are sorted by the hashes of the customers' ids. They depend neither on the files of the lines
nor on the number of workers or buckets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from gpuseg.backends.customers import DAY
from gpuseg.errors import DataError
from gpuseg.features.aggregate import Task, aggregate_parts
from gpuseg.features.attributes import Join
from gpuseg.features.definitions import RFM, available
from gpuseg.features.join_matches import JoinCounts, refuse_no_match
from gpuseg.features.joins import check_names, spill_join
from gpuseg.features.line_quality import LineCounts, Quality
from gpuseg.features.rfm import Borders
from gpuseg.features.rfm_parts import score_parts
from gpuseg.features.spill import SCRATCH, Spilled, spill
from gpuseg.features.time_candidates import with_candidates
from gpuseg.features.times import UNREADABLE
from gpuseg.features.transaction_files import ReadSplit, Source
from gpuseg.features.transactions import Roles, ScanCounts
from gpuseg.formatting import count_with
from gpuseg.io.output.base import Staging
from gpuseg.io.text_files.amounts import refuse_mixed_currencies
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.runtime.kept_items import Keep

_BUCKET_ROWS = 2**17
"""Rows per bucket: few enough for the CPU caches."""

_BUCKETS_PER_PART = 8
_MAX_BUCKETS = 2**15


@dataclass(frozen=True)
class Features:
    """Features that were built.

    Attributes
    ----------
    parts : list of (str, int, int)
        Name, rows and bytes of each file, in the order of the rows.
    columns : tuple of str
        Columns of the files, without the customer id.
    constant : tuple of str
        Columns with one value for all customers; scores and attributes are not looked at.
    snapshot : datetime
    quality : Quality
    joined : tuple of (Join, JoinCounts)
    borders : Borders or None
        Quintile borders of the scores, if the files have some.
    """

    parts: list[tuple[str, int, int]]
    columns: tuple[str, ...]
    constant: tuple[str, ...]
    snapshot: datetime
    quality: Quality
    joined: tuple[tuple[Join, JoinCounts], ...] = ()
    borders: Borders | None = None


@dataclass(frozen=True)
class WorkerShare:
    """The splits that one worker reads, with their numbers."""

    source: Source
    splits: tuple[tuple[int, ReadSplit], ...]


def build_features(
    executor: Executor,
    source: Source,
    backend: str,
    staging: Staging,
    folder: str = "",
    joins: Sequence[Join] = (),
    rfm: bool = False,
    borders: Borders | None = None,
) -> Features:
    """Build the features of all customers, staged as ``part-00000.parquet`` and so on.

    With `rfm`, the files have the features of `definitions.RFM` as their last columns; their scores
    are by the `borders` of other customers, or by those of these.
    In a `folder` they are sidecars of the output, ``folder/part-00000.sidecar``.

    Raises
    ------
    DataError
        For values that break a rule, lines without a customer or a purchase before the snapshot,
        and a table of attributes in which no customer has a row.
    ResourceError
        If files cannot be written.
    """
    columns = available(source.roles.columns())
    check_names(joins, available(source.roles.columns(), rfm))
    workers = len(executor.workers())
    n_buckets = min(max(-(-source.rows // _BUCKET_ROWS), 2 * workers), _MAX_BUCKETS)
    n_parts = max(-(-n_buckets // _BUCKETS_PER_PART), min(n_buckets, 2 * workers))
    staging.make(SCRATCH)
    staging.make(folder)
    executor.load(
        _identity, [WorkerShare(source, splits) for splits in shares(source.splits, workers)]
    )
    try:
        read = executor.map(_read, n_buckets, staging)  # 1
    except DataError as error:
        if error.code != UNREADABLE:
            raise
        raise with_candidates(error, source.times(), source.roles) from None
    spilled = [split for splits in read for split in splits]
    scanned = sum((split.counts for split in spilled), ScanCounts())
    snapshot = resolve_snapshot(source.storage.url, source.roles, scanned)  # 2
    files = [split.file for split in spilled if split.file is not None]
    attributes = [_spill_join_table(executor, source, join, n_buckets, staging) for join in joins]
    parts_of = [range(i, n_parts, workers) for i in range(workers)]
    task = Task(
        backend, snapshot, files, n_buckets, n_parts, staging, folder, columns,
        tuple((join, files) for join, (files, _) in zip(joins, attributes, strict=True)),
    )  # fmt: skip
    with executor.unit():  # its results are stored before what they were made from is removed
        by_shard = executor.map(aggregate_parts, task, per_shard=parts_of)  # 3
    written = [part for parts in by_shard for part in parts]
    staging.remove(SCRATCH)
    total = sum((part.counts for part in written), LineCounts())
    check_purchases(source.storage.url, total, snapshot)
    files_with_rows = [part for part in written if part.rows]
    if rfm:
        files_with_rows, borders = score_parts(executor, staging, files_with_rows, borders)  # 4
    parts = sorted((part.name, part.rows, part.bytes) for part in files_with_rows)
    low = np.fmin.reduce([part.low for part in written])
    high = np.fmax.reduce([part.high for part in written])
    constant = tuple(name for name, one in zip(task.columns, low == high, strict=True) if one)
    joined = tuple(
        (join, sum((part.joins[i] for part in written), attributes[i][1]))
        for i, join in enumerate(joins)
    )
    for join, counts in joined:
        refuse_no_match(join, counts, source)
    all_columns = (
        *columns,
        *(name for join in joins for name in join.schema.names),
        *(feature.name for feature in RFM if rfm),
    )
    quality = Quality(scanned, total)
    return Features(
        parts, all_columns, constant, _moment(snapshot), quality, joined, borders if rfm else None
    )


def _spill_join_table(
    executor: Executor, source: Source, join: Join, n_buckets: int, staging: Staging
) -> tuple[list[str], JoinCounts]:
    """Write the rows of a table by bucket; return the scratch files and counts."""
    workers = len(executor.workers())
    files_of = [range(i, len(join.files), workers) for i in range(workers)]
    parts = executor.map(_read_join, join, n_buckets, staging, per_shard=files_of)
    files = [file for part in parts for file in part]
    return [name for name, _ in files], sum((counts for _, counts in files), JoinCounts())


def _read_join(
    share: WorkerShare,
    context: TaskContext,
    join: Join,
    n_buckets: int,
    staging: Staging,
    files: range,
) -> list[tuple[str, JoinCounts]]:
    kind, key = share.source.id_type, share.source.roles.id_key
    return list(context.map(lambda i: spill_join(join, i, kind, key, n_buckets, staging), files))


def _identity(share: WorkerShare, context: TaskContext) -> WorkerShare:
    return share


def shares(splits: Sequence[ReadSplit], n: int) -> list[tuple[tuple[int, ReadSplit], ...]]:
    """Distribute splits about evenly by rows: each goes to the worker with the fewest rows."""
    result: list[list[tuple[int, ReadSplit]]] = [[] for _ in range(n)]
    rows = [0] * n
    for number, split in enumerate(splits):
        i = rows.index(min(rows))
        result[i].append((number, split))
        rows[i] += split.rows
    return [tuple(share) for share in result]


def _read(
    share: WorkerShare, context: TaskContext, n_buckets: int, staging: Staging
) -> list[Spilled]:
    def read(item: tuple[int, ReadSplit]) -> Spilled:
        number, split = item
        spilled = spill(share.source, split, number, n_buckets, staging)
        context.report(spilled.counts.lines)
        return spilled

    def is_whole(spilled: Spilled) -> bool:
        return spilled.file is None or staging.size(spilled.file) is not None

    keep = Keep(is_whole, is_flushed=not staging.storage.is_local)
    return list(context.map(read, share.splits, keep=keep))


def resolve_snapshot(path: str, roles: Roles, scanned: ScanCounts) -> int:
    """Return the snapshot in microseconds since 1970; `path` names the lines, for messages.

    Raises
    ------
    DataError
        If no line has a customer or a time, or lines differ in what their values mean.
    """
    if not scanned.lines:
        raise _error("transactions.no_lines", path, "there are no lines")
    if scanned.lines == scanned.without_customer:
        raise _error(
            "transactions.no_customer",
            path,
            f"the {count_with(scanned.lines, 'line', 'has', 'have')} no customer",
            f"check that customer = {roles.customer!r} is the column of their ids",
        )
    for column, currencies in scanned.currencies.items():
        refuse_mixed_currencies(currencies, column)
    if scanned.times_with_offset and scanned.times_without_offset:
        with_offset, without = (
            count_with(n, "time", "has", "have")
            for n in (scanned.times_with_offset, scanned.times_without_offset)
        )
        raise _error(
            "transactions.mixed_offsets",
            path,
            f"in column '{roles.time}', {with_offset} an offset from UTC, as Z or +01:00, a "
            f"time zone or the unit of a number, and {without} none",
            "write all times in UTC, or all without an offset",
        )
    snapshot = roles.snapshot_us()
    if snapshot is not None:
        return snapshot
    if scanned.latest == ScanCounts.latest:
        raise _error(
            "transactions.no_time",
            path,
            "no line has a time",
            f"check that time = {roles.time!r} is the column of times",
        )
    return (scanned.latest // DAY + 1) * DAY


def _error(code: str, path: str, problem: str, hint: str = "") -> DataError:
    return DataError(code, problem, value=path, hint=hint, parameter="transactions_path")


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(0, UTC).replace(tzinfo=None) + timedelta(microseconds=micros)


def check_purchases(path: str, total: LineCounts, snapshot: int) -> None:
    """Refuse lines without a purchase before the snapshot.

    Raises
    ------
    DataError
    """
    if total.customers:
        return
    if total.only_later:
        raise _error(
            "transactions.no_purchase_before_snapshot",
            path,
            f"no purchase before the snapshot, {_moment(snapshot)}: "
            f"{count_with(total.only_later, 'customer', 'has', 'have')} only lines on or after it",
            "set `snapshot` to a later day",
        )
    raise _error(
        "transactions.no_purchase",
        path,
        f"no purchase: {count_with(total.only_returns, 'customer', 'has', 'have')} only returns, "
        f"and {count_with(total.only_unusable, 'customer', 'has', 'have')} no line with a time, a "
        "positive quantity and a positive price",
        "check that the roles name the right columns",
    )
