"""Text of lines that is no number or time as gpuseg reads them: which format it has instead.

A column in another format has an error that says so, and how to convert the column. A hint shows
no value, since values may be hidden.
"""

import re
from collections.abc import Sequence

import pyarrow as pa

from gpuseg import arrow_compute as pc

_SAMPLE_ROWS = 1000
_GROUPS = r"\d{1,3}(?:[.'’ \u00a0\u202f]\d{3})+"
"""Digits of a number with a mark between thousands, where the decimal mark is a comma."""

_DECIMAL_COMMA = re.compile(rf"[+-]?(?:{_GROUPS}|\d*),\d+")
_COMMA_OF_THREE = re.compile(r"[+-]?\d{1,3},\d{3}")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:[,'’ \u00a0\u202f]\d{3})+(?:\.\d+)?")
_CURRENCY = re.compile(
    r"\s*(?:[^\d\s.,+-]{1,3}\s*[+-]?\d[\d.,]*|[+-]?\d[\d.,]*\s*[^\d\s.,+-]{1,3})\s*"
)

_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?!\d)(.*)")
_YEAR_FIRST = re.compile(r"\d{4}([./])\d{1,2}\1\d{1,2}(?!\d)(.*)")
_ISO_WITH_ZONE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*\s*(?:Z|[+-]\d\d:?(?:\d\d)?)")
_TIME = re.compile(r"([T ,]*)\d{1,2}:\d\d(:\d\d)?(\.\d+)?( ?[AaPp][Mm])?")
_EPOCH = re.compile(r"\d{10}|\d{13}")
_EIGHT_DIGITS = re.compile(r"\d{8}")


def next_step(text: pa.Array, row: int, kind: pa.DataType) -> str:
    """Return the hint for text that cannot be read: fix lines, or convert the column.

    Parameters
    ----------
    text : array of strings (n,)
        The column in a batch of lines; missing values are null.
    row : int
        The first value that cannot be read.
    kind : DataType
        Of numbers or times.
    """
    sample = text[row : row + _SAMPLE_ROWS].drop_null().to_pylist()
    unreadable = [value for value in sample if not _can_read(value, kind)]
    if len(unreadable) < 2:
        return "fix the line, or leave it out"
    count = f"{len(unreadable):,} of the {len(sample):,} values from that row on cannot be read"
    if len(unreadable) == len(sample):
        count = f"none of the {len(sample):,} values from that row on can be read"
    convert = (_time_format if pa.types.is_timestamp(kind) else _number_format)(unreadable)
    if convert:
        return f"{count}, as the column is in another format: {convert}"
    if 2 * len(unreadable) < len(sample):
        return f"{count}; fix these lines, or leave them out"
    general = "write its numbers with digits and a decimal point only"
    if pa.types.is_timestamp(kind):
        general = "write its times as ISO 8601, for example with pandas.to_datetime(column)"
    return f"{count}, as the column is in another format: {general}"


def _can_read(value: str, kind: pa.DataType) -> bool:
    try:
        pc.cast(pa.scalar(value), kind)
    except pa.ArrowInvalid:
        return False
    return True


def _number_format(values: Sequence[str]) -> str:
    """Return how to convert numbers of a format that the first of the values shows, or nothing."""
    first = values[0]
    if _COMMA_OF_THREE.fullmatch(first):  # as decimal mark or between thousands, unless others say
        first = next((v for v in values if not _COMMA_OF_THREE.fullmatch(v)), first)
    if _COMMA_OF_THREE.fullmatch(first):
        return (
            "its numbers have a comma, which is a decimal comma or stands between thousands; write "
            "them with a decimal point, for example with pandas.read_csv(…, decimal=',') or "
            "pandas.read_csv(…, thousands=',')"
        )
    if _DECIMAL_COMMA.fullmatch(first):
        thousands = ", thousands='.'" if "." in first else ""
        return (
            "its numbers have a decimal comma; write them with a decimal point, for example with "
            f"pandas.read_csv(…, decimal=','{thousands})"
        )
    if _THOUSANDS.fullmatch(first):
        return (
            "its numbers have marks between thousands; write them without, for example with "
            "pandas.read_csv(…, thousands=…)"
        )
    if _CURRENCY.fullmatch(first):
        return "its numbers have a currency sign or a unit; write the numbers alone"
    return ""


def _time_format(values: Sequence[str]) -> str:
    """Return how to convert times of a format that the first of the values shows, or nothing."""
    first = values[0]
    if _ISO_WITH_ZONE.fullmatch(first):
        return (
            "its times have a time zone; write local times without one, for example with "
            "pandas.to_datetime(column, utc=True).dt.tz_convert(…).dt.tz_localize(None)"
        )
    if _EPOCH.fullmatch(first):
        unit, name = ("s", "seconds") if len(first) == 10 else ("ms", "milliseconds")
        return f"its times may be {name} since 1970; {_converted(f'unit={unit!r}')}"
    if _EIGHT_DIGITS.fullmatch(first):
        return f"its dates have no hyphens; {_converted(_quoted('%Y%m%d'))}"
    if match := _YEAR_FIRST.fullmatch(first):
        date = "%Y{0}%m{0}%d".format(match[1])
        return f"its dates have no hyphens; {_converted(_quoted(date + _time_of_day(match[2])))}"
    if match := _DATE.fullmatch(first):
        return _date_format(match, values)
    return ""


def _date_format(date: re.Match[str], values: Sequence[str]) -> str:
    """Return how to convert dates that begin with the day or the month."""
    dates = [match for value in values if (match := _DATE.fullmatch(value))]
    is_day_first = any(int(match[1]) > 12 for match in dates)
    is_month_first = any(int(match[3]) > 12 for match in dates)
    year = "%Y" if len(date[4]) == 4 else "%y"
    time = _time_of_day(date[5])
    day_first, month_first = (
        _quoted(date[2].join((*parts, year)) + time) for parts in (("%d", "%m"), ("%m", "%d"))
    )
    if is_day_first == is_month_first:
        return (
            "its dates begin with the day or the month, which their values do not tell; "
            f"{_converted(day_first)} or with {month_first}"
        )
    begin, format = ("day", day_first) if is_day_first else ("month", month_first)
    return f"its dates begin with the {begin}; {_converted(format)}"


def _time_of_day(text: str) -> str:
    """Return the format of a time of day behind a date, as `strptime` has it."""
    match = _TIME.fullmatch(text)
    if not match:
        return "" if not text.strip() else " …"
    hour, end = ("%I", match[4].replace(match[4].strip(), "%p")) if match[4] else ("%H", "")
    seconds = ":%S" if match[2] else ""
    return f"{match[1]}{hour}:%M{seconds}{'.%f' if match[3] else ''}{end}"


def _quoted(format: str) -> str:
    return f"format='{format}'"


def _converted(arguments: str) -> str:
    return (
        "write them as ISO 8601 (2011-08-31 or 2011-08-31T10:20:00), for example with "
        f"pandas.to_datetime(column, {arguments})"
    )
