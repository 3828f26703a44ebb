"""Attributes of customers, joined to their features by id.

The rows of a table are partitioned by the same buckets as the lines (`features.spill`), so that
each bucket is joined separately. Every customer keeps one row, with nulls if the table has no row
for the customer. Rows of the table that match no customer with features are dropped and counted.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import first_invalid, from_numpy, is_text, plain, to_numpy
from gpuseg.errors import DataError, literal, without_reason
from gpuseg.features.attributes import Join, batches, flat, refuse_personal_values
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.features.join_matches import (
    POINT_ZERO,
    JoinCounts,
    lowest_of,
    unmatched_ids,
    without_point_zero,
)
from gpuseg.features.missing_text import NullValues
from gpuseg.features.parse import as_id, has_id, hash_of, keyed
from gpuseg.features.spill import SCRATCH, by_bucket, gather
from gpuseg.features.transaction_files import describe_row
from gpuseg.features.transactions import DescribeRow
from gpuseg.io.output.base import Staging, cannot_write
from gpuseg.io.privacy.pseudonyms import Key

_ID, _HASH, _FILE, _ROW = "id", "hashed", "file", "row"
_PREFIX = "attribute:"
"""Prefix of the names of attributes in scratch files, to avoid collisions."""


def check_names(joins: Sequence[Join], features: Sequence[str]) -> None:
    """Refuse attributes with names that are in use.

    Raises
    ------
    DataError
    """
    owners = dict.fromkeys((CUSTOMER_ID, *features), "the built features")
    for join in joins:
        for name in join.schema.names:
            if name in owners:
                raise DataError(
                    "join.duplicate_name",
                    f"column '{name}' of {join.storage.url!r} is also among {owners[name]}",
                    hint="rename it, or name the others in columns = […]",
                    parameter=join.key,
                )
            owners[name] = f"those of {join.storage.url!r}"


def spill_join(
    join: Join,
    number: int,
    kind: pa.DataType,
    id_key: Key | None,
    n_buckets: int,
    staging: Staging,
) -> tuple[str, JoinCounts]:
    """Write the rows of one file by bucket; return the scratch file and counts.

    Parameters
    ----------
    number : int
        Number of the file in `join.files`.
    kind : DataType
        Type of the customer ids in the lines.
    """
    path = join.files[number]
    name = f"{SCRATCH}/{join.key}-{number:06d}.arrow".replace("[", "-").replace("]", "")
    schema = pa.schema([
        (_ID, pa.string() if id_key else kind), (_HASH, pa.uint64()),
        (_FILE, pa.int32()), (_ROW, pa.int64()),
        *((f"{_PREFIX}{field.name}", field.type) for field in join.schema),
    ])  # fmt: skip
    counts, first = JoinCounts(), 0
    try:
        with (
            staging.storage.fs.open(staging.path(name), "wb") as sink,
            pa.ipc.new_file(sink, schema) as writer,
            without_reason(id_key is not None),
        ):
            for batch in batches(join, number):
                if first == 0:
                    refuse_personal_values(join, batch)
                describe = partial(describe_row, join.storage.relative(path), first)
                nulls = NullValues(join.null_values, batch.num_rows)
                ids = nulls.removed(plain(batch.column(join.id)))
                known = has_id(ids)
                ids = as_id(ids)
                ids = _convert_ids(
                    ids.filter(from_numpy(known)), kind, describe, join, id_key is None
                )
                ids = ids if id_key is None else keyed(ids, id_key)
                rows = from_numpy(first + np.flatnonzero(known))
                file = from_numpy(np.full(len(ids), number, np.int32))
                attributes = [
                    flat(batch.column(name)).filter(from_numpy(known)) for name in join.schema.names
                ]
                hashed = hash_of(ids)
                columns = [ids, from_numpy(hashed), file, rows, *attributes]
                table = pa.record_batch(columns, schema=schema)
                for part in by_bucket(table, hashed, n_buckets):
                    writer.write_batch(part)
                counts += JoinCounts(batch.num_rows, batch.num_rows - len(ids))
                first += batch.num_rows
    except OSError as error:
        raise cannot_write(staging.path(name), error) from None
    return name, counts


def attach(
    table: pa.Table,
    without_purchase: pa.Array,
    join: Join,
    files: Sequence[str],
    bucket: int,
    n_buckets: int,
    staging: Staging,
) -> tuple[pa.Table, JoinCounts]:
    """Add the attributes of a table to the customers of one bucket.

    Parameters
    ----------
    table : table
        Features of the customers of the bucket.
    without_purchase : array
        Ids of the customers of the bucket without features.

    Raises
    ------
    DataError
        If two rows of the table have the same id.
    """
    rows = gather(files, bucket, n_buckets, staging)
    ids = rows[_ID].combine_chunks()
    _refuse_duplicates(ids, rows, join)
    customers = table[CUSTOMER_ID].combine_chunks()
    matches = pc.index_in(customers, value_set=ids)
    for field in join.schema:
        column = rows[f"{_PREFIX}{field.name}"].combine_chunks().take(matches)
        table = table.append_column(field.name, column)
    without_row = customers.filter(matches.is_null())
    is_unmatched = np.ones(len(ids), bool)
    is_unmatched[to_numpy(matches.drop_null())] = False
    n_without_purchase = 0
    if is_unmatched.any() and len(without_purchase):
        has_lines = to_numpy(pc.is_in(ids, value_set=without_purchase)) & is_unmatched
        n_without_purchase = int(np.count_nonzero(has_lines))
        is_unmatched &= ~has_lines
    of_no_customer = ids.filter(from_numpy(is_unmatched))
    lowest = lowest_of(of_no_customer, rows[_HASH].to_numpy()[is_unmatched])
    return table, JoinCounts(
        customers=len(matches) - len(without_row),
        without_purchase=n_without_purchase,
        unmatched_customers=unmatched_ids(without_row, without_row[:2]),  # sorted by their hashes
        unmatched_rows=unmatched_ids(of_no_customer, lowest),
    )


def _refuse_duplicates(ids: pa.Array, rows: pa.Table, join: Join) -> None:
    if len(pc.unique(ids)) == len(ids):
        return
    codes = to_numpy(ids.dictionary_encode().indices)
    order = np.argsort(codes, kind="stable")
    second = order[1:][codes[order][1:] == codes[order][:-1]][0]
    first = int(np.flatnonzero(codes == codes[second])[0])
    one, other = (_describe_source(rows, i, join) for i in (first, int(second)))
    raise DataError(
        "join.duplicate_id",
        f"{one} and {other} have the same id in '{join.id}'",
        rule="there must be at most one row per customer",
        hint="drop the others",
        parameter=join.key,
    )


def _describe_source(rows: pa.Table, i: int, join: Join) -> str:
    path = join.files[rows[_FILE][i].as_py()]
    return describe_row(join.storage.relative(path), 0, rows[_ROW][i].as_py())


def _convert_ids(
    ids: pa.Array, kind: pa.DataType, describe: DescribeRow, join: Join, shows_ids: bool
) -> pa.Array:
    """Convert ids to the type of the ids of the lines."""
    if ids.type == kind:
        return ids
    try:
        return pc.cast(ids, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        which, hint = "some", "write them with the same type"
        if shows_ids and isinstance(error, pa.ArrowInvalid):
            which = repr(ids[first_invalid(lambda part: pc.cast(part, kind), ids)].as_py())
        if is_text(ids.type) and pc.all(pc.ends_with(ids, POINT_ZERO)).as_py():
            hint = without_point_zero("the table")
        raise DataError(
            "join.id_type",
            f"ids in column '{join.id}' are {ids.type}, from {describe(0)} on, and those of the "
            f"lines are {kind}; {which} cannot be converted",
            hint=literal(hint),
            parameter=join.key,
        ) from None
