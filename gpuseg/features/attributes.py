"""Tables of customer attributes: open, check, and read them in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.errors import DataError
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.features.parse import is_text, plain
from gpuseg.features.transaction_files import nearest_column
from gpuseg.io.csv_files import is_csv, open_csv
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.parquet.dataset import list_files, read_footer
from gpuseg.io.parquet.index_columns import index_columns
from gpuseg.io.privacy.pii import are_card_numbers, personal
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage, first_line, wrap_store_errors

_BATCH_ROWS = 2**17
_CARD_SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class Join:
    """A table of attributes.

    Attributes
    ----------
    key : str
        The parameter that names the table, for messages.
    storage : Storage
    id : str
        Column of ids.
    schema : Schema
        Schema of the attributes.
    files : tuple of str
    null_values : tuple of str
        Text that stands for no id.
    """

    key: str
    storage: Storage
    id: str
    schema: pa.Schema
    files: tuple[str, ...]
    null_values: tuple[str, ...] = NULL_VALUES


def open_join(
    storage: Storage,
    id: str,
    columns: Sequence[str] | None,
    key: str,
    null_values: Sequence[str] = NULL_VALUES,
    id_key: Key | None = None,
) -> Join:
    """Read the footers of a table and check its columns.

    Parameters
    ----------
    key : str
        The parameter that names the table, for messages.
    id_key : Key, optional
        Key of the hashes that are written in place of ids.

    Raises
    ------
    DataError
        For files that cannot be read or differ, and columns that are missing, occur twice or look
        like personal data.
    """
    with wrap_store_errors(f"{key}.path", storage.url):
        listed = list_files(storage, f"{key}.path")
        described = [_columns(storage, *item, id, columns) for item in listed]
    schemas = [schema for schema, _ in described]
    first, path = schemas[0], storage.relative(listed[0][0])
    parts = [part for part in path.split("/")[:-1] if "=" in part]
    if parts:
        raise DataError(
            "join.partitioned",
            f"{path} is partitioned by {parts[0].split('=')[0]!r}, which is in no file",
            hint="write the table with that column, or name a single folder",
            parameter=key,
        )
    names = list(columns or [])
    if columns is None:
        index = frozenset().union(*(index for _, index in described))
        names = [name for name in first.names if name != id and name not in index]
    for name in (id, *names):
        if first.names.count(name) != 1:
            code, count = "join.duplicate_column", "two columns called"
            if name not in first.names:
                code, count = "join.missing_column", "no column"
            raise DataError(
                code,
                f"{count} '{name}' in {path}",
                hint=nearest_column(name, first.names, path, id_key),
                parameter=key,
            )
        for (other_path, _), other in zip(listed, schemas, strict=True):
            if name not in other.names or other.field(name).type != first.field(name).type:
                raise DataError(
                    "join.schemas_differ",
                    f"column '{name}' is {first.field(name).type} in {path}, but not in "
                    f"{storage.relative(other_path)}",
                    hint="write all files with one schema",
                    parameter=key,
                )
    if id in names:
        raise DataError(
            "join.id_as_column",
            f"columns has '{id}', the id of the table, which is in the output as '{CUSTOMER_ID}'",
            hint="leave it out",
            parameter=key,
        )
    for name in names:
        if kind := personal(name):
            raise _personal_data(key, name, kind)
    schema = pa.schema([
        (name, flat(pa.nulls(0, first.field(name).type)).type) for name in names
    ])  # fmt: skip
    files = tuple(path for path, _ in listed)
    return Join(key, storage, id, schema, files, tuple(null_values))


def _columns(
    storage: Storage, path: str, size: int, id: str, names: Sequence[str] | None
) -> tuple[pa.Schema, frozenset[str]]:
    """Return the columns of a file, and those that are the index of a frame.

    In a CSV file, only columns that are joined are read to learn their type.
    """
    if not is_csv(path):
        footer = read_footer(storage, path, size)
        return footer.schema, footer.index_columns
    file = open_csv(storage, path)
    index = index_columns(pa.schema([(name, pa.null()) for name in file.columns]))
    wanted = [name for name in file.columns if name not in index] if names is None else names
    once = [name for name in dict.fromkeys((id, *wanted)) if file.columns.count(name) == 1]
    types = {field.name: field.type for field in file.table(once, id).schema} if once else {}
    return pa.schema([(name, types.get(name, pa.null())) for name in file.columns]), index


def batches(join: Join, path: str) -> Iterator[pa.RecordBatch]:
    """Read a file in batches; an error of reading is a DataError, never one of writing."""
    columns = [join.id, *join.schema.names]
    if is_csv(path):
        table = open_csv(join.storage, path).table(columns, join.id)
        yield from table.to_batches(_BATCH_ROWS)
        return
    try:
        with join.storage.open_parquet(path) as file:
            yield from file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            "file.unreadable",
            f"{join.storage.relative(path)} cannot be read ({first_line(error)})",
            hint="write it again",
        ) from None


def flat(column: pa.Array) -> pa.Array:
    """Decode dictionaries, which must not differ within a scratch file."""
    column = plain(column)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def refuse_card_numbers(join: Join, batch: pa.RecordBatch) -> None:
    """Refuse columns whose first values are card numbers, as integers or as text.

    Raises
    ------
    DataError
    """
    for name in join.schema.names:
        column = flat(batch.column(name))[:_CARD_SAMPLE_ROWS]
        if is_text(column.type):
            try:
                column = pc.cast(column, pa.int64())
            except pa.ArrowInvalid:
                continue
        if are_card_numbers(column):
            raise _personal_data(join.key, name, "a card or account number")


def _personal_data(key: str, name: str, kind: str) -> DataError:
    return DataError(
        "join.personal_data",
        f"column '{name}' looks like {kind} and would be in the output",
        hint="name the columns that you need in columns = […]",
        parameter=key,
    )
