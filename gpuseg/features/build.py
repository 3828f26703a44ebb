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
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpuseg.backends import registry
from gpuseg.backends.customers import DAY, VALUES, Lines
from gpuseg.backends.neighbors import Each
from gpuseg.data.output import Staging, cannot_write
from gpuseg.errors import DataError
from gpuseg.features.definitions import CUSTOMER_ID, FEATURES, available
from gpuseg.features.lines import Found, Roles
from gpuseg.features.quality import Quality, Tally, tally_of
from gpuseg.features.source import Source, Unit
from gpuseg.features.spill import SCRATCH, Spilled, gather, spill
from gpuseg.runtime.executor import Env, Executor

_BUCKET_ROWS = 2**17
"""So few that what is done to them stays in the caches."""

_BUCKETS_A_PART = 8
_MOST_BUCKETS = 2**15
_GROUP_ROWS = 2**17


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
    """

    parts: list[tuple[str, int, int]]
    columns: tuple[str, ...]
    constant: tuple[str, ...]
    snapshot: datetime
    quality: Quality


@dataclass(frozen=True)
class Reading:
    """What one worker reads: units and their numbers."""

    source: Source
    units: tuple[tuple[int, Unit], ...]


def build_features(
    executor: Executor,
    source: Source,
    backend: str,
    staging: Staging,
    folder: str = "",
) -> Features:
    """Build the features of all customers; files are staged as ``folder/part-00000.parquet``.

    Raises
    ------
    DataError
        For values that break a rule, no customer at all, and no purchase before the snapshot.
    ResourceError
        Where files cannot be written.
    """
    workers = len(executor.workers())
    n_buckets = min(max(-(-source.rows // _BUCKET_ROWS), 2 * workers), _MOST_BUCKETS)
    n_parts = max(-(-n_buckets // _BUCKETS_A_PART), min(n_buckets, 2 * workers))
    staging.make(SCRATCH)
    staging.make(folder)
    executor.place(_take, [Reading(source, units) for units in _shares(source.units, workers)])
    spilled = [own for part in executor.run(_read, n_buckets, staging) for own in part]  # 1
    found = sum((own.found for own in spilled), Found())
    where = f"transactions.path = {source.storage.url!r}"
    snapshot = settle_snapshot(where, source.roles, found)  # 2
    files = [own.file for own in spilled if own.file is not None]
    shares = [range(i, n_parts, workers) for i in range(workers)]
    task = _Task(
        backend, snapshot, files, n_buckets, n_parts, staging, folder,
        available(source.roles.columns()),
    )  # fmt: skip
    written = [own for part in executor.run(_describe, task, each=shares) for own in part]  # 3
    staging.remove(SCRATCH)
    total = sum((own.tally for own in written), Tally())
    check_purchases(where, total, snapshot)
    parts = sorted((own.name, own.rows, own.bytes) for own in written if own.rows)
    low = np.fmin.reduce([own.low for own in written])
    high = np.fmax.reduce([own.high for own in written])
    constant = tuple(name for name, one in zip(task.columns, low == high, strict=True) if one)
    return Features(parts, task.columns, constant, _moment(snapshot), Quality(found, total))


def _take(reading: Reading, env: Env) -> Reading:
    return reading


def _shares(units: Sequence[Unit], n: int) -> list[tuple[tuple[int, Unit], ...]]:
    """Share the units out, about evenly by rows: each to the worker with the fewest so far."""
    shares: list[list[tuple[int, Unit]]] = [[] for _ in range(n)]
    rows = [0] * n
    for number, unit in enumerate(units):
        i = rows.index(min(rows))
        shares[i].append((number, unit))
        rows[i] += unit.rows
    return [tuple(share) for share in shares]


def _read(reading: Reading, env: Env, n_buckets: int, staging: Staging) -> list[Spilled]:
    def read(item: tuple[int, Unit]) -> Spilled:
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


def check_purchases(where: str, total: Tally, snapshot: int) -> None:
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


@dataclass(frozen=True)
class _Task:
    """What workers need to describe customers."""

    backend: str
    snapshot: int
    files: Sequence[str]
    n_buckets: int
    n_parts: int
    staging: Staging
    folder: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Written:
    name: str
    rows: int
    bytes: int
    tally: Tally
    low: list[float]
    high: list[float]


def _describe(_: Reading, env: Env, task: _Task, parts: Sequence[int]) -> list[_Written]:
    def describe(part: int) -> _Written:
        first, last = (n * task.n_buckets // task.n_parts for n in (part, part + 1))
        tables, tally = [], Tally()
        for bucket in range(first, last):
            lines = gather(task.files, bucket, task.n_buckets, task.staging)
            one = features_of(lines, task.backend, task.snapshot, task.columns, Env().map)
            tables.append(one[0])
            tally += one[1]
        table = pa.concat_tables(tables)
        name = f"{task.folder}/" * bool(task.folder) + task.staging.part_name(part, task.n_parts)
        size = _write(table, name, task.staging)
        return _Written(name, table.num_rows, size, tally, *_range(table, task.columns))

    return list(env.map(describe, parts))


def features_of(
    lines: pa.Table, backend: str, snapshot: int, columns: Sequence[str], each: Each
) -> tuple[pa.Table, Tally]:
    """Return the features of the customers of some lines, in the order of their hashes."""
    ids = lines["customer"].combine_chunks().dictionary_encode()
    hashed = lines["hashed"].to_numpy()
    codes = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = [name for name in Lines._fields if name != "customer"]
    own = Lines(codes, *(lines[name].to_numpy() for name in names))
    found = registry.get_customers(backend)(own, len(ids.dictionary), snapshot, each)
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
