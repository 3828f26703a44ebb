"""Text files of either kind, CSV and workbooks, by the ends of their names."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gpuseg.errors import DataError
from gpuseg.io.file_version import FileVersion
from gpuseg.io.storage import Storage
from gpuseg.io.text_files.csv_file import CsvFile, open_csv
from gpuseg.io.text_files.dialect import NO_HEADER, naming_columns
from gpuseg.io.text_files.options import TextOptions, refuse_unused, unused_options
from gpuseg.io.text_files.text_format import CSV, TextFormat
from gpuseg.io.text_files.workbook import WorkbookFile, is_workbook, open_workbook

_CSV_NAMES = (".csv", ".tsv", ".txt")
_COMPRESSED = ("", ".gz", ".bz2", ".zst")
_CSV_SUFFIXES = tuple(f"{name}{end}" for name in _CSV_NAMES for end in _COMPRESSED)

READABLE = "Parquet, CSV or Excel"
"""The formats that files may have, for messages."""

TextFile = CsvFile | WorkbookFile


def is_csv(name: str) -> bool:
    """Return whether the name of a file is that of a CSV file."""
    return name.lower().endswith(_CSV_SUFFIXES)


def is_text_file(name: str) -> bool:
    """Return whether the name of a file is that of a CSV file or a workbook."""
    return is_csv(name) or is_workbook(name)


def find_format(
    storage: Storage,
    path: str,
    version: FileVersion,
    options: TextOptions,
    columns: Iterable[str],
) -> TextFormat:
    """Return the format of a file.

    Parameters
    ----------
    columns : iterable of str
        The names that the caller uses, for messages.

    Raises
    ------
    ConfigError, DataError, ResourceError
        See `open_csv` and `open_workbook`.
    """
    is_sheet = is_workbook(storage.relative(path))
    try:
        opened = (open_workbook if is_sheet else open_csv)(storage, path, version, options)
    except DataError as error:
        raise naming_columns(error, columns) if error.code == NO_HEADER else error from None
    return replace(opened.format, skip_footer=options.skip_footer or 0)


def text_file(storage: Storage, path: str, version: FileVersion, format: TextFormat) -> TextFile:
    """Return a file of a known format."""
    kind = CsvFile if format.kind == CSV else WorkbookFile
    return kind(storage, path, version, format)


def check_used(
    options: TextOptions, names: Sequence[str], parameter: str, reads_numbers: bool = False
) -> None:
    """Refuse keys that concern none of the files; see `options.refuse_unused`.

    Raises
    ------
    ConfigError
    """
    n_workbooks = sum(map(is_workbook, names))
    n_csv = sum(map(is_csv, names))
    refuse_unused(options, n_csv, n_workbooks, parameter, reads_numbers)


def used_options(
    options: TextOptions, names: Sequence[str], reads_numbers: bool = False
) -> list[str]:
    """Return the names of the options that are given and concern some of the files.

    `reads_numbers` says whether numbers in the text of Parquet files are read.
    """
    n_csv, n_workbooks = sum(map(is_csv, names)), sum(map(is_workbook, names))
    return options.given(unused_options(options, n_csv, n_workbooks, reads_numbers))
