"""CSV files with a header line, as UTF-8: all values as text, or typed by the values.

Arrow reads a column as bytes where a value is not UTF-8. No such column is let in.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from gpuseg import arrow_compute as pc
from gpuseg.arrow import first_invalid
from gpuseg.errors import DataError
from gpuseg.io.file_version import FileVersion
from gpuseg.io.library_errors import LIBRARY_ERRORS
from gpuseg.io.storage import Storage

_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
PARQUET_OR_CSV = "Parquet or CSV"
"""The formats of files that lines and attributes may have, for messages."""

_SEPARATORS = ",;\t|"
_QUOTED = rb'(?<![^,;\t|\r])"[^"]*(?:""[^"]*)*(?:"(?!")|\Z)'
"""A name in quotes, or the start of one, as Arrow reads it; a quote inside is written twice."""

_QUOTED_NAME = re.compile(_QUOTED)
_QUOTED_NAME_OR_LINE_END = re.compile(_QUOTED + rb"|\n")
_BLOCK_BYTES = 2**23
_HEADER_BYTES = 2**24
"""Maximum of the header line: 70,000 names have about one MiB."""

_PIECE_BYTES = 2**16

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def is_csv(name: str) -> bool:
    """Return whether the name of a file is that of a CSV file."""
    return name.lower().endswith(_SUFFIXES)


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose header has been read.

    Attributes
    ----------
    storage : Storage
    path : str
    version : FileVersion
        The version that the file must have, before and after.
    separator : str
    columns : tuple of str
    """

    storage: Storage
    path: str
    version: FileVersion
    separator: str
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the file, for messages."""
        return self.storage.relative(self.path)

    def text_batches(self, columns: Sequence[str]) -> Generator[pa.RecordBatch, None, None]:
        """Read columns as text, in batches; an empty value is null.

        Raises
        ------
        DataError
            For a file that cannot be read or has changed, and a value that is not UTF-8.
        """
        self.storage.refuse_change(self.path, self.version)
        batches = self._batches(columns, pa.string())
        while True:
            with self._reading(columns):
                batch = next(batches, None)
            if batch is None:
                break
            yield batch
        self.storage.refuse_change(self.path, self.version)

    def table(self, columns: Sequence[str], text: str) -> pa.Table:
        """Read columns, each with the type of all its values; that of `text` is text.

        Raises
        ------
        DataError
            For a file that cannot be read or has changed, and a value that is not UTF-8.
        """
        self.storage.refuse_change(self.path, self.version)
        options = pyarrow.csv.ConvertOptions(
            include_columns=columns, column_types={text: pa.string()}, strings_can_be_null=True,
            null_values=[""],
        )  # fmt: skip
        with (
            self._reading(columns),
            self.storage.fs.open(self.path, "rb", compression="infer") as file,
        ):
            table = pyarrow.csv.read_csv(
                file, parse_options=self._parse_options(), convert_options=options
            )
        self.storage.refuse_change(self.path, self.version)
        as_bytes = [name for name in columns if pa.types.is_binary(table.schema.field(name).type)]
        if as_bytes:
            with self.storage.wrap_reading(self.path, self.version, *_UNREADABLE):
                self._refuse_not_utf8(as_bytes)
            raise DataError(
                "file.not_utf8",
                f"{self.name}: the text of column '{as_bytes[0]}' is not UTF-8",
                hint=_CONVERT,
            )
        return table

    def _batches(self, columns: Sequence[str], kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        with self.storage.fs.open(self.path, "rb", compression="infer") as file:
            yield from pyarrow.csv.open_csv(
                file,
                pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                self._parse_options(),
                pyarrow.csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns, kind),
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )

    def _parse_options(self) -> pyarrow.csv.ParseOptions:
        return pyarrow.csv.ParseOptions(delimiter=self.separator, newlines_in_values=True)

    def _refuse_not_utf8(self, columns: Sequence[str]) -> None:
        """Read the file once more, and refuse the first value that is not UTF-8."""
        first = 0
        for batch in self._batches(columns, pa.binary()):
            rows = {name: first_invalid(_as_text, batch.column(name)) for name in columns}
            name = min(rows, key=lambda name: rows[name])
            if rows[name] < batch.num_rows:
                raise DataError(
                    "file.not_utf8",
                    f"{self.name}: the text of column '{name}' in row {first + rows[name]} "
                    "(rows count from 0) is not UTF-8",
                    hint=_CONVERT,
                )
            first += batch.num_rows

    @contextmanager
    def _reading(self, columns: Sequence[str]) -> Iterator[None]:
        """Turn errors of reading columns into `DataError`."""
        try:
            with self.storage.wrap_reading(self.path, self.version, *_UNREADABLE):
                yield
        except DataError as error:
            if error.code == _UNREADABLE[0]:
                self._refuse_not_utf8_if_readable(columns)
            raise

    def _refuse_not_utf8_if_readable(self, columns: Sequence[str]) -> None:
        """Refuse the first value that is not UTF-8 before the place that cannot be read."""
        try:
            self._refuse_not_utf8(columns)
        except DataError:
            raise
        except LIBRARY_ERRORS:  # the caller raises its own error of this place
            return


_UNREADABLE = ("file.unreadable", " cannot be read as CSV", "write it again, or as Parquet")
_CONVERT = "convert the file to UTF-8, for example with: iconv -f WINDOWS-1252 -t UTF-8"


def _as_text(column: pa.Array) -> pa.Array:
    return pc.cast(column, pa.string())


def open_csv(storage: Storage, path: str, version: FileVersion) -> CsvFile:
    """Read the header line of a CSV file.

    Parameters
    ----------
    version : FileVersion
        The version that the file must have.

    Raises
    ------
    DataError
        For a file that cannot be read or has changed, that has no header line, or whose header is
        not UTF-8.
    """
    name = storage.relative(path)
    storage.refuse_change(path, version)
    with storage.wrap_reading(
        path, version, "file.not_csv", " is not a CSV file with a header line",
        "write it again, or give the path of the CSV files alone",
    ):  # fmt: skip
        with storage.fs.open(path, "rb", compression="infer") as file:
            header = _header_of(file, name)
        _refuse_other_encoding(header, name)
        unquoted = _QUOTED_NAME.sub(b"", header)
        separator = max(_SEPARATORS, key=lambda separator: unquoted.count(separator.encode()))
        columns = pyarrow.csv.read_csv(
            pa.BufferReader(header),
            pyarrow.csv.ReadOptions(block_size=len(header) + 1),
            pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        ).column_names
    return CsvFile(storage, path, version, separator, tuple(columns))


def _header_of(file: BinaryIO, name: str) -> bytes:
    """Read the header line, without a byte order mark; a line break in quotes does not end it.

    A file of a web server or a store has no `readline` with a limit.

    Raises
    ------
    DataError
        If the header line is too long.
    """
    head = b""
    while len(head) < _HEADER_BYTES and (piece := file.read(max(len(head), _PIECE_BYTES))):
        head = (head + piece).removeprefix(_UTF8_MARK)
        for match in _QUOTED_NAME_OR_LINE_END.finditer(head):
            if match[0] == b"\n":
                return head[: match.end()]
    if len(head) >= _HEADER_BYTES:
        raise DataError(
            "file.header_too_long",
            f"{name}: the header line has more than {_HEADER_BYTES:,} bytes",
            hint="check that the file has a header line, and that each quote is closed",
        )
    return head


def _refuse_other_encoding(header: bytes, name: str) -> None:
    try:
        is_utf8 = "\0" not in header.decode()
    except UnicodeDecodeError:
        is_utf8 = False
    if not is_utf8:
        is_utf16 = header.startswith(_UTF16)
        raise DataError(
            "file.not_utf8",
            f"{name}: the header line is {'UTF-16' if is_utf16 else 'not UTF-8'}",
            rule="CSV files must be UTF-8",
            hint=_CONVERT.replace("WINDOWS-1252", "UTF-16") if is_utf16 else _CONVERT,
        )
