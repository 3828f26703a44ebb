"""Convert text files to Parquet files with types, so that all else reads Parquet.

The values of all files are read for their types first. Then each file is written again under its
own name, with its rows in their order: messages that name a file and a row are true of the user's
file. A file that is small is kept in memory in between; others are read twice.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg import arrow_compute as pc
from gpuseg.arrow import to_numpy
from gpuseg.errors import (
    DataError,
    literal,
    set_key,
    set_keys,
    without_reason,
    without_value,
    write_path,
)
from gpuseg.io.file_formats import ending_of
from gpuseg.io.file_version import FileVersion
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.output.base import cannot_write
from gpuseg.io.storage import Storage
from gpuseg.io.table_formats.snapshot import InputFile
from gpuseg.io.text_files.amounts import refuse_mixed_currencies
from gpuseg.io.text_files.choose_format import choose_format
from gpuseg.io.text_files.column_types import (
    ColumnType,
    ColumnTypes,
    Kind,
    TextValues,
    column_type,
    converted,
    observe,
)
from gpuseg.io.text_files.damaged_ids import refuse_damaged_ids
from gpuseg.io.text_files.error_steps import names_step
from gpuseg.io.text_files.files import (
    TextFile,
    check_used,
    find_format,
    is_text_file,
    text_file,
)
from gpuseg.io.text_files.number_format import NumberFormat
from gpuseg.io.text_files.options import TextOptions
from gpuseg.io.text_files.text_format import TextFormat
from gpuseg.io.text_files.total_row import LastRow

_KEPT_BYTES = 2**28
"""Bytes of the files that are kept in memory between their two readings."""

_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"[+-]?\d+")

_GROUP_ROWS, _GROUP_BYTES = 2**17, 2**26
"""Where a row group of a Parquet file ends."""


@dataclass(frozen=True)
class Wanted:
    """What of some text files is used.

    Attributes
    ----------
    columns : tuple of str or None
        None: all.
    numbers : tuple of str
        Columns that must be numbers.
    categories : mapping
        Columns that are whole numbers, truth values or text, with their encodings.
    id : str or None
    keeps_id_as_text : bool
        Whether the id is text whatever its values are.
    has_times : bool
        Whether dates and times have types of their own; otherwise they are text.
    null_values : tuple of str
        Text that stands for no value.
    hides_values : bool
        Whether no message may show a value.
    texts : tuple of str
        Columns that are text whatever their values are.
    is_of_model : bool
        Whether a model needs the columns as they are, so that no step leaves one out or encodes it.
    """

    columns: tuple[str, ...] | None = None
    numbers: tuple[str, ...] = ()
    categories: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    id: str | None = None
    keeps_id_as_text: bool = False
    has_times: bool = False
    null_values: tuple[str, ...] = NULL_VALUES
    hides_values: bool = False
    texts: tuple[str, ...] = ()
    is_of_model: bool = False

    def named(self) -> list[str]:
        """Return the columns that have a name, the id first."""
        return [*([] if self.id is None else [self.id]), *self.numbers, *self.categories,
                *self.texts, *(self.columns or ())]  # fmt: skip


@dataclass(frozen=True)
class ConvertedFiles:
    """Text files that have been converted.

    Attributes
    ----------
    storage : Storage
        Where the Parquet files are, under the names of the text files.
    files : tuple of InputFile
        The Parquet files. They are not listed again: a name may begin with "_".
    source : Storage
        The text files.
    versions : tuple of (str, FileVersion)
        Path and version of each text file.
    formats : tuple of (str, TextFormat)
        Name and format of each text file.
    numbers : NumberFormat
    rows : int or None
        Rows of all files; None if none was read, since no file has one of the columns.
    sources : tuple of TextSource
        The text files, with the columns that were read.
    """

    storage: Storage
    files: tuple[InputFile, ...]
    source: Storage
    versions: tuple[tuple[str, FileVersion], ...]
    formats: tuple[tuple[str, TextFormat], ...]
    numbers: NumberFormat
    rows: int | None
    sources: tuple["TextSource", ...] = ()

    def describe_row(self, name: str, row: int) -> str:
        """Describe a row of a Parquet file by its place in the text file."""
        return next(file for file in self.sources if file.name == name).describe_row(row)


def has_text_files(
    storage: Storage,
    listed: Sequence[InputFile],
    options: TextOptions,
    section: str,
    is_folder: bool,
) -> bool:
    """Return whether the files of an input are text files; they are all text files, or none is.

    Parameters
    ----------
    is_folder : bool
        Whether the path is a folder, and no glob or list.
    section : str
        The section that has the options, for messages.

    Raises
    ------
    ConfigError
        For options that concern none of the files.
    DataError
        If some files are text and others are not.
    """
    names = [storage.relative(file.path) for file in listed]
    check_used(options, names, section)
    flags = [is_text_file(name) for name in names]
    if any(flags) and not all(flags):
        raise DataError(
            "input.mixed_formats",
            f"the folder has text files such as {names[flags.index(True)]}, and others such as "
            f"{names[flags.index(False)]}, which may be the same customers twice",
            value=storage.url,
            rule="all files must be CSV or Excel, or none of them",
            hint=_one_kind(storage, names, flags) if is_folder else _ONE_KIND,
            parameter=f"{section}.path",
        )
    return any(flags)


def _one_kind(storage: Storage, names: Sequence[str], is_text: Sequence[bool]) -> str:
    """Return how to read the files of one kind alone."""
    endings = [ending_of(names[is_text.index(kind)]) for kind in (True, False)]
    if not all(endings):
        return _ONE_KIND
    folder = f"{storage.shown_url.rstrip('/')}/" + "**/" * any("/" in name for name in names)
    one, other = (f"{folder}*{ending}" for ending in endings)
    return f'{write_path(one)} or path = "{literal(other)}"'


_ONE_KIND = "name the files of one kind, or put them in two folders"


def convert_files(
    storage: Storage,
    listed: Sequence[InputFile],
    folder: Storage,
    options: TextOptions,
    wanted: Wanted,
) -> ConvertedFiles:
    """Write text files as Parquet files to a folder.

    Raises
    ------
    ConfigError
        For a sheet that does not exist.
    DataError
        For a file that cannot be read or has changed, and for values that are not as they must be.
    ResourceError
        If a file cannot be written, or an extra is missing.
    """
    kept = _Kept(_KEPT_BYTES)
    values = TextValues(wanted.null_values)
    with ThreadPoolExecutor(min(len(listed), os.cpu_count() or 1)) as pool:
        files = list(pool.map(lambda file: _open(storage, file, options, wanted), listed))
        if _lack_a_column(files, wanted):
            files = [replace(file, is_read=False) for file in files]
        observed = list(pool.map(lambda file: _observed(file, values, wanted, kept), files))
        with without_value(wanted.hides_values), without_reason(wanted.hides_values):
            numbers, types = _types_of(files, observed, options, wanted, values)
        with without_reason(wanted.hides_values):
            rows = sum(pool.map(lambda file: _write(file, types, values, folder, kept), files))
    return converted_files(storage, folder, files, numbers, rows)


def converted_files(
    storage: Storage,
    folder: Storage,
    files: Sequence["TextSource"],
    numbers: NumberFormat,
    rows: int,
) -> ConvertedFiles:
    """Describe text files that have been converted to a folder."""
    root = folder.root
    if storage.root == files[0].path:
        root = f"{root}/{storage.relative(storage.root)}"
    paths = [f"{folder.root}/{file.name}" for file in files]
    return ConvertedFiles(
        Storage(storage.url, folder.fs, root, folder.scratch),
        tuple(InputFile(path, int(folder.fs.size(path))) for path in paths),
        storage,
        tuple((file.path, file.version) for file in files),
        tuple((file.name, file.format) for file in files),
        numbers,
        rows if files[0].is_read else None,
        tuple(files),
    )


@dataclass(frozen=True)
class TextSource:
    """A text file, and its columns that are used; without `is_read`, no row of it is read.

    `may_have_totals` is False if the user says that no row is below the table.
    """

    storage: Storage
    path: str
    version: FileVersion
    format: TextFormat
    columns: tuple[str, ...]
    id: str | None
    may_have_totals: bool
    is_read: bool = True

    @property
    def name(self) -> str:
        return self.storage.relative(self.path)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the columns as text, without rows that have neither an id nor another value.

        Such rows are blank lines of a spreadsheet.
        """
        if self.is_read:
            batches = self.opened().text_batches(self.columns)
            yield from map(_without_blank_rows, batches) if self._leaves_rows_out else batches

    def opened(self) -> TextFile:
        """Return the file itself."""
        return text_file(self.storage, self.path, self.version, self.format)

    @property
    def _leaves_rows_out(self) -> bool:
        return self.id in self.columns and len(self.columns) > 1

    def describe_row(self, row: int) -> str:
        """Describe the origin of one of the rows that are read."""
        file, above, left_out = self.opened(), 0, 0
        if self._leaves_rows_out:
            with closing(file.text_batches(self.columns)) as batches:
                for batch in batches:
                    kept = np.flatnonzero(to_numpy(_has_value(batch)))
                    if row - above < len(kept):
                        left_out += int(kept[row - above]) - (row - above)
                        break
                    above, left_out = above + len(kept), left_out + batch.num_rows - len(kept)
        return file.describe_row(row + left_out)


def _open(storage: Storage, file: InputFile, options: TextOptions, wanted: Wanted) -> TextSource:
    """Find the format of a file, and which of its columns are used."""
    version = storage.version(file.path)
    format = find_format(storage, file.path, version, options, wanted.named())
    names = format.columns
    used = names if wanted.columns is None else [n for n in names if n in wanted.columns]
    used = used or names[:1]  # without a column, the file would have no rows
    for name in used:
        if names.count(name) > 1:
            raise DataError(
                "file.duplicate_column",
                f"{storage.relative(file.path)}: {_two_columns(names, name, wanted)}",
                rule="column names must be unique",
                hint="rename one of them, or name all columns: "
                + set_keys("header = […]", f"skip_rows = {format.skip_rows + 1}"),
            )
    may_have_totals = options.skip_footer != 0
    return TextSource(storage, file.path, version, format, tuple(used), wanted.id, may_have_totals)


def _two_columns(names: Sequence[str], name: str, wanted: Wanted) -> str:
    """Say which columns have one name, which is a value if the file has no header."""
    if wanted.hides_values and name not in wanted.named():
        first = names.index(name)
        second = names.index(name, first + 1)
        return f"columns {first + 1} and {second + 1} have the same name"
    return f"two columns are called '{name}'"


def _without_blank_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    if not all(column.null_count for column in batch.columns):
        return batch
    return batch.filter(_has_value(batch))


def _has_value(batch: pa.RecordBatch) -> pa.Array:
    """Return which rows have a value (n,)."""
    has_value = batch.column(0).is_valid()
    for column in batch.columns[1:]:
        has_value = pc.or_(has_value, column.is_valid())
    return has_value


def _lack_a_column(files: Sequence[TextSource], wanted: Wanted) -> bool:
    """Return whether no file has one of the columns, so that the job is refused by its names.

    The names of folders such as country=DE are columns too.
    """
    names = {name for file in files for name in file.format.columns}
    folders = {folder for file in files for folder in file.name.split("/")[:-1] if "=" in folder}
    names |= {folder.partition("=")[0] for folder in folders}
    return not names.issuperset(wanted.columns or ())


@dataclass
class _Kept:
    """The text of files that are kept in memory, as long as it is not too much.

    Attributes
    ----------
    bytes : int
        Bytes that may still be kept.
    """

    bytes: int
    _files: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def add(self, path: str, batch: pa.RecordBatch) -> bool:
        """Keep a batch of a file, and return True; or forget the file if it is too much."""
        with self._lock:
            if batch.nbytes <= self.bytes:
                self.bytes -= batch.nbytes
                self._files.setdefault(path, []).append(batch)
                return True
            self.bytes += sum(one.nbytes for one in self._files.pop(path, []))
            return False

    def take(self, path: str) -> list[pa.RecordBatch] | None:
        """Return the batches of a file, which are then no longer kept; None if there are none."""
        with self._lock:
            return self._files.pop(path, None)


def _observed(
    file: TextSource, values: TextValues, wanted: Wanted, kept: _Kept
) -> dict[str, ColumnTypes]:
    """Return the types that read the columns of a file."""
    plain = ColumnTypes(kinds=frozenset(Kind) - {Kind.WHOLE})
    types = {name: ColumnTypes() if name == wanted.id else plain for name in file.columns}
    is_kept, first = True, 0
    for batch in file.batches():
        for name in file.columns:
            types[name] = observe(types[name], batch.column(name), values)
        if wanted.id in types and Kind.INTEGER not in types[wanted.id].kinds:
            _refuse_damaged_ids(file, batch.column(wanted.id), first, wanted)
        first += batch.num_rows
        is_kept = is_kept and kept.add(file.path, batch)
    return types


def _refuse_damaged_ids(file: TextSource, ids: pa.Array, first: int, wanted: Wanted) -> None:
    with without_value(wanted.hides_values):
        refuse_damaged_ids(
            ids, f"column '{wanted.id}'",
            lambda row: file.describe_row(first + row),
        )  # fmt: skip


def _merged(observed: Sequence[dict[str, ColumnTypes]], name: str) -> ColumnTypes:
    detected = [types[name] for types in observed if name in types]
    result = detected[0]
    for types in detected[1:]:
        result &= types
    return result


def _types_of(
    files: Sequence[TextSource],
    observed: Sequence[dict[str, ColumnTypes]],
    options: TextOptions,
    wanted: Wanted,
    values: TextValues,
) -> tuple[NumberFormat, dict[str, ColumnType]]:
    """Return the format of the numbers and the type of each column, for all files.

    Raises
    ------
    DataError
    """
    names = list(dict.fromkeys(name for types in observed for name in types))
    merged = {name: _merged(observed, name) for name in names}
    measured = {
        name: types
        for name, types in merged.items()
        if name not in (*wanted.categories, *wanted.texts, wanted.id)
    }
    has_semicolons = any(file.format.delimiter == ";" for file in files)
    numbers = choose_format(measured, options, has_semicolons)
    types = {name: _type_of(merged[name], name, numbers, wanted) for name in names}
    for name, kind in types.items():
        if pa.types.is_float64(kind.type):
            refuse_mixed_currencies(merged[name].currencies, f"column '{name}'")
    for name in wanted.numbers:
        if name in types and pa.types.is_string(types[name].type):
            _refuse_text(files, name, merged[name], numbers, values, wanted)
    return numbers, types


def _type_of(types: ColumnTypes, name: str, numbers: NumberFormat, wanted: Wanted) -> ColumnType:
    if name in wanted.texts or (name == wanted.id and wanted.keeps_id_as_text):
        return ColumnType(pa.string())
    kind = column_type(types, numbers, name == wanted.id, name in wanted.numbers)
    is_float, is_time = pa.types.is_float64(kind.type), pa.types.is_temporal(kind.type)
    if (is_float and name in wanted.categories) or (is_time and not wanted.has_times):
        return ColumnType(pa.string())
    return kind


def _refuse_text(
    files: Sequence[TextSource],
    name: str,
    types: ColumnTypes,
    numbers: NumberFormat,
    values: TextValues,
    wanted: Wanted,
) -> None:
    """Refuse a column that must have numbers and has become text, by its first wrong value."""
    wrong = _first_unreadable(files, name, numbers, values)
    no_value = "if it stands for no value, add it to `null_values`"
    hint = f"fix the value{'' if wanted.is_of_model else ' or leave the column out'}; {no_value}"
    rule = f"must be a number such as {numbers.example}"
    if formats := types.number_formats():
        hint = set_keys(*formats[0].keys())
    elif _DIGITS.fullmatch(wrong.value):
        rule = "long digits, and digits that begin with 0, are text"
        hint = "fix the value" if wanted.is_of_model else "leave the column out"
    elif not _DIGIT.search(wrong.value) and not wanted.is_of_model:
        encode = set_key("categorical", {**wanted.categories, name: "onehot"})
        hint = (
            f"if it has categories, {encode}; if the value stands for no value, add it to "
            "null_values; otherwise leave the column out"
        )
    raise DataError(
        "input.not_a_number",
        f"column '{name}'{wrong.where}",
        value=wrong.value,
        rule=literal(rule),
        hint=hint + wrong.step,
    )


@dataclass(frozen=True)
class _Unreadable:
    """A value that is no number, where it is, and the end of the hint."""

    value: str
    where: str
    step: str = ""


def _first_unreadable(
    files: Sequence[TextSource], name: str, numbers: NumberFormat, values: TextValues
) -> _Unreadable:
    """Return the first value of a column of text that is no number."""
    for file in files:
        first = 0
        for batch in replace(file, columns=(name,)).batches() if name in file.columns else ():
            text = values.trimmed(batch.column(name))
            row = pc.index(numbers.matches(text), False).as_py()
            if row >= 0:
                where = f" in {file.opened().describe_row(first + row)}"
                return _Unreadable(text[row].as_py(), where, names_step(file.format))
            first += batch.num_rows
    return _Unreadable("", " has text")


def _write(
    file: TextSource,
    types: dict[str, ColumnType],
    values: TextValues,
    folder: Storage,
    kept: _Kept,
) -> int:
    """Write a file as Parquet, a row group for each so many rows or bytes; return the rows."""
    rows, text = 0, ColumnType(pa.string())
    columns = file.columns if file.is_read else dict.fromkeys(file.format.columns)
    schema = pa.schema([(name, types.get(name, text).type) for name in columns])
    path = f"{folder.root}/{file.name}"
    batches = kept.take(file.path) or file.batches()
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    last_row = LastRow(file.id)
    folder.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    with (
        _writing(path),
        folder.fs.open(path, "wb") as sink,
        pq.ParquetWriter(sink, schema, use_dictionary=texts or False) as writer,
    ):
        for table in _groups(batches, schema, types, values, last_row):
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
            rows += table.num_rows
    if file.may_have_totals:
        last_row.refuse_totals(file.name, file.format.skip_footer)
    return rows


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turn errors of writing into `ResourceError`."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise cannot_write(path, error) from None


def _groups(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    types: Mapping[str, ColumnType],
    values: TextValues,
    last_row: LastRow,
) -> Iterator[pa.Table]:
    """Yield the rows of a file with their types, a row group at a time."""
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        columns = [converted(batch.column(name), types[name], values) for name in schema.names]
        typed = pa.record_batch(columns, schema=schema)
        last_row.add(batch, typed)
        for start in range(0, batch.num_rows, _GROUP_ROWS):
            piece = typed.slice(start, _GROUP_ROWS)
            group.append(piece)
            rows, size = rows + piece.num_rows, size + piece.nbytes
            if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                yield pa.Table.from_batches(group, schema)
                group, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(group, schema)
