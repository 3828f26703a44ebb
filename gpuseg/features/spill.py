"""Lines on their way from the files they are in to the customers they are of.

A customer belongs to the bucket that the first bits of the hash of its id name. Lines are read in
chunks, parted by bucket, and written to a file in the scratch folder with one record batch for
each chunk and bucket; a bucket is then read from all files. So the order of the buckets' rows is
that of the hashes, whatever their number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.features.parse import parse
from gpuseg.features.transaction_files import ReadSplit, Source, place_of
from gpuseg.features.transactions import Found, Parsed, Roles
from gpuseg.io.output.base import Staging, cannot_write

CHUNK_ROWS = 2**20
SCRATCH = "_scratch"


@dataclass(frozen=True)
class Spilled:
    """What one unit was found to hold, and where its lines are: none where there were none."""

    found: Found
    file: str | None


def spill(
    source: Source, unit: ReadSplit, number: int, n_buckets: int, staging: Staging
) -> Spilled:
    """Read a unit, and write its lines by bucket.

    Raises
    ------
    DataError
        For values that break a rule.
    ResourceError
        Where the lines cannot be written.
    """
    name = f"{SCRATCH}/lines-{number:06d}.arrow"
    found, chunks = Found(), _chunks(source, unit)
    first = next(chunks, None)
    if first is None:
        return Spilled(found, None)
    try:
        with (
            staging.storage.fs.open(staging.path(name), "wb") as sink,
            pa.ipc.new_file(sink, as_batch(first[0]).schema) as writer,
        ):
            for lines, own in chain([first], chunks):
                found += own
                for batch in by_bucket(as_batch(lines), lines.hashed, n_buckets):
                    writer.write_batch(batch)
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(staging.path(name), error) from None
    return Spilled(found, name)


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
    # A file without a single customer may not even know the type of their ids.
    held = [own for own in batches if own.num_rows]
    return pa.Table.from_batches(held, held[0].schema if held else schema)


def as_batch(lines: Parsed) -> pa.RecordBatch:
    """Return lines as Arrow columns."""
    return pa.record_batch({f.name: pa.array(getattr(lines, f.name)) for f in fields(lines)})


def parsed_whole(table: pa.Table, roles: Roles, name: str) -> tuple[Parsed, Found]:
    """Read the lines of a table in memory; `name` says what table it is."""
    columns = list(dict.fromkeys(roles.columns().values()))
    held, found, first = [], Found(), 0
    empty = [pa.RecordBatch.from_pylist([], table.select(columns).schema)]
    for batch in table.select(columns).to_batches() or empty:
        lines, own = parse(batch, roles, partial(place_of, name, first))
        held.append(lines)
        found += own
        first += batch.num_rows
    return _together(held), found


def _chunks(source: Source, unit: ReadSplit) -> Iterator[tuple[Parsed, Found]]:
    """Yield the lines of a unit, about `CHUNK_ROWS` at a time."""
    held: list[Parsed] = []
    found = Found()
    for batch, where in source.batches(unit):
        lines, own = parse(batch, source.roles, where)
        held.append(lines)
        found += own
        if sum(len(lines.kind) for lines in held) >= CHUNK_ROWS:
            yield _together(held), found
            held, found = [], Found()
    if found.lines:
        yield _together(held), found


def _together(held: Sequence[Parsed]) -> Parsed:
    arrays = [np.concatenate([getattr(own, f.name) for own in held]) for f in fields(Parsed)[1:]]
    return Parsed(pa.concat_arrays([own.customer for own in held]), *arrays)


def by_bucket(
    batch: pa.RecordBatch, hashed: NDArray[np.uint64], n_buckets: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of each bucket."""
    bucket = bucket_of(hashed, n_buckets)
    order = np.argsort(bucket, kind="stable")
    ends = np.cumsum(np.bincount(bucket, minlength=n_buckets))
    sorted_batch, start = batch.take(pa.array(order)), 0
    for end in ends.tolist():
        yield sorted_batch.slice(start, end - start)
        start = end


def bucket_of(hashed: NDArray[np.uint64], n_buckets: int) -> NDArray[np.uint16]:
    """Return the bucket of each hash: equal ranges of all hashes; rising with the hash."""
    upper = hashed >> np.uint64(32)
    return (upper * np.uint64(n_buckets) >> np.uint64(32)).astype(np.uint16)
