"""Tables of customers' attributes: opened, checked, and read as batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from gpuseg.errors import DataError
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.features.parse import is_text, plain
from gpuseg.features.transaction_files import csv_head, is_csv
from gpuseg.io.parquet.dataset import list_files, read_footer
from gpuseg.io.privacy.pii import are_card_numbers, personal
from gpuseg.io.storage import Storage, first_line, wrap_store_errors
from gpuseg.validation import nearest_known

_BATCH_ROWS = 2**17
_LOOKED_AT = 10_000


@dataclass(frozen=True)
class Join:
    """A table of attributes.

    Attributes
    ----------
    key : str
        The job's section, for messages.
    storage : Storage
    id : str
        Its column of ids.
    schema : Schema
        Of the attributes.
    files : tuple of str
    """

    key: str
    storage: Storage
    id: str
    schema: pa.Schema
    files: tuple[str, ...]


def open_join(storage: Storage, id: str, columns: Sequence[str] | None, key: str) -> Join:
    """Read the footers of a table, and see that it has the columns asked for.

    Raises
    ------
    DataError
        For files that cannot be read or differ, and columns that are not there, occur twice or
        look like personal data.
    """
    with wrap_store_errors(f"{key}.path", storage.url):
        listed = list_files(storage, f"{key}.path")
        schemas = [_schema(storage, *item, id) for item in listed]
    first, where = schemas[0], storage.relative(listed[0][0])
    parts = [part for part in where.split("/")[:-1] if "=" in part]
    if parts:
        raise DataError(
            f"{key}: {where} is partitioned by {parts[0].split('=')[0]!r}, which is in no file; "
            "write the table with that column, or name a single folder"
        )
    names = [name for name in first.names if name != id] if columns is None else list(columns)
    for name in (id, *names):
        if first.names.count(name) != 1:
            known = nearest_known(name, first.names)
            count = "no column" if name not in first.names else "two columns called"
            raise DataError(f"{key}: {count} '{name}' in {where}; {known}")
        for (path, _), other in zip(listed, schemas, strict=True):
            if name not in other.names or other.field(name).type != first.field(name).type:
                raise DataError(
                    f"{key}: column '{name}' is {first.field(name).type} in {where}, and another "
                    f"or absent in {storage.relative(path)}; write all files with one schema"
                )
    if id in names:
        raise DataError(
            f"{key}: columns holds '{id}', the table's id, which stands in the output as "
            f"'{CUSTOMER_ID}' already; leave it out"
        )
    for name in names:
        if what := personal(name):
            raise DataError(
                f"{key}: column '{name}' looks like {what}, and would stand in the output; name "
                "the columns that you need in columns = […]"
            )
    schema = pa.schema([
        (name, flat(pa.array([], first.field(name).type)).type) for name in names
    ])  # fmt: skip
    return Join(key, storage, id, schema, tuple(path for path, _ in listed))


def _schema(storage: Storage, path: str, size: int, id: str) -> pa.Schema:
    if is_csv(path):
        return _csv(storage, path, id).schema
    return read_footer(storage, path, size).schema


def batches(join: Join, path: str) -> Iterator[pa.RecordBatch]:
    """Read a file, some rows at a time; what is wrong with it is told apart from the writing."""
    wanted = [join.id, *join.schema.names]
    try:
        if is_csv(path):
            yield from _csv(join.storage, path, join.id).select(wanted).to_batches(_BATCH_ROWS)
            return
        with join.storage.open_parquet(path) as file:
            yield from file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{join.storage.relative(path)}: cannot be read ({first_line(error)}); write it again"
        ) from None


def _csv(storage: Storage, path: str, id: str) -> pa.Table:
    """Read a whole CSV file: ids as text, the types of other columns what all their values are."""
    try:
        separator, _ = csv_head(storage, path)
        with storage.fs.open(path, "rb", compression="infer") as file:
            return pyarrow.csv.read_csv(
                file,
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=separator, newlines_in_values=True
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={id: pa.string()}, strings_can_be_null=True, null_values=[""]
                ),
            )
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{storage.relative(path)}: cannot be read as CSV ({first_line(error)}); write it "
            "again, or as Parquet"
        ) from None


def flat(column: pa.Array) -> pa.Array:
    """Return a column without dictionaries, which must not differ within a scratch file."""
    column = plain(column)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def refuse_card_numbers(join: Join, batch: pa.RecordBatch) -> None:
    """Refuse columns whose first values are card numbers, whole or written as text.

    Raises
    ------
    DataError
    """
    for name in join.schema.names:
        column = flat(batch.column(name))[:_LOOKED_AT]
        if is_text(column.type):
            try:
                column = pc.cast(column, pa.int64())
            except pa.ArrowInvalid:
                continue
        if are_card_numbers(column):
            raise DataError(
                f"{join.key}: column '{name}' looks like a card or account number, and would stand "
                "in the output; name the columns that you need in columns = […]"
            )
