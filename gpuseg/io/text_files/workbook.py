"""Workbooks of Excel (.xlsx): a sheet is read as text, as if it had been saved as a CSV file.

A cell has its own type. Whole numbers are written without a decimal point, times as ISO 8601 and
truth values as true and false, so that the types of columns are found as those of CSV files are.
"""

import io
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any

import pyarrow as pa

from gpuseg.errors import ConfigError, DataError, ResourceError, install_extra, literal
from gpuseg.formatting import count
from gpuseg.io.file_version import FileVersion
from gpuseg.io.library_errors import first_line
from gpuseg.io.storage import Storage
from gpuseg.io.text_files.choose_format import named_format
from gpuseg.io.text_files.dialect import refuse_data_as_header, row_of_header, title_above_header
from gpuseg.io.text_files.footers import without_last_rows
from gpuseg.io.text_files.number_format import PLAIN
from gpuseg.io.text_files.options import TextOptions
from gpuseg.io.text_files.text_file import TextFile
from gpuseg.io.text_files.text_format import WORKBOOK, TextFormat

_SUFFIXES = (".xlsx", ".xlsm")
_BATCH_ROWS = 2**16
_SAMPLE_ROWS = 60
_EXACT = 2**53
_MAX_BYTES = 2**32
"""Maximum of the unpacked workbook; a sheet has at most 1,048,576 rows."""


def is_workbook(name: str) -> bool:
    """Return whether the name of a file is that of a workbook."""
    return name.lower().endswith(_SUFFIXES)


class WorkbookFile(TextFile):
    """A sheet of a workbook, whose format is known."""

    def text_batches(self, columns: Sequence[str]) -> Generator[pa.RecordBatch, None, None]:
        """Read columns as text, in batches; an empty cell is null.

        Raises
        ------
        DataError
            For a file that cannot be read or has changed.
        """
        self.storage.refuse_change(self.path, self.version)
        footer = self.format.skip_footer
        yield from without_last_rows(self._batches(columns), footer, lambda _: footer)
        self.storage.refuse_change(self.path, self.version)

    def _batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        decimal = self.format.decimal
        places = [self.format.columns.index(name) for name in columns]
        rows = self._rows()
        while texts := [_texts_at(row, places, decimal) for row in islice(rows, _BATCH_ROWS)]:
            arrays = [pa.array(list(column), pa.string()) for column in zip(*texts, strict=True)]
            yield pa.record_batch(arrays, names=list(columns))

    def place_of(self, row: int) -> str | None:
        """Return the row of the sheet, counted from 1."""
        number = next(islice(self._numbered_rows(), row, None), None)
        return None if number is None else f"row {number[0]}"

    def _rows(self) -> Iterator[list[Any]]:
        """Yield the rows below the header; a blank row is none."""
        return (row for _, row in self._numbered_rows())

    def _numbered_rows(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield the rows below the header, with their numbers in the sheet from 1."""
        workbook = _opened(self.storage, self.path, self.version)
        rows = enumerate(_rows_of(workbook, self.format.sheet, self.name), 1)
        below = islice(rows, self.format.skip_rows + self.format.has_header, None)
        return ((number, row) for number, row in below if any(value != "" for value in row))


def _texts_at(row: Sequence[Any], places: Sequence[int], decimal: str) -> list[str | None]:
    return [text_of(row[place], decimal) if place < len(row) else None for place in places]


def text_of(value: Any, decimal: str = ".") -> str | None:
    """Return the value of a cell as text; an empty cell is None.

    Numbers have the decimal sign of the numbers in text, so that one sign reads both.
    """
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        is_exact = value.is_integer() and abs(value) < _EXACT
        return str(int(value)) if is_exact else repr(value).replace(".", decimal)
    if isinstance(value, datetime):
        has_time = value.time() != time()
        return value.isoformat(" ") if has_time else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value)


def open_workbook(
    storage: Storage, path: str, version: FileVersion, options: TextOptions | None = None
) -> WorkbookFile:
    """Choose the sheet of a workbook, and read its header.

    Raises
    ------
    ConfigError
        If there is no sheet of the name.
    DataError
        For a file that cannot be read or has changed, and a sheet without a header.
    ResourceError
        If the extra `excel` is not installed.
    """
    options = options or TextOptions()
    name = storage.relative(path)
    storage.refuse_change(path, version)
    workbook = _opened(storage, path, version)
    sheets = list(workbook.sheet_names)
    sheet = _chosen_sheet(sheets, options.sheet, name)
    records = [
        [text_of(value) or "" for value in row]
        for row in islice(_rows_of(workbook, sheet, name), (options.skip_rows or 0) + _SAMPLE_ROWS)
    ]
    skip_rows = options.skip_rows
    if skip_rows is None:  # blank rows above the header
        skip_rows = next((i for i, row in enumerate(records) if any(row)), 0)
    records = records[skip_rows:]
    if not records or not any(records[0]):
        raise DataError(
            "file.no_rows_in_sheet",
            f"{name}: sheet {sheet!r} has no row with the names of the columns",
            hint="name another `sheet`" if len(sheets) > 1 else "give a sheet with a table",
        )
    names, has_header = _names(records, skip_rows, options, name)
    return WorkbookFile(
        storage, path, version,
        TextFormat(
            WORKBOOK, tuple(names), skip_rows=skip_rows, has_header=has_header, sheet=sheet,
            n_sheets=len(sheets), decimal=(named_format(options) or PLAIN).decimal,
        ),
    )  # fmt: skip


def _chosen_sheet(sheets: list[str], wanted: str | None, name: str) -> str:
    if not sheets:
        raise DataError("file.no_sheet", f"{name} has no sheet", hint="write it again")
    if wanted is not None and wanted not in sheets:
        raise ConfigError(
            "sheet.unknown",
            f"{name} has no sheet of that name",
            value=wanted,
            parameter="sheet",
            hint=f"its sheets are {literal(', '.join(map(repr, sheets[:10])))}",
        )
    return wanted or sheets[0]


def _names(
    records: list[list[str]], skip_rows: int, options: TextOptions, name: str
) -> tuple[list[str], bool]:
    """Return the names of the columns, and whether the sheet has them."""
    width = max(len(row) for row in records)
    if isinstance(options.header, tuple):
        if len(options.header) != width:
            raise DataError(
                "file.header_length",
                f"{name} has {count(width, 'column')}, and the header of the job has "
                f"{count(len(options.header), 'name')}",
                hint="name each column of the sheet",
            )
        return list(options.header), False
    if options.header is False:
        return [f"column_{i + 1}" for i in range(width)], False
    if (row := row_of_header([row for row in records if any(row)])) > 0:
        filled = [i for i, values in enumerate(records) if any(values)]
        above = filled[row]
        raise title_above_header(name, records[above], above + skip_rows, "row")
    header = records[0]
    if options.header is None:
        refuse_data_as_header(header, name)
    while header and not header[-1] and not any(row[len(header) - 1 :] for row in records[1:]):
        header = header[:-1]
    return header, True


def _opened(storage: Storage, path: str, version: FileVersion) -> Any:
    """Open a workbook.

    Raises
    ------
    DataError
        For a file that is no workbook, or too large.
    """
    python_calamine = _library()
    name = storage.relative(path)
    with storage.wrap_reading(path, version, *_UNREADABLE), storage.fs.open(path, "rb") as file:
        content = file.read()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise _unreadable(name, error) from None
    if size > _MAX_BYTES:
        raise DataError(
            "file.too_large",
            f"{name} has {size:,} bytes when it is unpacked",
            rule=f"a workbook must have at most {_MAX_BYTES:,}",
            hint="write it as CSV or Parquet",
        )
    with _naming(name):
        return python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))


def _rows_of(workbook: Any, sheet: str, name: str) -> Iterator[list[Any]]:
    """Yield the rows of a sheet, from its first row on."""
    with _naming(name):
        return iter(workbook.get_sheet_by_name(sheet).iter_rows())


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn errors of the library into `DataError`; `name` is the file.

    A mistake in the library itself (a panic of Rust) is no `Exception`.
    """
    try:
        yield
    except BaseException as error:
        kind = type(error)
        if kind.__module__.startswith("python_calamine") or kind.__name__ == "PanicException":
            raise _unreadable(name, error) from None
        if isinstance(error, OSError | ValueError | zipfile.BadZipFile):
            raise _unreadable(name, error) from None
        raise


def _unreadable(name: str, error: BaseException) -> DataError:
    code, problem, hint = _UNREADABLE
    return DataError(code, f"{name}{problem}", hint=hint, reason=first_line(error))


_UNREADABLE = (
    "file.not_workbook",
    " cannot be read as a workbook of Excel",
    "save it again in Excel, or as CSV",
)


def _library() -> Any:
    try:
        import python_calamine
    except ImportError as error:
        raise ResourceError(
            "excel.not_installed",
            f"the package for workbooks of Excel cannot be loaded ({error})",
            hint=f"{install_extra('excel')}, or save the workbook as CSV",
        ) from None
    return python_calamine
