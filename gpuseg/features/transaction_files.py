"""Where transaction lines are: Parquet or CSV files, as units that one thread reads at a time."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.csv
from pyarrow import types as t

from gpuseg.errors import DataError
from gpuseg.features.parse import as_id, is_text, plain
from gpuseg.features.transactions import Roles, Where
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.dataset import list_files, read_footer
from gpuseg.io.storage import Storage, first_line, wrap_store_errors
from gpuseg.validation import nearest_known

_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
UNIT_ROWS = 2**20
_BATCH_ROWS = 2**17
_CSV_BLOCK_BYTES = 2**23
_CSV_ROW_BYTES = 64
_TRUNCATED = (EOFError, zlib.error)
_TOLD_APART = (
    *(t.is_integer, t.is_float32, t.is_float64, t.is_decimal, t.is_boolean, t.is_temporal),
    *(t.is_binary, t.is_large_binary, t.is_binary_view, t.is_fixed_size_binary, t.is_null),
)
"""Types whose values can be told apart; text beside them."""

_SEPARATORS = ",;\t|"
_FOOTERS_AT_ONCE = 16


@dataclass(frozen=True)
class ReadSplit:
    """Row groups of a Parquet file that follow each other, or a whole CSV file.

    Attributes
    ----------
    path : str
    groups : tuple of int
        Empty for CSV.
    first_row : int
        Of the file.
    rows : int
        For CSV a guess.
    """

    path: str
    groups: tuple[int, ...]
    first_row: int
    rows: int


@dataclass(frozen=True)
class Source:
    """Files of lines whose columns suit the roles.

    Attributes
    ----------
    storage : Storage
    roles : Roles
    units : tuple of ReadSplit
    id_type : DataType
        Of the customers' ids.
    listed : tuple of (str, int)
        Path and bytes of each file.
    """

    storage: Storage
    roles: Roles
    units: tuple[ReadSplit, ...]
    id_type: pa.DataType
    listed: tuple[tuple[str, int], ...]

    def fingerprint(self) -> str:
        """Return a hash of the names and sizes of the files, and of the columns' roles."""
        digest = hashlib.sha256()
        for path, size in self.listed:
            digest.update(repr((self.storage.relative(path), size)).encode())
        digest.update(repr((self.roles.columns(), self.roles.snapshot)).encode())
        return f"sha256:{digest.hexdigest()}"

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self.listed)

    @property
    def rows(self) -> int:
        """Lines; a guess for CSV."""
        return sum(unit.rows for unit in self.units)

    def batches(self, unit: ReadSplit) -> Iterator[tuple[pa.RecordBatch, Where]]:
        """Read a unit, some lines at a time; each with what names the place of a row.

        Raises
        ------
        DataError
            For a file that cannot be read.
        """
        first, name = unit.first_row, self.storage.relative(unit.path)
        for batch in self._read(unit, name):
            yield batch, partial(place_of, name, first)
            first += batch.num_rows

    def _read(self, unit: ReadSplit, name: str) -> Iterator[pa.RecordBatch]:
        columns = list(dict.fromkeys(self.roles.columns().values()))
        try:
            if not unit.groups:
                yield from _csv_batches(self.storage, unit.path, columns)
                return
            with self.storage.open_parquet(unit.path) as file:
                yield from file.iter_batches(
                    _BATCH_ROWS, row_groups=list(unit.groups), columns=columns, use_threads=False
                )
        except (pa.ArrowException, OSError, *_TRUNCATED) as error:
            raise DataError(
                f"{name}: cannot be read ({first_line(error)}); write it again, text as UTF-8"
            ) from None


def is_csv(name: str) -> bool:
    """Whether a file is CSV, by its name."""
    return name.lower().endswith(_CSV)


def place_of(name: str, first: int, row: int) -> str:
    """Say where row `row` of a batch is, whose first row is `first` of its file."""
    return f"row {first + row} of {name} (rows count from 0)"


def open_source(storage: Storage, roles: Roles) -> Source:
    """Read the footers and headers of all files, and see that the columns suit the roles.

    Raises
    ------
    DataError
        For a column that is not there, or of a type that its role does not take.
    """
    key = "transactions.path"
    with wrap_store_errors(key, storage.url), ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        listed = list_files(storage, key)
        found = list(pool.map(lambda item: _units(storage, roles, *item), listed))
    _check_same(storage, roles, found)
    units = tuple(unit for own in found for unit in own.units)
    if not any(unit.rows for unit in units):
        raise DataError(f"{key} = {storage.url!r}: the {len(listed)} files have no lines")
    id_type = next((own.id_type for own in found if not t.is_null(own.id_type)), found[0].id_type)
    return Source(storage, roles, units, id_type, tuple(listed))


@dataclass(frozen=True)
class _File:
    """Units of a file, and the types of the columns whose values are only told apart."""

    path: str
    units: list[ReadSplit]
    kinds: dict[str, str]
    id_type: pa.DataType


def _check_same(storage: Storage, roles: Roles, files: Sequence[_File]) -> None:
    """Refuse files of other types, where values are told apart (7 is not "7"), and other zones."""
    first = files[0]
    for file in files:
        for role, kind in file.kinds.items():
            if kind != first.kinds[role] and "null" not in (kind, first.kinds[role]):
                a, b = (storage.relative(own.path) for own in (first, file))
                raise DataError(
                    f"transactions.{role} '{roles.columns()[role]}': {first.kinds[role]} in {a}, "
                    f"but {kind} in {b}; write all files with one schema"
                )


def _kinds(schema: pa.Schema, roles: Roles) -> dict[str, str]:
    columns = roles.columns()
    kinds = {
        role: schema.field(columns[role]).type
        for role in ("customer", "order", "product", "category")
        if role in columns
    }
    told: dict[str, str] = {}
    for role, kind in kinds.items():
        told[role] = "text" if is_text(kind) else str(kind)
    zone = getattr(schema.field(roles.time).type, "tz", None)
    return {**told, "time": f"of the time zone {zone}" if zone else "without a time zone"}


def _units(storage: Storage, roles: Roles, path: str, size: int) -> _File:
    name = storage.relative(path)
    if is_csv(name):
        schema = _csv_schema(storage, path, name)
        check_columns(schema, roles, name)
        units = [ReadSplit(path, (), 0, max(size // _CSV_ROW_BYTES, 1))]
        return _File(path, units, _kinds(schema, roles), pa.string())
    file: DataFile = read_footer(storage, path, size)
    check_columns(file.schema, roles, name)
    id_type = as_id(plain(pa.array([], file.schema.field(roles.customer).type))).type
    return _File(path, _together(path, file.group_rows), _kinds(file.schema, roles), id_type)


def _together(path: str, group_rows: Sequence[int]) -> list[ReadSplit]:
    """Join row groups of a file to units of about `UNIT_ROWS`."""
    units: list[ReadSplit] = []
    start = 0
    for group, rows in enumerate(group_rows):
        last = units[-1] if units else None
        if last and last.rows + rows <= UNIT_ROWS:
            units[-1] = ReadSplit(path, (*last.groups, group), last.first_row, last.rows + rows)
        elif rows:
            units.append(ReadSplit(path, (group,), start, rows))
        start += rows
    return units


def check_columns(schema: pa.Schema, roles: Roles, where: str) -> None:
    """See that every role has its column, and that its type will do.

    Raises
    ------
    DataError
    """
    for name in roles.columns().values():
        if schema.names.count(name) > 1:
            raise DataError(
                f"{where}: two columns are called '{name}'; names of columns must be unique: "
                "rename one of them"
            )
    for role, name in roles.columns().items():
        if name not in schema.names:
            raise DataError(
                f"transactions.{role}: no column '{name}' in {where}; "
                f"{nearest_known(name, schema.names)}"
            )
        kind = schema.field(name).type
        if role == "time":
            suits = t.is_timestamp(kind) or t.is_date(kind) or is_text(kind)
            rule = "a time is a timestamp, a date or text: convert it"
        elif role in ("quantity", "price", "amount"):
            suits = is_text(kind) or t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind)
            rule = "it must be a number: convert it"
        else:
            kind = getattr(kind, "storage_type", kind)
            suits = is_text(kind) or any(own(kind) for own in _TOLD_APART)
            rule = "it must be a whole number, a float, text, bytes or a date: convert it"
        if not suits:
            raise DataError(
                f"transactions.{role} '{name}': column of type {kind} in {where}; {rule}"
            )


def _csv_schema(storage: Storage, path: str, name: str) -> pa.Schema:
    """Return the columns of a CSV file; all of it is read as text."""
    try:
        separator, names = csv_head(storage, path)
        names = pyarrow.csv.read_csv(
            pa.BufferReader(names), parse_options=pyarrow.csv.ParseOptions(delimiter=separator)
        ).column_names
    except (pa.ArrowException, OSError, *_TRUNCATED) as error:
        raise DataError(
            f"{name}: not a CSV file with a line of names at its head ({first_line(error)}); "
            "write it again, or move it out of the folder"
        ) from None
    return pa.schema([(own, pa.string()) for own in names])


def csv_head(storage: Storage, path: str) -> tuple[str, bytes]:
    """Return the separator, and the line of names."""
    with storage.fs.open(path, "rb", compression="infer") as file:
        head: bytes = file.readline()
    return max(_SEPARATORS, key=lambda own: head.count(own.encode())), head


def _csv_batches(storage: Storage, path: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read columns of a CSV file as text; values may hold line breaks."""
    separator, _ = csv_head(storage, path)
    with storage.fs.open(path, "rb", compression="infer") as file:
        yield from pyarrow.csv.open_csv(
            file,
            pyarrow.csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
            pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                include_columns=columns,
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
