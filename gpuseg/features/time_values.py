"""Read columns by formats of times: text and numbers to microseconds since 1970, exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, is_text, to_numpy
from gpuseg.features.time_format import (
    EPOCH_PATTERN,
    EPOCHS,
    ISO,
    ISO_PATTERN,
    MONTHS,
    TimeFormat,
    compiled,
)

FIRST, END = (
    int(np.datetime64(f"{year}-01-01", "s").astype(np.int64)) for year in (1678, 2262)
)  # fmt: skip
"""Range of times in seconds since 1970 that every unit can hold."""

_SECOND = 10**6
_PIVOT = 69
"""Two digits of a year from here on are of the 20th century, as in POSIX."""

_LARGEST_EXACT = 2.0**53
_LARGEST = str(2**63 - 1)


@dataclass(frozen=True)
class ReadTimes:
    """Times of a column in one format.

    Attributes
    ----------
    micros : int64 (n,)
        Microseconds since 1970; 0 where a value does not fit. In UTC where it has an offset.
    fits : bool (n,)
        Whether the value is a time of the format.
    has_offset : bool (n,)
        Whether the value is a time in UTC: it has an offset from it, or counts from 1970.
    """

    micros: NDArray[np.int64]
    fits: NDArray[np.bool_]
    has_offset: NDArray[np.bool_]


def read_times(values: pa.Array, format: str) -> ReadTimes:
    """Read values in a format; a null fits no format.

    Parameters
    ----------
    values : array of text without a dictionary, integers, floats or decimals (n,)
    format : str
        Of `strptime`, ISO or one of EPOCHS.
    """
    if format in EPOCHS:
        unit = EPOCHS[format]
        if pa.types.is_integer(values.type):
            return _epoch(values, unit)
        if pa.types.is_floating(values.type):
            return _epoch_of_floats(values, unit)
        return _by_pattern(_as_text(values), EPOCH_PATTERN, lambda parts: _since_1970(parts, unit))
    if format == ISO:
        return _by_pattern(_as_text(values), ISO_PATTERN, _moment_of_iso)
    known = compiled(format)
    return _by_pattern(_as_text(values, known), known.pattern, _moment)


def _as_text(values: pa.Array, format: TimeFormat | None = None) -> pa.Array:
    """Return numbers as text; leading zeros that a number lost are added for digits alone."""
    if is_text(values.type):
        return values
    if pa.types.is_decimal(values.type):
        text = pc.replace_substring_regex(pc.cast(values, pa.string()), r"\.0*$", "")
    else:
        if pa.types.is_floating(values.type):
            numbers = to_numpy(pc.cast(values, pa.float64()))
            is_whole = (np.floor(numbers) == numbers) & (np.abs(numbers) < _LARGEST_EXACT)
            whole = np.where(is_whole, numbers, 0).astype(np.int64)
            values = pc.if_else(from_numpy(is_whole), from_numpy(whole), None)
        text = pc.cast(values, pa.string())
    if format is not None and format.width is not None:
        text = pc.utf8_lpad(text, format.width, "0")
    return text


def _epoch(values: pa.Array, unit: int) -> ReadTimes:
    first, end = FIRST * unit, END * unit
    is_known = values.is_valid()
    if pa.types.is_unsigned_integer(values.type):
        is_known = pc.and_(is_known, pc.less(values, pa.scalar(2**63, pa.uint64())))
    numbers = pc.if_else(pc.fill_null(is_known, False), values, pa.scalar(0, values.type))
    count = to_numpy(pc.cast(numbers, pa.int64()))
    fits = to_numpy(pc.fill_null(is_known, False)) & (count >= first) & (count < end)
    count = np.where(fits, count, 0)
    if unit <= _SECOND:
        micros = count * (_SECOND // unit)
    else:  # what is finer is cut, as from text, also before 1970
        micros = np.sign(count) * (np.abs(count) // (unit // _SECOND))
    return ReadTimes(micros, fits, fits)


def _epoch_of_floats(values: pa.Array, unit: int) -> ReadTimes:
    """Read floats, rounded to microseconds: few fractions of a second are floats themselves."""
    numbers = to_numpy(pc.cast(values, pa.float64()))
    fits = (numbers >= FIRST * unit) & (numbers < END * unit)
    micros = np.rint(np.where(fits, numbers, 0) * (_SECOND / unit)).astype(np.int64)
    return ReadTimes(micros, fits, fits)


_Parts = dict[str, pa.Array]
_Moments = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]
"""Microseconds, whether the time exists, and whether it has an offset."""


def _by_pattern(text: pa.Array, pattern: str, read: Any) -> ReadTimes:
    """Match text, and read the parts of what matches."""
    n = len(text)
    matches = pc.extract_regex(text, pattern)
    rows = np.flatnonzero(to_numpy(matches.is_valid()))
    micros = np.zeros(n, np.int64)
    fits, has_offset = np.zeros(n, bool), np.zeros(n, bool)
    if len(rows):
        matched = matches.drop_null()
        parts = {field.name: matched.field(i) for i, field in enumerate(matches.type)}
        moments, exists, zoned = read(parts)
        micros[rows] = np.where(exists, moments, 0)
        fits[rows], has_offset[rows] = exists, zoned & exists
    return ReadTimes(micros, fits, has_offset)


def _since_1970(parts: _Parts, unit: int) -> _Moments:
    """Read a number of units since 1970, with decimals; what is finer than microseconds is cut."""
    whole = parts["whole"]
    is_negative = to_numpy(pc.starts_with(whole, "-"))
    digits = pc.utf8_ltrim(whole, "+-")
    digits = pc.utf8_ltrim(pc.if_else(pc.equal(digits, ""), "0", digits), "0")
    length = pc.utf8_length(digits)
    is_largest = pc.and_(pc.equal(length, len(_LARGEST)), pc.less_equal(digits, _LARGEST))
    is_short = to_numpy(pc.or_(pc.less(length, len(_LARGEST)), is_largest))
    digits = pc.if_else(from_numpy(is_short), digits, "0")
    count = _numbers(pc.if_else(pc.equal(digits, ""), "0", digits))
    limit = END * unit
    exists = is_short & (count < limit)
    count = np.where(exists, count, 0)
    # The decimals of a unit, as millionths of it; only those of a second are all needed.
    millionths = _numbers(_millionths(parts["f"]))
    if unit <= _SECOND:
        micros = count * (_SECOND // unit) + millionths // unit
    else:
        micros = count // (unit // _SECOND)
    micros = np.where(is_negative, -micros, micros)
    exists &= (micros >= FIRST * _SECOND) & (micros < END * _SECOND)
    return micros, exists, np.ones(len(count), bool)


def _moment_of_iso(parts: _Parts) -> _Moments:
    micros, exists, has_offset = _moment(parts)
    is_same = to_numpy(pc.equal(parts["separator"], parts["same"]))
    return micros, exists & is_same, has_offset


def _moment(parts: _Parts) -> _Moments:
    """Return the moment of the parts of dates and times; a missing part is the first or zero."""
    year = _numbers(parts["Y"]) if "Y" in parts else _numbers(parts["y"])
    if "y" in parts:
        year = year + np.where(year < _PIVOT, 2000, 1900)
    exists = year >= 1
    year = np.where(exists, year, 1970)
    n = len(year)
    if "j" in parts:
        days, last = _first_day(year, 1), _first_day(year + 1, 1)
        day = _numbers(parts["j"])
    else:
        month = _month(parts)
        exists &= (month >= 1) & (month <= 12)
        month = np.where(exists, month, 1)
        days, last = _first_day(year, month), _first_day(year, month + 1)
        day = _numbers(parts["d"]) if "d" in parts else np.ones(n, np.int64)
    exists &= (day >= 1) & (day <= last - days)
    hour = _hours(parts, n)
    minute, second = (_numbers(parts[x]) if x in parts else np.zeros(n, np.int64) for x in "MS")
    exists &= (hour >= 0) & (hour < 24) & (minute < 60) & (second < 60)
    micro = _numbers(_millionths(parts["f"])) if "f" in parts else np.zeros(n, np.int64)
    zone = next((parts[letter] for letter in "zZ" if letter in parts), None)
    offset, has_offset, is_offset = _offsets(zone, n)
    seconds = (days + day - 1) * 86_400 + hour * 3600 + minute * 60 + second - offset
    exists &= is_offset
    return seconds * _SECOND + micro, exists, has_offset


def _numbers(digits: pa.Array) -> NDArray[np.int64]:
    """Return text of digits as numbers; a part that is not there is 0."""
    values: NDArray[np.int64] = to_numpy(
        pc.cast(pc.if_else(pc.equal(digits, ""), "0", digits), pa.int64())
    )
    return values


def _millionths(decimals: pa.Array) -> pa.Array:
    """Return the first six decimals, with zeros where there are fewer."""
    return pc.utf8_rpad(pc.utf8_slice_codeunits(decimals, 0, 6), 6, "0")


def _month(parts: _Parts) -> NDArray[np.int64]:
    if "m" in parts:
        return _numbers(parts["m"])
    names = pc.utf8_slice_codeunits(pc.utf8_lower(parts["B" if "B" in parts else "b"]), 0, 3)
    abbreviations = pa.array([month[:3] for month in MONTHS])
    number: NDArray[np.int64] = to_numpy(pc.index_in(names, value_set=abbreviations)).astype(
        np.int64
    )
    return number + 1


def _first_day(year: NDArray[np.int64], month: Any) -> NDArray[np.int64]:
    """Return the days from 1970 to the first of a month; month 13 is the January after."""
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    days: NDArray[np.int64] = months.astype("M8[D]").astype(np.int64)
    return days


def _hours(parts: _Parts, n: int) -> NDArray[np.int64]:
    """Return hours from 0 to 23; -1 for an hour from 1 to 12 that is none."""
    if "H" in parts:
        return _numbers(parts["H"])
    if "I" not in parts:
        return np.zeros(n, np.int64)
    hour = _numbers(parts["I"])
    is_afternoon = to_numpy(pc.equal(pc.utf8_lower(parts["p"]), "pm"))
    return np.where((hour >= 1) & (hour <= 12), hour % 12 + 12 * is_afternoon, -1)


def _offsets(
    zone: pa.Array | None, n: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return offsets from UTC in seconds, whether there is one, and whether it exists."""
    if zone is None:
        return np.zeros(n, np.int64), np.zeros(n, bool), np.ones(n, bool)
    encoded = zone.dictionary_encode()
    known = [_offset(text) for text in encoded.dictionary.to_pylist()]
    codes = to_numpy(encoded.indices)
    seconds = np.array([offset or 0 for offset in known], np.int64)[codes]
    has_offset = np.array([text != "" for text in encoded.dictionary.to_pylist()])[codes]
    is_offset = np.array([offset is not None for offset in known])[codes]
    return seconds, has_offset, is_offset


def _offset(zone: str) -> int | None:
    """Return an offset in seconds, or None for one of more than a day."""
    if zone[:1] not in ("+", "-"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        return None
    return (-1 if zone[0] == "-" else 1) * (hours * 3600 + minutes * 60)
