"""Partition lines by customer, through files in a scratch folder.

The first bits of the hash of a customer's id give the bucket. Lines are read in chunks, partitioned
by bucket and written to a scratch file with one record batch per chunk and bucket. A bucket is then
read from all files. For any number of buckets, their rows are in the order of the hashes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.arrow import from_numpy
from gpuseg.features.parse import UNREADABLE as UNREADABLE_VALUE
from gpuseg.features.parse import parse
from gpuseg.features.times import UNREADABLE as UNREADABLE_TIME
from gpuseg.features.transaction_files import ReadSplit, Source, describe_row
from gpuseg.features.transactions import Parsed, Roles, ScanCounts
from gpuseg.io.output.base import Staging, cannot_write
from gpuseg.io.text_files.error_steps import checking_names

CHUNK_ROWS = 2**20
SCRATCH = "_scratch"

_UNREADABLE = (UNREADABLE_VALUE, UNREADABLE_TIME)
"""Codes of errors of values that may be in another column."""


@dataclass(frozen=True)
class Spilled:
    """Counts of one split, and the scratch file of its lines; None if it has no lines."""

    counts: ScanCounts
    file: str | None


def spill(
    source: Source, split: ReadSplit, number: int, n_buckets: int, staging: Staging
) -> Spilled:
    """Read a split and write its lines by bucket.

    Raises
    ------
    DataError
        For values that break a rule.
    ResourceError
        If the lines cannot be written.
    """
    name = f"{SCRATCH}/lines-{number:06d}.arrow"
    counts, chunks = ScanCounts(), _chunks(source, split)
    first = next(chunks, None)
    if first is None:
        return Spilled(counts, None)
    try:
        with (
            staging.storage.fs.open(staging.path(name), "wb") as sink,
            pa.ipc.new_file(sink, as_batch(first[0]).schema) as writer,
        ):
            for lines, chunk_counts in chain([first], chunks):
                counts += chunk_counts
                for batch in by_bucket(as_batch(lines), lines.hashed, n_buckets):
                    writer.write_batch(batch)
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(staging.path(name), error) from None
    return Spilled(counts, name)


def gather(files: Sequence[str], bucket: int, n_buckets: int, staging: Staging) -> pa.Table:
    """Return all lines of a bucket."""
    batches, schema = [], None
    for name in files:
        path, fs = staging.path(name), staging.storage.fs
        source = pa.memory_map(path) if staging.storage.is_local else fs.open(path, "rb")
        with source, pa.ipc.open_file(source) as file:
            numbers = range(bucket, file.num_record_batches, n_buckets)
            batches += [file.get_batch(number) for number in numbers]
            schema = schema or file.schema
    # A file without customers may not know the type of their ids.
    with_rows = [batch for batch in batches if batch.num_rows]
    return pa.Table.from_batches(with_rows, with_rows[0].schema if with_rows else schema)


def as_batch(lines: Parsed) -> pa.RecordBatch:
    """Return lines as Arrow columns."""
    return pa.record_batch({f.name: pa.array(getattr(lines, f.name)) for f in fields(lines)})


def parse_table(table: pa.Table, roles: Roles, name: str) -> tuple[Parsed, ScanCounts]:
    """Parse the lines of a table in memory; `name` names the table, for messages."""
    columns = list(dict.fromkeys(roles.columns().values()))
    parsed, counts, first = [], ScanCounts(), 0
    empty = [pa.RecordBatch.from_pylist([], table.select(columns).schema)]
    for batch in table.select(columns).to_batches() or empty:
        lines, batch_counts = parse(batch, roles, partial(describe_row, name, first))
        parsed.append(lines)
        counts += batch_counts
        first += batch.num_rows
    return _concatenate(parsed), counts


def _chunks(source: Source, split: ReadSplit) -> Iterator[tuple[Parsed, ScanCounts]]:
    """Yield the lines of a split, about `CHUNK_ROWS` at a time."""
    parsed: list[Parsed] = []
    counts = ScanCounts()
    for batch, describe in source.batches(split):
        with checking_names(split.format, _UNREADABLE):
            lines, batch_counts = parse(batch, source.roles, describe)
        parsed.append(lines)
        counts += batch_counts
        if sum(len(lines.kind) for lines in parsed) >= CHUNK_ROWS:
            yield _concatenate(parsed), counts
            parsed, counts = [], ScanCounts()
    if counts.lines:
        yield _concatenate(parsed), counts


def _concatenate(parsed: Sequence[Parsed]) -> Parsed:
    arrays = [
        np.concatenate([getattr(lines, f.name) for lines in parsed]) for f in fields(Parsed)[1:]
    ]
    return Parsed(pa.concat_arrays([lines.customer for lines in parsed]), *arrays)


def by_bucket(
    batch: pa.RecordBatch, hashed: NDArray[np.uint64], n_buckets: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of each bucket."""
    bucket = bucket_of(hashed, n_buckets)
    order = np.argsort(bucket, kind="stable")
    ends = np.cumsum(np.bincount(bucket, minlength=n_buckets))
    sorted_batch, start = batch.take(from_numpy(order)), 0
    for end in ends.tolist():
        yield sorted_batch.slice(start, end - start)
        start = end


def bucket_of(hashed: NDArray[np.uint64], n_buckets: int) -> NDArray[np.uint16]:
    """Return the bucket of each hash: equal ranges of all hashes, in their order."""
    upper = hashed >> np.uint64(32)
    return (upper * np.uint64(n_buckets) >> np.uint64(32)).astype(np.uint16)
