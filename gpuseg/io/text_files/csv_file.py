"""CSV files: their format is found in their first bytes, and their values are read as text.

Arrow reads UTF-8 with one delimiter. Files of other encodings, and files whose values are separated
by several blanks, are rewritten so in memory, in pieces.
"""

import codecs
import csv
import io
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv

from gpuseg import arrow_compute as pc
from gpuseg.arrow import first_invalid
from gpuseg.errors import DataError, set_keys
from gpuseg.formatting import count
from gpuseg.io.file_formats import HEAD_BYTES, PARQUET, TEXT, other_format
from gpuseg.io.file_version import FileVersion
from gpuseg.io.library_errors import LIBRARY_ERRORS
from gpuseg.io.storage import Storage
from gpuseg.io.text_files.dialect import (
    BLANKS,
    CANDIDATES,
    QUOTE,
    Dialect,
    check_header,
    find_dialect,
    lines_above_record,
    rows_above_header,
    without_lines,
)
from gpuseg.io.text_files.encodings import (
    SNIFFED_BYTES,
    UTF8,
    WESTERN,
    Utf8Stream,
    find_encoding,
    join_blanks,
)
from gpuseg.io.text_files.footers import without_last_rows
from gpuseg.io.text_files.options import TextOptions
from gpuseg.io.text_files.text_file import TextFile
from gpuseg.io.text_files.text_format import CSV, TextFormat

_BLOCK_BYTES = 2**23
_HEADER_BYTES = 2**24
"""Maximum of the header line: 70,000 names have about one MiB."""

_SNIFFED_BYTES_OF_STORES = 2**20
_PIECE_BYTES = 2**16
_SAMPLE_CHARACTERS = 2**14
"""Characters below the header in which the dialect is looked for."""


class CsvFile(TextFile):
    """A CSV file whose format is known."""

    def text_batches(self, columns: Sequence[str]) -> Generator[pa.RecordBatch, None, None]:
        """Read columns as text, in batches; an empty value is null.

        Raises
        ------
        DataError
            For a file that cannot be read or has changed, and a value that has another encoding.
        """
        self.storage.refuse_change(self.path, self.version)
        if not self.format.has_rows:
            return
        batches = self._batches(columns, pa.string())
        while True:
            with self._reading(columns):
                batch = next(batches, None)
            if batch is None:
                break
            yield batch
        self.storage.refuse_change(self.path, self.version)

    def place_of(self, row: int) -> str | None:
        """Return the line that a row begins in, counted from 1.

        Python's reader counts lines, which Arrow does not. None if the two may read different rows.
        """
        try:
            with _decompressed(self.storage, self.path) as file:
                dialect = Dialect(self.format.delimiter, self.format.quote)
                lines = islice(_lines_of(self._as_utf8(file)), self.format.skip_rows, None)
                record = row + self.format.has_header
                above = lines_above_record(lines, record, dialect, len(self.format.columns))
        except _UNCOUNTABLE:  # the error that is described matters more
            return None
        return None if above is None else f"line {self.format.skip_rows + above + 1}"

    def _batches(self, columns: Sequence[str], kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        footer = _FooterRows(self) if self.format.skip_footer else None
        with _decompressed(self.storage, self.path) as file:
            try:
                batches: Iterable[pa.RecordBatch] = pyarrow.csv.open_csv(
                    self._as_utf8(file),
                    pyarrow.csv.ReadOptions(
                        use_threads=False,
                        block_size=_BLOCK_BYTES,
                        skip_rows=self.format.skip_rows,
                        column_names=None if self.format.has_header else list(self.format.columns),
                    ),
                    pyarrow.csv.ParseOptions(
                        delimiter=self.format.delimiter,
                        quote_char=self.format.quote or False,
                        newlines_in_values=bool(self.format.quote),
                        invalid_row_handler=footer.skip if footer else None,
                    ),
                    pyarrow.csv.ConvertOptions(
                        include_columns=columns,
                        column_types=dict.fromkeys(columns, kind),
                        strings_can_be_null=True,
                        null_values=[""],
                    ),
                )
                if footer:
                    batches = without_last_rows(batches, self.format.skip_footer, footer.to_drop)
                yield from batches
            except LIBRARY_ERRORS as error:
                if wrong_row := _row_length(self, error):
                    raise wrong_row from None
                if "straddl" in str(error):
                    raise DataError(
                        "file.row_too_long",
                        f"{self.name}: a row has more than {_BLOCK_BYTES:,} bytes",
                        hint="check that each quote is closed",
                    ) from None
                raise

    def _as_utf8(self, file: BinaryIO) -> BinaryIO:
        joins_blanks = self.format.delimiter == BLANKS
        if self.format.encoding == UTF8 and not joins_blanks:
            return file
        return _DecodingErrors(file, self.format.encoding, joins_blanks)  # type: ignore[return-value]

    def _refuse_not_utf8(self, columns: Sequence[str]) -> None:
        """Read the file once more, and refuse the first value that is not UTF-8."""
        first = 0
        for batch in self._batches(columns, pa.binary()):
            rows = {name: first_invalid(_as_text, batch.column(name)) for name in columns}
            name = min(rows, key=lambda name: rows[name])
            if rows[name] < batch.num_rows:
                raise DataError(
                    "file.not_utf8",
                    f"the text of column '{name}' in {self.describe_row(first + rows[name])} is "
                    "not UTF-8",
                    hint=_NAME_ENCODING,
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


def _row_length(file: CsvFile, error: BaseException) -> DataError | None:
    """Return the error of a row that has more or fewer values than the header, if it is that."""
    match = _ROW_LENGTH.search(str(error))
    if match is None:
        return None
    number = None if match[1] is None else int(match[1])
    return _wrong_row(file, number, int(match[2]), int(match[3]))


def _wrong_row(file: CsvFile, number: int | None, expected: int, actual: int) -> DataError:
    """Return the error of a row with the number that Arrow has for it."""
    where = f"a row of {file.name}"
    if number is not None:
        where = file.describe_row(number - 1 - file.format.skip_rows - file.format.has_header)
    return DataError(
        "file.row_length",
        f"{where} has {count(actual, 'value')}, but the first line has "
        f"{expected:,}, with the delimiter {file.format.delimiter!r}",
        hint="put values that have the delimiter in them in quotes, or name another `delimiter`; "
        f"if it is a line below the table, {set_keys('skip_footer = 1')}, or the number of such "
        "lines",
    )


_ROW_LENGTH = re.compile(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")


class _FooterRows:
    """Rows with more or fewer values than the header, which are left out if they are the last."""

    def __init__(self, file: CsvFile) -> None:
        self._file = file
        self._rows: list[Any] = []

    def skip(self, row: Any) -> str:
        """Take a row of Arrow."""
        self._rows.append(row)
        return "skip"

    def to_drop(self, n_rows: int) -> int:
        """Return how many of the rows that Arrow has read are left out at the end.

        Raises
        ------
        DataError
            If a row above the footer has more or fewer values than the header.
        """
        format = self._file.format
        last = format.skip_rows + format.has_header + n_rows + len(self._rows)
        for row in self._rows:
            if row.number <= last - format.skip_footer:
                raise _wrong_row(self._file, row.number, row.expected_columns, row.actual_columns)
        return format.skip_footer - len(self._rows)


class _DecodingErrors(Utf8Stream):
    """Name the place at which a file cannot be decoded, which Arrow would not."""

    def __init__(self, file: BinaryIO, encoding: str, joins_blanks: bool) -> None:
        super().__init__(file, encoding, joins_blanks)
        self._encoding = encoding

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes of UTF-8."""
        try:
            return super().read(size)
        except UnicodeError:
            raise ValueError(f"it is not {self._encoding}") from None


_UNCOUNTABLE: tuple[type[Exception], ...] = (*LIBRARY_ERRORS, csv.Error)

_UNREADABLE = ("file.unreadable", " cannot be read as CSV", "write it again, or as Parquet")
_NAME_ENCODING = (
    set_keys(f'encoding = "{WESTERN}"')
    + ", or the encoding that the file has; or save the file as UTF-8"
)


def _lines_of(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of UTF-8 with their ends, which are those that Arrow knows."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    rest = ""
    while piece := file.read(_BLOCK_BYTES):
        rest += decoder.decode(piece)
        end = max(rest.rfind("\n"), rest.rfind("\r", 0, -1)) + 1  # the last may be half of "\r\n"
        yield from io.StringIO(rest[:end], newline="")
        rest = rest[end:]
    yield from io.StringIO(rest, newline="")


def _as_text(column: pa.Array) -> pa.Array:
    return pc.cast(column, pa.string())


def open_csv(
    storage: Storage, path: str, version: FileVersion, options: TextOptions | None = None
) -> CsvFile:
    """Find the format of a CSV file, and read its header.

    Parameters
    ----------
    version : FileVersion
        The version that the file must have.

    Raises
    ------
    DataError
        For a file that cannot be read or has changed, that has no header line, or whose encoding
        cannot be detected.
    """
    options = options or TextOptions()
    storage.refuse_change(path, version)
    with (
        storage.wrap_reading(
            path, version, "file.not_csv", " is not a CSV file with a header line",
            "write it again, or give the path of the CSV files alone",
        ),
        _decompressed(storage, path) as file,
    ):  # fmt: skip
        detected = _find_format(file, storage, path, options)
    return CsvFile(storage, path, version, detected)


@contextmanager
def _decompressed(storage: Storage, path: str) -> Iterator[BinaryIO]:
    """Open a file, whose name says how it is compressed."""
    if not storage.relative(path).lower().endswith(".zst"):
        with storage.fs.open(path, "rb", compression="infer") as file:
            yield file
        return
    with (
        storage.fs.open(path, "rb") as compressed,
        pa.CompressedInputStream(pa.PythonFile(compressed, mode="r"), "zstd") as file,
    ):
        yield file


def _find_format(file: BinaryIO, storage: Storage, path: str, options: TextOptions) -> TextFormat:
    head, name = _Head(file), storage.relative(path)
    _refuse_other_format(head.first(HEAD_BYTES), storage, path)
    encoding = options.encoding or find_encoding(
        head.first(SNIFFED_BYTES if storage.is_local else _SNIFFED_BYTES_OF_STORES), name
    )
    sample = _read_sample(head, encoding, options, name)
    _refuse_other_encoding(sample.header, encoding, name)
    if not sample.header.strip():
        raise _empty(name)
    dialect = find_dialect(sample.text, sample.is_whole, options, sample.delimiter)
    has_header = not isinstance(options.header, tuple) and options.header is not False
    if has_header:
        check_header(sample.text, sample.is_whole, dialect, sample.skip_rows, options, name)
    names = _values_of(sample.header, dialect)
    if isinstance(options.header, tuple):
        if len(options.header) != len(names):
            raise DataError(
                "file.header_length",
                f"{name} has {count(len(names), 'value')} in its first line, and the header of "
                f"the job has {count(len(options.header), 'name')}",
                hint="name each column of the file",
            )
        names = list(options.header)
    elif not has_header:
        names = [f"column_{i + 1}" for i in range(len(names))]
    return TextFormat(
        CSV, tuple(names), encoding, dialect.delimiter, dialect.quote, sample.skip_rows, has_header,
        not (has_header and sample.is_whole and sample.text == sample.header),
    )  # fmt: skip


def _refuse_other_format(head: bytes, storage: Storage, path: str) -> None:
    """Refuse a file that is evidently no CSV file, and an empty one.

    Raises
    ------
    DataError
    """
    name = storage.relative(path)
    other = PARQUET if head.startswith(b"PAR1") else other_format(head)
    if other is not None and other is not TEXT:
        raise DataError(
            "file.not_csv",
            f"{name} is {other.title}, not CSV",
            hint=storage.next_step(path, other),
        )
    if not head.strip():
        raise _empty(name)


def _empty(name: str) -> DataError:
    return DataError(
        "file.empty",
        f"{name} has no line, or none below those that are skipped",
        rule="a CSV file must have a line with the names of its columns",
        hint="write it again, or remove it",
    )


class _Head:
    """The first bytes of a file, read once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._bytes = file, b""

    def first(self, size: int) -> bytes:
        """Return the first `size` bytes, or all of a file that is shorter."""
        pieces = [self._bytes]
        missing = size - len(self._bytes)
        while missing > 0 and (piece := self._file.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        self._bytes = b"".join(pieces)
        return self._bytes[:size]


@dataclass(frozen=True)
class _Sample:
    """The first lines of a file.

    Attributes
    ----------
    text : str
        The header and some lines below it.
    header : str
        The first record of the text.
    is_whole : bool
        Whether the file has no more than the text.
    skip_rows : int
        Lines above the text.
    delimiter : str or None
        As the user or the first line of the file names it.
    """

    text: str
    header: str
    is_whole: bool
    skip_rows: int
    delimiter: str | None


def _read_sample(head: _Head, encoding: str, options: TextOptions, name: str) -> _Sample:
    """Read the header, where a line break in quotes does not end it, and some lines below it.

    Raises
    ------
    DataError
        If the header is too long, or the text has another encoding.
    """
    size, quote = _PIECE_BYTES, QUOTE if options.quote is None else options.quote
    while True:
        content = head.first(size)
        is_whole = len(content) < size
        text = _decoded(content, encoding, is_whole, name)
        skip_rows, delimiter = rows_above_header(text, options)
        below = without_lines(text, skip_rows)
        end = _end_of_record(below, quote, delimiter)
        if is_whole or (end is not None and len(below) >= end + _SAMPLE_CHARACTERS):
            return _Sample(below, below[:end], is_whole, skip_rows, delimiter)
        if size >= _HEADER_BYTES and end is None:
            raise DataError(
                "file.header_too_long",
                f"{name}: the header line has more than {_HEADER_BYTES:,} bytes",
                hint="check that the file has a header line, and that each quote is closed",
            )
        size *= 2


def _decoded(content: bytes, encoding: str, is_whole: bool, name: str) -> str:
    """Decode the first bytes of a file; bytes that are not UTF-8 become halves of characters."""
    errors = "surrogateescape" if encoding == UTF8 else "strict"
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == UTF8 else encoding)(errors)
    try:
        return decoder.decode(content, is_whole)
    except UnicodeError:
        raise DataError(
            "file.not_decodable",
            f"{name} is not {encoding}",
            hint="name its encoding in `encoding`, or leave the key out, and it is looked for",
        ) from None


def _end_of_record(text: str, quote: str, delimiter: str | None) -> int | None:
    """Return the end of the first record of a text, or None if it goes on."""
    for match in _quoted_or_line_end(quote, delimiter).finditer(text):
        if match[0] in ("\n", "\r\n", "\r"):
            return match.end()
    return None


@cache
def _quoted_or_line_end(quote: str, delimiter: str | None) -> re.Pattern[str]:
    """Return the pattern of a value in quotes, or the start of one, and of the end of a line.

    A quote inside is written twice.
    """
    line_end = r"\r\n|\n|\r(?=.)"
    if not quote:
        return re.compile(line_end, re.DOTALL)
    q, before = re.escape(quote), re.escape("".join(CANDIDATES) + (delimiter or ""))
    quoted = rf"(?<![^{before}\r\n]){q}[^{q}]*(?:{q}{q}[^{q}]*)*(?:{q}(?!{q})|\Z)"
    return re.compile(rf"{quoted}|{line_end}", re.DOTALL)


def _values_of(record: str, dialect: Dialect) -> list[str]:
    """Return the values of a record, as Arrow reads it."""
    record = join_blanks(record) if dialect.delimiter == BLANKS else record
    content = f"{record}\n".encode()
    names: list[str] = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        pyarrow.csv.ReadOptions(block_size=len(content) + 1),
        pyarrow.csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            newlines_in_values=bool(dialect.quote),
        ),
    ).column_names
    return names


def _refuse_other_encoding(header: str, encoding: str, name: str) -> None:
    try:
        is_text = "\0" not in header
        header.encode()
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise DataError(
            "file.not_utf8",
            f"{name}: the header line is not {encoding}",
            hint=_NAME_ENCODING,
        )
