"""Files of transaction lines: Parquet, CSV or Excel, in splits that one thread reads at a time."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import pyarrow as pa
from pyarrow import types as t

from gpuseg.arrow import is_text, plain
from gpuseg.errors import ConfigError, DataError, without_reason
from gpuseg.features.parse import as_id
from gpuseg.features.time_candidates import with_candidates
from gpuseg.features.times import (
    TIME_FORMAT_NOT_NEEDED,
    UNREADABLE,
    is_number,
    needs_format,
)
from gpuseg.features.transactions import DescribeRow, Roles
from gpuseg.formatting import count_with, numbered_row
from gpuseg.io.file_version import FileVersion
from gpuseg.io.input_files import input_files
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.dataset import read_footer
from gpuseg.io.parquet.read_batches import read_row_groups
from gpuseg.io.parquet.schema import refuse_unknown_zones
from gpuseg.io.parquet.unified_types import same_zone
from gpuseg.io.parquet.unify_files import ColumnUses, Conversion, converted, unify
from gpuseg.io.privacy.column_hints import missing_column_hint
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.io.table_formats.snapshot import InputFile
from gpuseg.io.text_files.error_steps import checking_encoding
from gpuseg.io.text_files.files import READABLE, check_used, find_format, is_text_file, text_file
from gpuseg.io.text_files.options import TextOptions
from gpuseg.io.text_files.text_format import TextFormat

SPLIT_ROWS = 2**20
_BATCH_ROWS = 2**17
_SAMPLE_ROWS = 1000
_CSV_ROW_BYTES = 64
_COMPARABLE = (
    *(t.is_integer, t.is_float32, t.is_float64, t.is_decimal, t.is_boolean, t.is_temporal),
    *(t.is_binary, t.is_large_binary, t.is_binary_view, t.is_fixed_size_binary, t.is_null),
)
"""Types whose values can be compared, in addition to text."""

_FOOTERS_AT_ONCE = 16
_DIFFER = "transactions.schemas_differ"


@dataclass(frozen=True)
class ReadSplit:
    """Consecutive row groups of a Parquet file, or a whole text file.

    Attributes
    ----------
    path : str
    groups : tuple of int
        Empty for text.
    first_row : int
        First row in the file.
    rows : int
        For text an estimate.
    version : FileVersion
        The version of the file that was opened first.
    conversions : mapping
        Columns whose type in this file is not that of all files.
    format : TextFormat or None
        Of a text file.
    """

    path: str
    groups: tuple[int, ...]
    first_row: int
    rows: int
    version: FileVersion
    conversions: Mapping[str, Conversion] = field(default_factory=dict)
    format: TextFormat | None = None


@dataclass(frozen=True)
class Source:
    """Files of lines whose columns match the roles.

    Attributes
    ----------
    storage : Storage
    roles : Roles
    splits : tuple of ReadSplit
    id_type : DataType
        Type of the customer ids.
    listed : tuple of (str, int)
        Path and bytes of each file.
    versions : tuple of (str, FileVersion)
        Path and version of each file.
    """

    storage: Storage
    roles: Roles
    splits: tuple[ReadSplit, ...]
    id_type: pa.DataType
    listed: tuple[tuple[str, int], ...]
    versions: tuple[tuple[str, FileVersion], ...] = ()

    def fingerprint(self) -> str:
        """Return a hash of the names and sizes of the files and of the roles."""
        digest = hashlib.sha256()
        for path, size in self.listed:
            digest.update(repr((self.storage.relative(path), size)).encode())
        digest.update(repr((self.roles.columns(), self.roles.snapshot)).encode())
        if self.roles.time_format:
            digest.update(repr(self.roles.time_format).encode())
        return f"sha256:{digest.hexdigest()}"

    @property
    def files(self) -> int:
        """Number of files."""
        return len(self.listed)

    @property
    def rows(self) -> int:
        """Number of lines; for text files an estimate."""
        return sum(split.rows for split in self.splits)

    @property
    def formats(self) -> tuple[tuple[str, TextFormat], ...]:
        """Name and format of each text file."""
        return tuple(
            (self.storage.relative(split.path), split.format)
            for split in self.splits
            if split.format is not None
        )

    def batches(self, split: ReadSplit) -> Iterator[tuple[pa.RecordBatch, DescribeRow]]:
        """Read a split in batches, each with a function that describes the origin of a row.

        Raises
        ------
        DataError
            For a file that cannot be read.
        """
        first = split.first_row
        columns = list(dict.fromkeys(self.roles.columns().values()))
        with without_reason(self.roles.id_key is not None):
            for batch in self._read(split, columns):
                yield batch, self._describe(split, first)
                first += batch.num_rows

    def _describe(self, split: ReadSplit, first: int) -> DescribeRow:
        """Return what describes the rows of a batch that starts at row `first`."""
        if split.format is None:
            return partial(describe_row, self.storage.relative(split.path), first)
        file = text_file(self.storage, split.path, split.version, split.format)
        return lambda row: file.describe_row(first + row)

    def first_customers(self) -> pa.Array | None:
        """Return the customers of some first lines, or None if there are no lines.

        Raises
        ------
        DataError
            For a file that cannot be read.
        """
        name = self.roles.customer
        for split in self.splits:
            with closing(self._read(split, [name], _SAMPLE_ROWS)) as batches:
                for batch in batches:
                    if len(first := batch.column(name)[:_SAMPLE_ROWS].drop_null()):
                        return first
        return None

    def times(self) -> Iterator[pa.Array]:
        """Read the times of all lines, in batches.

        Raises
        ------
        DataError
            For a file that cannot be read.
        """
        for split in self.splits:
            with closing(self._read(split, [self.roles.time])) as batches:
                for batch in batches:
                    yield batch.column(0)

    def _read(
        self, split: ReadSplit, columns: Sequence[str], batch_rows: int = _BATCH_ROWS
    ) -> Generator[pa.RecordBatch, None, None]:
        if split.format is None:
            batches = read_row_groups(
                self.storage, split.path, split.version, split.groups, split.rows, columns,
                batch_rows,
            )  # fmt: skip
        else:
            file = text_file(self.storage, split.path, split.version, split.format)
            batches = file.text_batches(columns)
        name = self.storage.relative(split.path)
        with closing(batches):
            for batch in batches:
                yield converted(batch, split.conversions, name)


def describe_row(name: str, first: int, row: int) -> str:
    """Describe row `row` of a batch that starts at row `first` of its file."""
    return numbered_row(name, first + row)


def open_source(storage: Storage, roles: Roles, options: TextOptions | None = None) -> Source:
    """Read the footers and headers of all files and check the columns of the roles.

    `options` are the keys of text files.

    Raises
    ------
    DataError
        For a column that is missing or has a type that does not fit its role.
    """
    parameter, options = "transactions_path", options or TextOptions()
    with wrap_store_errors(parameter, storage.url), ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        storage, listed = input_files(storage, parameter, READABLE)
        names = [storage.relative(file.path) for file in listed]
        check_used(options, names, "transactions", reads_numbers=True)
        files = list(pool.map(lambda item: _open_file(storage, options, item, roles), listed))
    with_lines = [file for file in files if file.splits]
    compared = with_lines or files  # where no line is, no type matters
    for file in compared:
        with checking_encoding([split.format for split in file.splits if split.format]):
            check_columns(file.schema, roles, storage.relative(file.path))
    _check_zones(storage, roles, compared)
    kinds, conversions = unify(storage, compared, _uses(roles))
    if not with_lines:
        raise DataError(
            "transactions.no_lines",
            f"{count_with(len(listed), 'file', 'has', 'have')} no lines",
            value=storage.url,
            parameter=parameter,
        )
    splits = tuple(
        replace(split, conversions=changes)
        for file, changes in zip(with_lines, conversions, strict=True)
        for split in file.splits
    )
    id_type = as_id(plain(pa.nulls(0, kinds[roles.customer]))).type
    versions = tuple((file.path, file.version) for file in files)
    sizes = tuple((file.path, file.size) for file in listed)
    source = Source(storage, roles, splits, id_type, sizes, versions)
    time_types = [file.schema.field(roles.time).type for file in with_lines]
    check_time_types(roles, time_types, storage.url, source.times)
    return source


@dataclass(frozen=True)
class _File:
    """Splits of a file, none if it has no lines, and the types of its columns."""

    path: str
    splits: list[ReadSplit]
    schema: pa.Schema
    version: FileVersion
    is_parquet: bool


def _check_zones(storage: Storage, roles: Roles, files: Sequence[_File]) -> None:
    """Refuse files that differ in the time zone: times of lines are local ones.

    Text and numbers are local times or times in UTC, which their values tell.
    """
    with_times = [file for file in files if not t.is_null(file.schema.field(roles.time).type)]
    for first, file in pairwise(sorted(with_times, key=lambda file: _is_read(file, roles))):
        one, other = (_zone(each.schema.field(roles.time).type) for each in (first, file))
        may_agree = _is_read(file, roles) and one in (_NO_ZONE, _IN_UTC)
        if one != other and not may_agree:
            a, b = (storage.relative(each.path) for each in (first, file))
            raise DataError(
                _DIFFER,
                f"column '{roles.time}' is {one} in {a}, but {other} in {b}",
                hint="write all files with one schema",
                parameter="time",
            )


def _is_read(file: _File, roles: Roles) -> bool:
    """Return whether a file has times in text or numbers."""
    return needs_format(file.schema.field(roles.time).type)


def _zone(kind: pa.DataType) -> str:
    zone = same_zone(getattr(kind, "tz", None))
    return f"in the time zone {zone}" if zone else _NO_ZONE


_NO_ZONE, _IN_UTC = "without a time zone", "in the time zone UTC"


def _uses(roles: Roles) -> ColumnUses:
    """Return the columns whose values are compared: 7 is not "7"."""
    columns = roles.columns()
    compared = {
        columns[role]: role
        for role in ("category", "product", "order", "customer")
        if role in columns
    }
    hidden = None if roles.id_key is None else roles.customer
    return ColumnUses(dict.fromkeys(compared, True), _DIFFER, compared, hidden)


def _open_file(storage: Storage, options: TextOptions, listed: InputFile, roles: Roles) -> _File:
    path, size = listed.path, listed.size
    name = storage.relative(path)
    if is_text_file(name):
        version = storage.version(path)
        format = find_format(storage, path, version, options, roles.columns().values())
        schema = pa.schema([(column, pa.string()) for column in format.columns])
        rows = max(size // _CSV_ROW_BYTES, 1)
        splits = [ReadSplit(path, (), 0, rows, version, format=format)]
        return _File(path, splits, schema, version, is_parquet=False)
    file: DataFile = read_footer(storage, *listed)
    return _File(path, _split(file), file.schema, file.version, is_parquet=True)


def _split(file: DataFile) -> list[ReadSplit]:
    """Combine row groups of a file into splits of about `SPLIT_ROWS`."""
    splits: list[ReadSplit] = []
    start = 0
    for group, rows in enumerate(file.group_rows):
        last = splits[-1] if splits else None
        if last and last.rows + rows <= SPLIT_ROWS:
            groups = (*last.groups, group)
            splits[-1] = replace(last, groups=groups, rows=last.rows + rows)
        elif rows:
            splits.append(ReadSplit(file.path, (group,), start, rows, file.version))
        start += rows
    return splits


class MissingLineColumn(DataError):
    """A table of lines lacks the column of a role.

    Attributes
    ----------
    columns : sequence of str
        The columns that it has.
    """

    columns: Sequence[str] = ()


def check_columns(schema: pa.Schema, roles: Roles, file: str) -> None:
    """Check that every role has a column of a suitable type.

    Raises
    ------
    DataError
    """
    for name in roles.columns().values():
        if schema.names.count(name) > 1:
            raise DataError(
                "file.duplicate_column",
                f"{file}: two columns are called '{name}'",
                rule="column names must be unique",
                hint="rename one of them",
            )
    for role, name in roles.columns().items():
        if name not in schema.names:
            error = MissingLineColumn(
                "transactions.missing_column",
                f"no column '{name}' in {file}",
                hint=missing_column_hint(name, schema.names, file, roles.id_key),
                parameter=role,
            )
            error.columns = schema.names
            raise error
        kind = schema.field(name).type
        if role == "time":
            is_time = t.is_timestamp(kind) or t.is_date(kind) or t.is_null(kind)
            is_suitable = is_time or needs_format(kind)
            rule = "it must have dates: timestamps, dates, or text or numbers with a format"
        elif role in ("quantity", "price", "amount"):
            is_number = t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind)
            is_suitable = is_number or is_text(kind) or t.is_null(kind)
            rule = "it must be a number"
        else:
            kind = getattr(kind, "storage_type", kind)
            is_suitable = is_text(kind) or any(is_type(kind) for is_type in _COMPARABLE)
            rule = "it must be an integer, a float, text, bytes or a date"
        if not is_suitable:
            raise DataError(
                "transactions.column_type",
                f"column '{name}' of type {kind} in {file}",
                rule=rule,
                hint="convert it",
                parameter=role,
            )
    refuse_unknown_zones(schema, list(roles.columns().values()), file)


def check_time_types(
    roles: Roles, kinds: Sequence[pa.DataType], origin: str, times: Callable[[], Iterable[pa.Array]]
) -> None:
    """Refuse numbers without a format, and a format where all files have times already.

    Parameters
    ----------
    kinds : sequence of DataType
        Of the column of times in each file.
    origin : str
        Path or name of the lines, for messages.
    times : callable
        Returns the times of the lines.

    Raises
    ------
    ConfigError, DataError
    """
    if not roles.time_format:
        numbers = next((kind for kind in kinds if is_number(kind)), None)
        if numbers is not None:
            raise with_candidates(
                DataError(
                    UNREADABLE,
                    f"time '{roles.time}' of {origin} is of type {numbers}",
                    rule="numbers are times only in a format",
                ),
                times(),
                roles,
            )
    elif not any(map(needs_format, kinds)):
        raise ConfigError(
            TIME_FORMAT_NOT_NEEDED,
            f"column '{roles.time}' has times of type {kinds[0]}, which need no format",
            value=list(roles.time_format),
            parameter="time_format",
            hint="leave the key out",
        )
