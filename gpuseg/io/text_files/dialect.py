"""The signs of a CSV file: found in its first lines where the user does not name them.

The first lines are taken apart by each candidate. The right one gives all lines the same number of
values, more than one.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gpuseg.errors import TRUE, DataError, literal, set_keys
from gpuseg.io.text_files.encodings import join_blanks
from gpuseg.io.text_files.options import TextOptions

CANDIDATES = (",", ";", "\t", "|")
BLANKS = " "
QUOTE = '"'

_RECORDS = 60

NO_HEADER = "file.no_header"
"""Code of the error of a first line that has data."""

_SHOWN_VALUES = 12
_SHOWN_CHARACTERS = 24
_SHOWN_DIGITS = 8
"""Longer digits may be the number of a phone or a card."""

_SEPARATOR_LINE = re.compile(r'\A"?sep=([^\r\n])"?[ \t]*(\r\n|\n|\r|\Z)', re.IGNORECASE)
"""The first line that Excel writes and reads to name the separator."""

_BLANK_LINES = re.compile(r"(?:[ \t]*(?:\r\n|\n|\r(?=.)))+", re.DOTALL)
_LINE_END = re.compile(r"\r\n|\n|\r")

_DATA = re.compile(r"[+-]?[\d.,:/ -]*\d[\d.,:/ -]*")
"""A value that is a number or a date, as no column is called."""


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file are taken apart; the delimiter " " is any number of blanks."""

    delimiter: str
    quote: str


def rows_above_header(head: str, options: TextOptions) -> tuple[int, str | None]:
    """Return the number of lines above the header, and the delimiter if it is named.

    The user names it, or the first line of the file. Blank lines above the header are skipped.
    """
    if options.skip_rows is not None:
        return options.skip_rows, options.delimiter
    line = _SEPARATOR_LINE.match(head)
    above = head[: line.end()] if line else ""
    if blank := _BLANK_LINES.match(head, len(above)):
        above += blank[0]
    return len(_LINE_END.findall(above)), options.delimiter or (line[1] if line else None)


def find_dialect(
    text: str, is_whole: bool, options: TextOptions, delimiter: str | None = None
) -> Dialect:
    """Return the dialect of a file.

    Parameters
    ----------
    text : str
        The header and some lines more.
    is_whole : bool
        Whether the file has no more.
    delimiter : str, optional
        The delimiter, if it is known.
    """
    quote = QUOTE if options.quote is None else options.quote
    return Dialect(delimiter or _find_delimiter(text, is_whole, quote), quote)


def without_lines(text: str, n_lines: int) -> str:
    """Return text without its first lines."""
    for _ in range(n_lines):
        match = _LINE_END.search(text)
        if match is None:
            return ""
        text = text[match.end() :]
    return text


def _find_delimiter(head: str, is_whole: bool, quote: str) -> str:
    fields = {each: _field_counts(head, is_whole, each, quote) for each in CANDIDATES}
    consistent = {
        each: counts[0] for each, counts in fields.items() if len(set(counts)) == 1 < counts[0]
    }
    if consistent:
        return max(consistent, key=lambda each: consistent[each])
    if _is_separated_by_blanks(head, is_whole):
        return BLANKS
    # Some lines are wrong: the header decides, or the most frequent number of values below it.
    scores = {
        each: (counts[0] if counts else 0, _mode(counts[1:])) for each, counts in fields.items()
    }
    if max(first for first, _ in scores.values()) > 1:
        return max(scores, key=lambda each: scores[each])
    return max(scores, key=lambda each: scores[each][1])


def _mode(counts: list[int]) -> int:
    return Counter(counts).most_common(1)[0][0] if counts else 0


def _is_separated_by_blanks(head: str, is_whole: bool) -> bool:
    """Return whether all lines have the same number of values, and each has a number."""
    lines = [line.split() for line in head.splitlines()[: _RECORDS + 1]]
    records = [line for line in (lines if is_whole else lines[:-1]) if line]
    has_numbers = all(any(map(_DATA.fullmatch, record)) for record in records[1:])
    return len({len(record) for record in records}) == 1 and len(records[0]) > 1 and has_numbers


def _field_counts(head: str, is_whole: bool, delimiter: str, quote: str) -> list[int]:
    return [len(record) for record, _ in records_of(head, is_whole, Dialect(delimiter, quote))]


def records_of(head: str, is_whole: bool, dialect: Dialect) -> list[tuple[list[str], int]]:
    """Return the first records of the text, each with the number of lines above it.

    Records that are blank are left out; so is the last one of a text that goes on.
    """
    if dialect.delimiter == BLANKS:
        head = join_blanks(head)
    reader = _reader(io.StringIO(head, newline=""), dialect)
    records: list[tuple[list[str], int]] = []
    above = 0
    try:
        for record in reader:
            records.append((record, above))
            above = reader.line_num
            if len(records) > _RECORDS:
                return [item for item in records if item[0]]
    except csv.Error:  # a value of more than 128 KiB
        return [item for item in records if item[0]]
    if not is_whole and len(records) > 1:
        records.pop()
    return [item for item in records if item[0]]


def lines_above_record(
    lines: Iterable[str], record: int, dialect: Dialect, width: int
) -> int | None:
    """Return the number of lines above a record; a blank line is no record.

    Parameters
    ----------
    lines : iterable of str
        With their ends; blanks that separate values are single.
    record : int
        Its number from 0; a header is the first one.
    dialect : Dialect
    width : int
        Values of each record. None is returned if one above has more or fewer.
    """
    reader = _reader(lines, dialect)
    above = number = 0
    for values in reader:
        if values and number == record:
            return above
        if values and len(values) != width:
            return None
        number, above = number + bool(values), reader.line_num
    return None


def _reader(lines: Iterable[str], dialect: Dialect) -> Any:
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
    )


def check_header(
    text: str,
    is_whole: bool,
    dialect: Dialect,
    skip_rows: int,
    options: TextOptions,
    name: str,
) -> None:
    """Refuse a first line that is a title, or has the data of a file without a header.

    Parameters
    ----------
    text, is_whole : see `find_dialect`
    skip_rows : int
        Lines above the text.
    name : str
        The file, for messages.

    Raises
    ------
    DataError
    """
    records = records_of(text, is_whole, dialect)
    if not records:
        return
    if (row := row_of_header([record for record, _ in records])) > 0:
        header, above = records[row]
        raise title_above_header(name, header, above + skip_rows, "line")
    if options.header is None:
        refuse_data_as_header(records[0][0], name)


def row_of_header(records: list[list[str]]) -> int:
    """Return which row is the header: the first one, unless those above it are titles.

    A title has a value in one column, where most rows below have values in several.
    """
    filled = [sum(1 for value in record if value.strip()) for record in records]
    width = _mode([len(record) for record in records])
    if len(filled) < 3 or width < 2 or filled[0] > 1 or _mode(filled[1:]) < 2:
        return 0
    return next((row for row, n in enumerate(filled) if n > 1), 0)


def title_above_header(name: str, header: Sequence[str], above: int, unit: str) -> DataError:
    """Return the error of a title above a header.

    Parameters
    ----------
    name : str
        The file, for messages.
    header : sequence of str
        The values of the header.
    above : int
        Lines or rows above it.
    unit : str
        "line" or "row".
    """
    return DataError(
        "file.title_above_header",
        f"{name} has a title in {unit} 1; the header with the names of the columns seems to be "
        f"{unit} {above + 1}",
        reason=shown_values(header),
        hint=f"{set_keys(f'skip_rows = {above}')}; or remove the {unit}s above the header",
    )


def refuse_data_as_header(names: list[str], name: str) -> None:
    """Refuse a header in which all names are numbers or dates.

    The numbers 0, 1, 2, … are the names that pandas gives to columns without names.

    Raises
    ------
    DataError
    """
    given = [each.strip() for each in names if each.strip()]
    is_numbered = given == [str(i) for i in range(len(given))]
    if given and not is_numbered and all(map(_DATA.fullmatch, given)):
        columns = ", ".join(_quoted([f"column_{i + 1}" for i in range(len(names))]))
        raise DataError(
            NO_HEADER,
            f"{name}: the first line has numbers and dates where a header has the names of the "
            "columns",
            reason=shown_values(names),
            hint=f"{set_keys(f'header = [{columns}]')}, with your names from left to right, one "
            f"for each value; if that line is the names, write header = {TRUE}",
        )


def naming_columns(error: DataError, columns: Iterable[str]) -> DataError:
    """Return the error of a file without a header, with the names that the caller uses."""
    used = ", ".join(_quoted(list(dict.fromkeys(columns))))
    names = (
        f"the names in use are {literal(used)}, in no order: put each at the place of its values"
    )
    hint = f"{error.hint}; {names}" if used else error.hint
    return DataError(error.code, error.problem, reason=error.reason, hint=hint)


def shown_values(values: Sequence[str]) -> str:
    """Return the first values of a line for a message, each shortened; long digits are cut."""
    digits = rf"(\d{{{_SHOWN_DIGITS}}})\d+"
    short = [re.sub(digits, r"\1…", value.strip()) for value in values[:_SHOWN_VALUES]]
    short = [
        value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
        for value in short
    ]
    return ", ".join(map(repr, short)) + ", …" * (len(values) > _SHOWN_VALUES)


def _quoted(names: Sequence[str]) -> list[str]:
    """Return names as a job file has them; many are cut."""
    quoted = [json.dumps(name, ensure_ascii=False) for name in names[:_SHOWN_VALUES]]
    return quoted + ["…"] * (len(names) > _SHOWN_VALUES)
