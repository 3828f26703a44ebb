"""Tables of customer attributes: open, check, and read them in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gpuseg.arrow import plain
from gpuseg.errors import DataError
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.features.transaction_files import nearest_column
from gpuseg.io.csv_files import PARQUET_OR_CSV, is_csv, open_csv
from gpuseg.io.file_version import FileVersion
from gpuseg.io.input_files import input_files
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.parquet.dataset import read_footer
from gpuseg.io.parquet.index_columns import index_columns
from gpuseg.io.parquet.read_batches import read_row_groups
from gpuseg.io.parquet.schema import refuse_unknown_zones
from gpuseg.io.privacy.pii import PERSONAL_DATA_PAGE, personal, personal_values
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.io.table_formats.snapshot import InputFile

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
    id_type : DataType
        Type of the ids in the files.
    schema : Schema
        Schema of the attributes.
    files : tuple of str
    versions : tuple of FileVersion
        Of the files.
    group_rows : tuple of tuple of int
        Rows of the row groups of the files; none for CSV.
    null_values : tuple of str
        Text that stands for no id.
    allow_personal : tuple of str
        Columns that are not compared with personal data.
    """

    key: str
    storage: Storage
    id: str
    id_type: pa.DataType
    schema: pa.Schema
    files: tuple[str, ...]
    versions: tuple[FileVersion, ...]
    group_rows: tuple[tuple[int, ...], ...]
    null_values: tuple[str, ...] = NULL_VALUES
    allow_personal: tuple[str, ...] = ()


def open_join(
    storage: Storage,
    id: str,
    columns: Sequence[str] | None,
    key: str,
    null_values: Sequence[str] = NULL_VALUES,
    id_key: Key | None = None,
    allow_personal: Sequence[str] = (),
) -> Join:
    """Read the footers of a table and check its columns.

    Parameters
    ----------
    key : str
        The parameter that names the table, for messages.
    id_key : Key, optional
        Key of the hashes that are written in place of ids.
    allow_personal : sequence of str
        Columns that are not compared with personal data.

    Raises
    ------
    DataError
        For files that cannot be read or differ, and columns that are missing, occur twice or look
        like personal data.
    """
    with wrap_store_errors(f"{key}.path", storage.url):
        storage, listed = input_files(storage, f"{key}.path", PARQUET_OR_CSV)
        opened = [_open(storage, item, id, columns) for item in listed]
    schemas = [file.schema for file in opened]
    first, path = schemas[0], storage.relative(listed[0].path)
    partitions = listed[0].constants
    if partitions is None:
        partitions = dict(part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)
    if partitions:
        raise DataError(
            "join.partitioned",
            f"{path} is partitioned by {next(iter(partitions))!r}, which is in no file",
            hint="write the table with that column, or name a single folder",
            parameter=key,
        )
    names = list(columns or [])
    if columns is None:
        index = frozenset().union(*(index for index in (file.index_columns for file in opened)))
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
        for other_file, other in zip(listed, schemas, strict=True):
            if name not in other.names or other.field(name).type != first.field(name).type:
                raise DataError(
                    "join.schemas_differ",
                    f"column '{name}' is {first.field(name).type} in {path}, but not in "
                    f"{storage.relative(other_file.path)}",
                    hint="write all files with one schema",
                    parameter=key,
                )
    refuse_unknown_zones(first, [id, *names], path)
    if id in names:
        raise DataError(
            "join.id_as_column",
            f"columns has '{id}', the id of the table, which is in the output as '{CUSTOMER_ID}'",
            hint="leave it out",
            parameter=key,
        )
    for name in names:
        if name not in allow_personal and (kind := personal(name)):
            raise _personal_data(key, name, kind)
    schema = pa.schema([
        (name, flat(pa.nulls(0, first.field(name).type)).type) for name in names
    ])  # fmt: skip
    return Join(
        key, storage, id, first.field(id).type, schema, tuple(file.path for file in listed),
        tuple(file.version for file in opened), tuple(file.group_rows for file in opened),
        tuple(null_values), tuple(allow_personal),
    )  # fmt: skip


@dataclass(frozen=True)
class _JoinFile:
    """A file of a table, as its footer or header describes it."""

    schema: pa.Schema
    index_columns: frozenset[str]
    version: FileVersion
    group_rows: tuple[int, ...] = ()


def _open(storage: Storage, listed: InputFile, id: str, names: Sequence[str] | None) -> _JoinFile:
    """Describe a file. In a CSV file, only columns that are joined are read to learn their type."""
    if not is_csv(listed.path):
        footer = read_footer(storage, *listed)
        return _JoinFile(footer.schema, footer.index_columns, footer.version, footer.group_rows)
    version = storage.version(listed.path)
    file = open_csv(storage, listed.path, version)
    index = index_columns(pa.schema([(name, pa.null()) for name in file.columns]))
    wanted = [name for name in file.columns if name not in index] if names is None else names
    once = [name for name in dict.fromkeys((id, *wanted)) if file.columns.count(name) == 1]
    types = {field.name: field.type for field in file.table(once, id).schema} if once else {}
    schema = pa.schema([(name, types.get(name, pa.null())) for name in file.columns])
    return _JoinFile(schema, index, version)


def batches(join: Join, number: int) -> Iterator[pa.RecordBatch]:
    """Read a file, by its number in `join.files`, in batches.

    Raises
    ------
    DataError
        For a file that cannot be read, or has changed.
    """
    storage, path, version = join.storage, join.files[number], join.versions[number]
    columns = [join.id, *join.schema.names]
    if is_csv(path):
        table = open_csv(storage, path, version).table(columns, join.id)
        yield from table.to_batches(_BATCH_ROWS)
    elif rows := join.group_rows[number]:
        groups = range(len(rows))
        yield from read_row_groups(storage, path, version, groups, sum(rows), columns, _BATCH_ROWS)


def flat(column: pa.Array) -> pa.Array:
    """Decode dictionaries, which must not differ within a scratch file."""
    column = plain(column)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def refuse_personal_values(join: Join, batch: pa.RecordBatch) -> None:
    """Refuse columns whose first values are personal data.

    Raises
    ------
    DataError
    """
    for name in join.schema.names:
        if name not in join.allow_personal:
            kind = personal_values(flat(batch.column(name))[:_CARD_SAMPLE_ROWS])
            if kind:
                raise _personal_data(join.key, name, kind)


def _personal_data(key: str, name: str, kind: str) -> DataError:
    return DataError(
        "join.personal_data",
        f"column '{name}' looks like {kind} and would be in the output",
        hint="name the columns that you need in columns = […], or name it in allow_personal = […] "
        f"if it may be used ({PERSONAL_DATA_PAGE})",
        parameter=key,
    )
