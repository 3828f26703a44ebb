"""From transaction lines to one row of features a customer, out of core.

1. Read: each worker reads its files, a chunk at a time, and writes the lines by bucket of the
   customer to the scratch folder of the output (`features.spill`).
2. Settle the snapshot: the midnight after the last line, where none is given.
3. Describe: each worker takes buckets, a few at a time; all lines of a customer are in one. It
   sorts them, computes the features, and writes one Parquet file for those few.

The rows are in the order of the hashes of the customers' ids. They depend neither on how the lines
are filed, nor on the number of workers or buckets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from gpuseg.backends.customers import DAY
from gpuseg.errors import DataError
from gpuseg.features.aggregate import Task, describe_parts
from gpuseg.features.attributes import Join
from gpuseg.features.definitions import available
from gpuseg.features.joins import Joined, check_names, spill_join
from gpuseg.features.quality import LineCounts, Quality
from gpuseg.features.spill import SCRATCH, Spilled, spill
from gpuseg.features.transaction_files import ReadSplit, Source
from gpuseg.features.transactions import Found, Roles
from gpuseg.io.output.base import Staging
from gpuseg.runtime.executor import Executor, TaskContext

_BUCKET_ROWS = 2**17
"""So few that what is done to them stays in the caches."""

_BUCKETS_PER_PART = 8
_MAX_BUCKETS = 2**15


@dataclass(frozen=True)
class Features:
    """What was built.

    Attributes
    ----------
    parts : list of (str, int, int)
        Name, rows and bytes of each file, in the order of the rows.
    columns : tuple of str
        Of the files, without the customer's id.
    constant : tuple of str
        Those of one value for all customers.
    snapshot : datetime
    quality : Quality
    joined : tuple of (Join, Joined)
    """

    parts: list[tuple[str, int, int]]
    columns: tuple[str, ...]
    constant: tuple[str, ...]
    snapshot: datetime
    quality: Quality
    joined: tuple[tuple[Join, Joined], ...] = ()


@dataclass(frozen=True)
class Reading:
    """What one worker reads: units and their numbers."""

    source: Source
    units: tuple[tuple[int, ReadSplit], ...]


def build_features(
    executor: Executor,
    source: Source,
    backend: str,
    staging: Staging,
    folder: str = "",
    joins: Sequence[Join] = (),
) -> Features:
    """Build the features of all customers; files are staged as ``folder/part-00000.parquet``.

    Raises
    ------
    DataError
        For values that break a rule, no customer at all, and no purchase before the snapshot.
    ResourceError
        Where files cannot be written.
    """
    columns = available(source.roles.columns())
    check_names(joins, columns)
    workers = len(executor.workers())
    n_buckets = min(max(-(-source.rows // _BUCKET_ROWS), 2 * workers), _MAX_BUCKETS)
    n_parts = max(-(-n_buckets // _BUCKETS_PER_PART), min(n_buckets, 2 * workers))
    staging.make(SCRATCH)
    staging.make(folder)
    executor.load(_take, [Reading(source, units) for units in shares(source.units, workers)])
    spilled = [own for part in executor.map(_read, n_buckets, staging) for own in part]  # 1
    found = sum((own.found for own in spilled), Found())
    where = f"transactions.path = {source.storage.url!r}"
    snapshot = settle_snapshot(where, source.roles, found)  # 2
    files = [own.file for own in spilled if own.file is not None]
    attributes = [_spilled_join(executor, source, join, n_buckets, staging) for join in joins]
    parts_of = [range(i, n_parts, workers) for i in range(workers)]
    task = Task(
        backend, snapshot, files, n_buckets, n_parts, staging, folder, columns,
        tuple((join, own) for join, (own, _) in zip(joins, attributes, strict=True)),
    )  # fmt: skip
    written = [
        own for part in executor.map(describe_parts, task, per_shard=parts_of) for own in part
    ]  # 3
    staging.remove(SCRATCH)
    total = sum((own.tally for own in written), LineCounts())
    check_purchases(where, total, snapshot)
    parts = sorted((own.name, own.rows, own.bytes) for own in written if own.rows)
    low = np.fmin.reduce([own.low for own in written])
    high = np.fmax.reduce([own.high for own in written])
    constant = tuple(name for name, one in zip(task.columns, low == high, strict=True) if one)
    joined = tuple(
        (join, sum((own.joined[i] for own in written), attributes[i][1]))
        for i, join in enumerate(joins)
    )
    every = (*columns, *(name for join in joins for name in join.schema.names))
    quality = Quality(found, total)
    return Features(parts, every, constant, _moment(snapshot), quality, joined)


def _spilled_join(
    executor: Executor, source: Source, join: Join, n_buckets: int, staging: Staging
) -> tuple[list[str], Joined]:
    """Part the rows of a table by bucket; return the scratch files, and what there was."""
    workers = len(executor.workers())
    files_of = [range(i, len(join.files), workers) for i in range(workers)]
    parts = executor.map(_read_join, join, n_buckets, staging, per_shard=files_of)
    found = [own for part in parts for own in part]
    return [name for name, _ in found], sum((own for _, own in found), Joined())


def _read_join(
    reading: Reading, env: TaskContext, join: Join, n_buckets: int, staging: Staging, files: range
) -> list[tuple[str, Joined]]:
    kind, key = reading.source.id_type, reading.source.roles.id_key
    return list(env.map(lambda i: spill_join(join, i, kind, key, n_buckets, staging), files))


def _take(reading: Reading, env: TaskContext) -> Reading:
    return reading


def shares(units: Sequence[ReadSplit], n: int) -> list[tuple[tuple[int, ReadSplit], ...]]:
    """Share the units out, about evenly by rows: each to the worker with the fewest so far."""
    own: list[list[tuple[int, ReadSplit]]] = [[] for _ in range(n)]
    rows = [0] * n
    for number, unit in enumerate(units):
        i = rows.index(min(rows))
        own[i].append((number, unit))
        rows[i] += unit.rows
    return [tuple(share) for share in own]


def _read(reading: Reading, env: TaskContext, n_buckets: int, staging: Staging) -> list[Spilled]:
    def read(item: tuple[int, ReadSplit]) -> Spilled:
        number, unit = item
        own = spill(reading.source, unit, number, n_buckets, staging)
        env.report(own.found.lines)
        return own

    return list(env.map(read, reading.units))


def settle_snapshot(where: str, roles: Roles, found: Found) -> int:
    """Return the snapshot, in microseconds since 1970; `where` says what lines these are.

    Raises
    ------
    DataError
        Where no line has a customer, or a time.
    """
    if not found.lines:
        raise DataError(f"{where}: the files have no lines")
    if found.lines == found.without_customer:
        raise DataError(
            f"{where}: none of the {found.lines:,} lines has a customer; see that customer = "
            f"{roles.customer!r} names the column of their ids"
        )
    asked = roles.snapshot_us()
    if asked is not None:
        return asked
    if found.latest == Found.latest:
        raise DataError(
            f"{where}: no line has a time; see that time = {roles.time!r} names the column of times"
        )
    return (found.latest // DAY + 1) * DAY


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(0, UTC).replace(tzinfo=None) + timedelta(microseconds=micros)


def check_purchases(where: str, total: LineCounts, snapshot: int) -> None:
    """Refuse lines without a purchase before the snapshot.

    Raises
    ------
    DataError
    """
    if total.customers:
        return
    if total.only_later:
        raise DataError(
            f"{where}: no purchase before the snapshot, {_moment(snapshot)}: {total.only_later:,} "
            "customers have lines on or after it alone; set snapshot to a later day"
        )
    raise DataError(
        f"{where}: no purchase: {total.only_returns:,} customers have returns alone, and "
        f"{total.only_unusable:,} no line with a time, a positive quantity and a positive price; "
        "see that the roles name the right columns"
    )
