"""The table of contacts: who a customer is for a platform, and whether the customer consents.

Nothing of its values is in a message: errors name rows and columns.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, plain, to_numpy
from gpuseg.audience.normalize import TEXT
from gpuseg.errors import DataError, literal, without_reason, without_value
from gpuseg.formatting import count, numbered_row
from gpuseg.io.input_files import input_files
from gpuseg.io.input_paths import open_paths
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.parquet.dataset import read_footer
from gpuseg.io.parquet.read_batches import read_row_groups
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.io.table_formats.snapshot import InputFile
from gpuseg.io.text_files.column_types import TextValues
from gpuseg.io.text_files.convert import has_text_files
from gpuseg.io.text_files.files import READABLE, find_format, text_file
from gpuseg.io.text_files.options import TextOptions

PARAMETER = "customers"

_BATCH_ROWS = 2**17

_NAMIBIA = "NA"
"""In a column of countries this is no missing value."""

Describe = Callable[[int], str]
"""Names a row by its number, for a message."""


@dataclass(frozen=True)
class Contacts:
    """Contacts of customers, whose ids differ.

    Attributes
    ----------
    id : array of text (n,)
        Without nulls.
    columns : dict of name to array of text (n,)
    rows_without_id : int
        Rows of the table that have no id, and are left out.
    describe : callable
        Names a row of these arrays by its place in the table.
    """

    id: pa.Array
    columns: dict[str, pa.Array]
    rows_without_id: int
    describe: Describe


@dataclass(frozen=True)
class _ContactFile:
    """A file that was read: its rows, and how one of them is named."""

    n_rows: int
    describe: Describe


def read_contacts(
    path: str, id: str, columns: Sequence[str], country: str | None = None
) -> Contacts:
    """Read columns of a table of contacts as text.

    Parameters
    ----------
    path : str
        A Parquet, CSV or Excel file, a folder, a glob or a URL.
    id : str
    columns : sequence of str
    country : str or None
        The one of the columns that has countries.

    Raises
    ------
    ConfigError, DataError, ResourceError
        For files that cannot be read, columns that are missing or of another type, and ids that
        occur twice.
    """
    names = list(dict.fromkeys((id, *columns)))
    storage = open_paths(path, {}, PARAMETER)
    batches: dict[str, list[pa.Array]] = {name: [pa.nulls(0, TEXT)] for name in names}
    files: list[_ContactFile] = []
    with without_value(True), without_reason(True), wrap_store_errors(PARAMETER, storage.url):
        is_folder = not storage.selected
        place, listed = input_files(storage, PARAMETER, READABLE)
        are_text = has_text_files(place, listed, TextOptions(), PARAMETER, is_folder)
        for file in listed:
            n_rows = 0
            if are_text:
                source = _text_file(place, file, names, country)
            else:
                source = _parquet_file(place, file, names)
            for batch in source.batches():
                for name in names:
                    column = batch.column(name)
                    batches[name].append(_as_text(column, name, n_rows, source.describe))
                n_rows += batch.num_rows
            files.append(_ContactFile(n_rows, source.describe))
    values = {name: pa.concat_arrays(arrays) for name, arrays in batches.items()}
    return _of_values(values, id, files)


def _of_values(values: dict[str, pa.Array], id: str, files: Sequence[_ContactFile]) -> Contacts:
    ids = values[id]
    kept = np.flatnonzero(to_numpy(ids.is_valid()))

    def describe(row: int) -> str:
        return _describe(int(kept[row]), files)

    ids = ids.take(from_numpy(kept))
    _refuse_duplicates(ids, id, describe)
    columns = {name: column.take(from_numpy(kept)) for name, column in values.items()}
    return Contacts(ids, columns, len(values[id]) - len(kept), describe)


def _describe(row: int, files: Sequence[_ContactFile]) -> str:
    for file in files:
        if row < file.n_rows:
            break
        row -= file.n_rows
    return file.describe(row)


def _refuse_duplicates(ids: pa.Array, id: str, describe: Describe) -> None:
    """Refuse two rows of one customer: their consent could differ."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    codes = to_numpy(ids.dictionary_encode().indices)
    _, first = np.unique(codes, return_index=True)
    again = np.setdiff1d(np.arange(len(codes)), first)
    second = int(again[0])
    row = int(np.flatnonzero(codes == codes[second])[0])
    raise DataError(
        "audience.duplicate_id",
        f"column '{id}' has {count(again.size, 'id')} a second time, the first in "
        f"{describe(second)}, as in {describe(row)}",
        rule="each customer must have one row, and so one consent",
        hint="keep one row for each customer",
    )


@dataclass(frozen=True)
class _OpenFile:
    """A file to read: its batches, and how one of its rows is named."""

    batches: Callable[[], Iterator[pa.RecordBatch]]
    describe: Describe


def _text_file(
    storage: Storage, file: InputFile, names: Sequence[str], country: str | None
) -> _OpenFile:
    version = storage.version(file.path)
    format = find_format(storage, file.path, version, TextOptions(), names)
    if set(names).isdisjoint(format.columns):
        raise DataError(
            "audience.no_header",
            f"the first line of {storage.relative(file.path)} names none of the columns",
            rule="must have the names of the columns; it is not shown, since it may be a contact",
            hint=f"write a line with names, of which one is '{literal(names[0])}'",
            parameter=PARAMETER,
        )
    _check_names(storage.relative(file.path), format.columns, names)
    opened = text_file(storage, file.path, version, format)
    of_countries = tuple(value for value in NULL_VALUES if value != _NAMIBIA)
    nulls = {name: TextValues(of_countries if name == country else NULL_VALUES) for name in names}

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in opened.text_batches(names):
            columns = [nulls[name].without_nulls(batch.column(name)) for name in names]
            yield pa.RecordBatch.from_arrays(columns, names=list(names))

    return _OpenFile(batches, opened.describe_row)


def _parquet_file(storage: Storage, file: InputFile, names: Sequence[str]) -> _OpenFile:
    footer = read_footer(storage, *file)
    name = storage.relative(file.path)
    _check_names(name, footer.schema.names, names)
    groups = range(len(footer.group_rows))

    def batches() -> Iterator[pa.RecordBatch]:
        if footer.rows:
            yield from read_row_groups(
                storage, file.path, footer.version, groups, footer.rows, names, _BATCH_ROWS
            )

    return _OpenFile(batches, lambda row: numbered_row(name, row))


def _check_names(file: str, has: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a file that does not have each column once."""
    for name in names:
        if (n := list(has).count(name)) != 1:
            raise DataError(
                "audience.missing_column" if n == 0 else "audience.duplicate_column",
                f"{file} has {'no column' if n == 0 else 'two columns'} '{name}'",
                rule=f"it has {literal(', '.join(has))}",
                hint="name the columns as the table has them",
                parameter=PARAMETER,
            )


def _as_text(column: pa.Array, name: str, first: int, describe: Describe) -> pa.Array:
    """Return values as text; whole numbers of a column of floats, as pandas writes them, too.

    Raises
    ------
    DataError
    """
    column = plain(column)
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    t, kind = pa.types, column.type
    if t.is_floating(kind):
        values = to_numpy(column)
        is_whole = (values == np.floor(values)) & (np.abs(values) < 2**53)
        if (wrong := np.flatnonzero(~is_whole & ~np.isnan(values))).size:
            raise DataError(
                "audience.not_text",
                f"column '{name}' has type {kind}, and no whole number in "
                f"{describe(first + int(wrong[0]))}",
                rule="must be text, or whole numbers",
                hint="write the column as text",
                parameter=PARAMETER,
            )
        return pc.cast(pc.cast(pa.array(values, mask=np.isnan(values)), pa.int64()), TEXT)
    has_text = t.is_null(kind) or t.is_string(kind) or t.is_large_string(kind)
    if has_text or t.is_integer(kind) or t.is_boolean(kind) or t.is_temporal(kind):
        # Times in a zone that nobody knows have no text.
        with suppress(pa.ArrowException):
            return pc.cast(column, TEXT)
    raise DataError(
        "audience.not_text", f"column '{name}' has type {kind}",
        rule="must be text, or whole numbers", hint="write the column as text",
        parameter=PARAMETER,
    )  # fmt: skip
