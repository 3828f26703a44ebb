"""The times of a batch of lines, as microseconds since 1970."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import is_text, to_numpy
from gpuseg.errors import DataError
from gpuseg.features.missing_text import NullValues
from gpuseg.features.time_format import ISO
from gpuseg.features.time_values import END, FIRST, ReadTimes, read_times
from gpuseg.features.transactions import DescribeRow

UNREADABLE = "transactions.unreadable_time"
"""Code of the error for a time that fits no format."""

TIME_FORMAT_NOT_NEEDED = "time_format.not_needed"
"""Code of the error for a format where the times are no text."""

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_LOCAL, _UTC = pa.timestamp("us"), pa.timestamp("us", "UTC")

_FIRST_VALUES = 100

_FINER_THAN_MICROSECONDS = r"(:\d\d\.\d{6})\d+(Z|[+-]\d\d(?::?\d\d)?)?$"
"""End of a time in text with more than six decimals of a second; those after the sixth are cut."""


@dataclass(frozen=True)
class Times:
    """The times of some lines.

    Attributes
    ----------
    micros : int64 (n,)
        Microseconds since 1970: of local times, or of times in UTC (`ReadTimes.has_offset`).
    is_missing : bool (n,)
    has_offset : bool (n,)
        Whether the value has an offset from UTC or counts from 1970, or the type a time zone.
    """

    micros: NDArray[np.int64]
    is_missing: NDArray[np.bool_]
    has_offset: NDArray[np.bool_]


def needs_format(kind: pa.DataType) -> bool:
    """Return whether values of a type are read by formats: text (ISO by default) or numbers."""
    return is_text(kind) or is_number(kind)


def is_number(kind: pa.DataType) -> bool:
    """Return whether values of a type are numbers, which are times only in a format."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    t = pa.types
    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))


def times(
    column: pa.Array,
    formats: Sequence[str],
    subject: str,
    describe: DescribeRow,
    nulls: NullValues,
) -> Times:
    """Return the times of a column.

    Parameters
    ----------
    column : array of timestamps, dates, text or numbers (n,)
    formats : sequence of str
        Formats of text and numbers; empty for ISO 8601.
    subject : str
        Role and name of the column, for messages.

    Raises
    ------
    DataError
        For a value that is no time, fits two formats as different times, or is beyond the years
        that every unit can hold.
    """
    if not is_text(column.type) and pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type) and not formats:
        return _of_iso_text(column, subject, describe, nulls)
    if needs_format(column.type):
        return _of_formats(column, formats, subject, describe, nulls)
    if pa.types.is_null(column.type):
        column = pc.cast(column, _LOCAL)
    is_missing = to_numpy(column.is_null())
    if pa.types.is_date(column.type):
        column = _midnights(column)
    _refuse_beyond_range(column, subject, describe)
    has_offset = np.full(len(column), bool(column.type.tz)) & ~is_missing
    if column.type.tz:
        column = _local(column, subject)
    micros = pc.cast(column, _LOCAL, safe=False)  # finer units are truncated
    return Times(_as_numbers(micros), is_missing, has_offset)


def _as_numbers(micros: pa.Array) -> NDArray[np.int64]:
    values = pc.fill_null(pc.cast(micros, pa.int64()), 0)
    return to_numpy(values).astype(np.int64, copy=False)


def _of_iso_text(column: pa.Array, subject: str, describe: DescribeRow, nulls: NullValues) -> Times:
    """Read text of ISO 8601: by Arrow if all of it has one form, otherwise by its pattern.

    Null values are looked for only if one could be read as a time, or text is not readable.
    """
    if nulls.may_be(_LOCAL) or nulls.may_be(_UTC):
        column = nulls.removed(column)
    text = _trimmed(column)
    read = _by_arrow(text)
    if read is None:
        text = _trimmed(nulls.removed(text))
        read = _by_arrow(pc.replace_substring_regex(text, _FINER_THAN_MICROSECONDS, r"\1\2"))
    if read is None:
        return _of_formats(text, [ISO], subject, describe, nulls)
    micros, kind = read
    _refuse_beyond_range(micros, subject, describe)
    is_missing = to_numpy(micros.is_null())
    return Times(_as_numbers(micros), is_missing, ~is_missing & (kind == _UTC))


def _by_arrow(text: pa.Array) -> tuple[pa.Array, pa.DataType] | None:
    """Return the times, and the type that Arrow reads all of them as; None if there is none.

    Arrow writes an error for each value before it raises one, so a few values are tried first.
    """
    first = text[:_FIRST_VALUES]
    for kind in (_LOCAL, _UTC):
        try:
            pc.cast(first, kind)
            return pc.cast(text, kind), kind
        except pa.ArrowInvalid:
            continue
    return None


def _trimmed(column: pa.Array) -> pa.Array:
    """Return text without a dictionary and white space at the ends; blank text is null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(text, ""), None, text)


def _of_formats(
    column: pa.Array,
    formats: Sequence[str],
    subject: str,
    describe: DescribeRow,
    nulls: NullValues,
) -> Times:
    """Read values by formats; each distinct text is read once."""
    values, codes, is_missing = distinct(column, nulls)
    read = [read_times(values, format) for format in formats]
    fits = np.zeros(len(values), bool)
    micros, has_offset = np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    for one in read:
        differs = fits & one.fits & ((one.micros != micros) | (one.has_offset != has_offset))
        _refuse_two_times(differs, values, codes, is_missing, formats, read, subject, describe)
        micros[one.fits], has_offset[one.fits] = one.micros[one.fits], one.has_offset[one.fits]
        fits |= one.fits
    row = _first(~fits, codes, is_missing)
    if row is not None:
        raise DataError(
            UNREADABLE,
            f"{subject} in {describe(row)}",
            value=values[int(codes[row])].as_py(),
            rule=_rule(formats),
        )
    beyond = fits & ((micros < FIRST * _UNITS["us"]) | (micros >= END * _UNITS["us"]))
    row = _first(beyond, codes, is_missing)
    if row is not None:
        raise _out_of_range(f"{subject} in {describe(row)}", values[int(codes[row])].as_py())
    if not len(values):
        return Times(np.zeros(len(codes), np.int64), is_missing, np.zeros(len(codes), bool))
    return Times(
        np.where(is_missing, 0, micros[codes]), is_missing, ~is_missing & has_offset[codes]
    )


def distinct(
    column: pa.Array, nulls: NullValues
) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.bool_]]:
    """Return the distinct values of text, or all numbers; codes of rows, and who has no value.

    Blank text, null values and NaN are missing.
    """
    if is_text(column.type):
        encoded = nulls.removed(column)
        is_missing = to_numpy(encoded.indices.is_null())
        codes = to_numpy(pc.fill_null(encoded.indices, 0)).astype(np.int64)
        return _trimmed(encoded.dictionary), codes, is_missing
    is_known = column.is_valid()
    if pa.types.is_floating(column.type):
        is_known = pc.and_(is_known, pc.fill_null(pc.invert(pc.is_nan(column)), False))
    return column, np.arange(len(column)), ~to_numpy(is_known)


def _first(
    flags: NDArray[np.bool_], codes: NDArray[np.int64], is_missing: NDArray[np.bool_]
) -> int | None:
    """Return the first row with a flagged value."""
    if not flags.any():
        return None
    rows = np.flatnonzero(flags[codes] & ~is_missing)
    return int(rows[0]) if len(rows) else None


def _rule(formats: Sequence[str]) -> str:
    if list(formats) == [ISO]:
        return "must be a date or a time of ISO 8601, such as 2011-08-31 or 2011-08-31T10:20:00"
    return f"must have the format {' or '.join(map(repr, formats))}, as `time_format` says"


def _refuse_two_times(
    differs: NDArray[np.bool_],
    values: pa.Array,
    codes: NDArray[np.int64],
    is_missing: NDArray[np.bool_],
    formats: Sequence[str],
    read: Sequence[ReadTimes],
    subject: str,
    describe: DescribeRow,
) -> None:
    """Refuse a value that is one time in one format and another time in another one."""
    row = _first(differs, codes, is_missing)
    if row is None:
        return
    code = codes[row]
    fitting = [format for format, one in zip(formats, read, strict=True) if one.fits[code]]
    raise DataError(
        "transactions.two_times",
        f"{subject} in {describe(row)}",
        value=values[int(code)].as_py(),
        rule=f"fits the formats {' and '.join(map(repr, fitting))} of `time_format`, as different "
        "times",
        hint="leave one of them out, or write all times in one format where they are made",
    )


def _midnights(dates: pa.Array) -> pa.Array:
    """Return dates as times; some writers put a time of day into a date in milliseconds."""
    if pa.types.is_date64(dates.type):
        return pc.cast(pc.cast(dates, pa.int64()), pa.timestamp("ms"))
    return pc.cast(dates, pa.timestamp("s"))


def _refuse_beyond_range(times: pa.Array, subject: str, describe: DescribeRow) -> None:
    """Refuse times that some unit of time could not hold, before one is converted."""
    count, unit = pc.cast(times, pa.int64()), _UNITS[times.type.unit]
    beyond = pc.or_(pc.less(count, FIRST * unit), pc.greater_equal(count, END * unit))
    if pc.any(beyond).as_py():
        row = pc.index(beyond, True).as_py()
        where = f"{subject}, in {times.type.unit} since 1970, in {describe(row)}"
        raise _out_of_range(where, count[row].as_py())


def _out_of_range(where: str, value: Any) -> DataError:
    return DataError(
        "transactions.time_out_of_range",
        where,
        value=value,
        rule="times must be in the years from 1678 to 2261",
        hint="fix the line, or make the time null",
    )


def _local(times: pa.Array, subject: str) -> pa.Array:
    """Return times with a time zone as local times without one."""
    try:
        return pc.local_timestamp(times)
    except pa.ArrowInvalid:
        raise DataError(
            "column.unknown_time_zone",
            f"{subject} is in the time zone {times.type.tz!r}, which this machine does not know",
            hint="write the times in UTC or without a time zone, or install the time zones "
            "(package tzdata)",
        ) from None
