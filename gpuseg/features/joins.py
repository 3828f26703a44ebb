"""Attributes of customers, joined to their features by id.

A table's rows are parted by the same buckets as the lines (`features.spill`), so each bucket is
joined by itself. Every customer keeps one row: with nulls where the table has no row for it. Rows
of the table that belong to nobody are left out, and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.errors import DataError
from gpuseg.features.attributes import Join, batches, flat, refuse_card_numbers
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.features.parse import as_id, has_id, hash_of, keyed, plain
from gpuseg.features.spill import SCRATCH, by_bucket, gather
from gpuseg.features.transaction_files import place_of
from gpuseg.io.output.base import Staging, cannot_write
from gpuseg.io.privacy.pseudonyms import Key

_ID, _HASH, _FILE, _ROW = "id", "hashed", "file", "row"
_OWN = "own:"
"""Before the names of attributes in the scratch files, so that they cannot be mistaken."""


@dataclass(frozen=True)
class Joined:
    """What came of a join, in numbers that add up.

    Attributes
    ----------
    rows : int
        Of the table.
    without_id : int
        Of those, rows that have none.
    customers : int
        Those that got attributes.
    lacking : int
        Those that did not.
    """

    rows: int = 0
    without_id: int = 0
    customers: int = 0
    lacking: int = 0

    def __add__(self, other: "Joined") -> "Joined":
        return Joined(
            self.rows + other.rows, self.without_id + other.without_id,
            self.customers + other.customers, self.lacking + other.lacking,
        )  # fmt: skip


def check_names(joins: Sequence[Join], features: Sequence[str]) -> None:
    """Refuse attributes with names that are taken.

    Raises
    ------
    DataError
    """
    taken = dict.fromkeys((CUSTOMER_ID, *features), "the features that are built")
    for join in joins:
        for name in join.schema.names:
            if name in taken:
                raise DataError(
                    f"{join.key}: column '{name}' of {join.storage.url!r} is also among "
                    f"{taken[name]}; rename it, or name the others in columns = […]"
                )
            taken[name] = f"those of {join.storage.url!r}"


def spill_join(
    join: Join,
    number: int,
    kind: pa.DataType,
    id_key: Key | None,
    n_buckets: int,
    staging: Staging,
) -> tuple[str, Joined]:
    """Write the rows of one file by bucket; return the scratch file, and what there was.

    Parameters
    ----------
    number : int
        Of the file in `join.files`.
    kind : DataType
        Of the customers' ids in the lines.
    """
    path = join.files[number]
    name = f"{SCRATCH}/{join.key}-{number:06d}.arrow".replace("[", "-").replace("]", "")
    schema = pa.schema([
        (_ID, pa.string() if id_key else kind), (_HASH, pa.uint64()),
        (_FILE, pa.int32()), (_ROW, pa.int64()),
        *((f"{_OWN}{field.name}", field.type) for field in join.schema),
    ])  # fmt: skip
    found, first = Joined(), 0
    try:
        with (
            staging.storage.fs.open(staging.path(name), "wb") as sink,
            pa.ipc.new_file(sink, schema) as writer,
        ):
            for batch in batches(join, path):
                if first == 0:
                    refuse_card_numbers(join, batch)
                where = partial(place_of, join.storage.relative(path), first)
                ids = as_id(plain(batch.column(join.id)))
                known = has_id(ids)
                own = _ids(ids.filter(pa.array(known)), kind, where, join)
                own = own if id_key is None else keyed(own, id_key)
                places = pa.array(first + np.flatnonzero(known))
                file = pa.array(np.full(len(own), number, np.int32))
                rest = [
                    flat(batch.column(name)).filter(pa.array(known)) for name in join.schema.names
                ]
                hashed = hash_of(own)
                columns = [own, pa.array(hashed), file, places, *rest]
                table = pa.record_batch(columns, schema=schema)
                for part in by_bucket(table, hashed, n_buckets):
                    writer.write_batch(part)
                found += Joined(batch.num_rows, batch.num_rows - len(own))
                first += batch.num_rows
    except OSError as error:
        raise cannot_write(staging.path(name), error) from None
    return name, found


def attach(
    table: pa.Table,
    join: Join,
    files: Sequence[str],
    bucket: int,
    n_buckets: int,
    staging: Staging,
) -> tuple[pa.Table, Joined]:
    """Add a table's attributes to the customers of one bucket.

    Raises
    ------
    DataError
        Where two rows of the table have one id.
    """
    rows = gather(files, bucket, n_buckets, staging)
    ids = rows[_ID].combine_chunks()
    _refuse_repeated(ids, rows, join)
    place = pc.index_in(table[CUSTOMER_ID].combine_chunks(), value_set=ids)
    for field in join.schema:
        column = rows[f"{_OWN}{field.name}"].combine_chunks().take(place)
        table = table.append_column(field.name, column)
    lacking = place.null_count
    return table, Joined(customers=len(place) - lacking, lacking=lacking)


def _refuse_repeated(ids: pa.Array, rows: pa.Table, join: Join) -> None:
    if len(pc.unique(ids)) == len(ids):
        return
    codes = ids.dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    second = order[1:][codes[order][1:] == codes[order][:-1]][0]
    one = int(np.flatnonzero(codes == codes[second])[0])
    place, again = (_place(rows, i, join) for i in (one, int(second)))
    raise DataError(
        f"{join.key}: {place} and {again} have one and the same id in "
        f"'{join.id}'; there must be one row for each customer: drop the others"
    )


def _place(rows: pa.Table, i: int, join: Join) -> str:
    path = join.files[rows[_FILE][i].as_py()]
    return place_of(join.storage.relative(path), 0, rows[_ROW][i].as_py())


def _ids(ids: pa.Array, kind: pa.DataType, where: Any, join: Join) -> pa.Array:
    """Return ids as those of the lines are; other types of the same numbers are converted."""
    if ids.type == kind:
        return ids
    try:
        return pc.cast(ids, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"{join.key}: the ids in column '{join.id}' are {ids.type}, from {where(0)} on, and "
            f"those of the lines {kind}; not all can be converted: write them alike"
        ) from None
