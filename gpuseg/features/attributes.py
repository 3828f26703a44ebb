"""Tables of customer attributes: open, check, and read them in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gpuseg.arrow import plain
from gpuseg.errors import DataError
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.io.file_version import FileVersion
from gpuseg.io.input_files import ListedInput, input_files
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.dataset import read_footer
from gpuseg.io.parquet.read_batches import read_row_groups
from gpuseg.io.parquet.schema import refuse_unknown_zones
from gpuseg.io.parquet.unify_files import ColumnUses, Conversion, converted, unify
from gpuseg.io.privacy.column_hints import missing_column_hint
from gpuseg.io.privacy.pii import PERSONAL_DATA_PAGE, personal, personal_values
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.io.table_formats.snapshot import InputFile
from gpuseg.io.text_files.files import READABLE

_BATCH_ROWS = 2**17
_CARD_SAMPLE_ROWS = 10_000
_DIFFER = "join.schemas_differ"


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
        Rows of the row groups of the files.
    null_values : tuple of str
        Text that stands for no id.
    allow_personal : tuple of str
        Columns that are not compared with personal data.
    conversions : tuple of mappings
        For each file, the columns whose type in it is not that of all files.
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
    conversions: tuple[Mapping[str, Conversion], ...] = ()


def open_join(
    storage: Storage,
    id: str,
    columns: Sequence[str] | None,
    key: str,
    null_values: Sequence[str] = NULL_VALUES,
    id_key: Key | None = None,
    allow_personal: Sequence[str] = (),
    listed: ListedInput | None = None,
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
    listed : pair of Storage and files, optional
        What `input_files` returns for `storage`, if it has been called.

    Raises
    ------
    DataError
        For files that cannot be read or differ, and columns that are missing, occur twice or look
        like personal data.
    """
    with wrap_store_errors(f"{key}.path", storage.url):
        storage, files = listed or input_files(storage, f"{key}.path", READABLE)
        opened = [read_footer(storage, *item) for item in files]
    compared = [file for file in opened if file.rows] or opened  # without rows, no type matters
    path = storage.relative(compared[0].path)
    for file in files:
        _refuse_partitions(storage, file, key)
    names = list(columns or [])
    if columns is None:
        index = frozenset().union(*(file.index_columns for file in opened))
        all_names = dict.fromkeys(name for file in compared for name in file.schema.names)
        names = [name for name in all_names if name != id and name not in index]
    for name in (id, *names):
        _check_column(storage, compared, name, key, id_key)
    hidden = None if id_key is None else id
    uses = ColumnUses({name: name == id for name in (id, *names)}, _DIFFER, key, hidden)
    kinds, changes = unify(storage, compared, uses)
    conversions = {file.path: change for file, change in zip(compared, changes, strict=True)}
    refuse_unknown_zones(pa.schema(list(kinds.items())), [id, *names], path)
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
        (name, flat(pa.nulls(0, kinds[name])).type) for name in names
    ])  # fmt: skip
    return Join(
        key, storage, id, kinds[id], schema, tuple(file.path for file in opened),
        tuple(file.version for file in opened), tuple(file.group_rows for file in opened),
        tuple(null_values), tuple(allow_personal),
        tuple(conversions.get(file.path, {}) for file in opened),
    )  # fmt: skip


def _refuse_partitions(storage: Storage, listed: InputFile, key: str) -> None:
    """Refuse a table that has columns in the names of its folders."""
    path, partitions = storage.relative(listed.path), listed.constants
    if partitions is None:
        partitions = dict(part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)
    if partitions:
        raise DataError(
            "join.partitioned",
            f"{path} is partitioned by {next(iter(partitions))!r}, which is in no file",
            hint="write the table with that column, or name a single folder",
            parameter=key,
        )


def _check_column(
    storage: Storage, files: Sequence[DataFile], name: str, key: str, id_key: Key | None
) -> None:
    """Refuse a column that a file does not have once."""
    having = next((file for file in files if name in file.schema.names), None)
    for file in files:
        count, path = file.schema.names.count(name), storage.relative(file.path)
        if count == 0 and having is not None:
            kind, other = having.schema.field(name).type, storage.relative(having.path)
            raise DataError(
                _DIFFER,
                f"column '{name}' is {kind} in {other}, but not in {path}",
                hint="write all files with one schema, or name the columns that all have in "
                "columns = […]",
                parameter=key,
            )
        if count != 1:
            code, words = "join.duplicate_column", "two columns called"
            if count == 0:
                code, words = "join.missing_column", "no column"
            raise DataError(
                code,
                f"{words} '{name}' in {path}",
                hint=missing_column_hint(name, file.schema.names, path, id_key),
                parameter=key,
            )


def batches(join: Join, number: int) -> Iterator[pa.RecordBatch]:
    """Read a file, by its number in `join.files`, in batches.

    Raises
    ------
    DataError
        For a file that cannot be read, or has changed.
    """
    name, conversions = join.storage.relative(join.files[number]), join.conversions[number]
    for batch in _stored_batches(join, number):
        yield converted(batch, conversions, name)


def _stored_batches(join: Join, number: int) -> Iterator[pa.RecordBatch]:
    storage, path, version = join.storage, join.files[number], join.versions[number]
    columns, rows = [join.id, *join.schema.names], join.group_rows[number]
    if sum(rows):
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
