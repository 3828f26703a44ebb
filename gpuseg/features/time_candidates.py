"""Formats that times may have, with the number of lines that each one fits.

A day and a month are never guessed: gpuseg asks for `time_format`, and shows what the lines say.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, is_text, plain
from gpuseg.errors import DataError, literal, set_keys
from gpuseg.features.missing_text import NullValues
from gpuseg.features.time_format import EPOCHS, ISO, MONTHS, check_time_format, compiled
from gpuseg.features.time_values import END, FIRST, read_times
from gpuseg.features.times import distinct, needs_format
from gpuseg.features.transactions import Roles

MAX_LINES = 1_000_000
"""Most lines that are read to count."""

_MAX_CHARACTERS = 64
"""Longer text is no time."""

_SHAPES = 200
_SAMPLE = 1000
_TRIED = 8
"""Formats that are counted on all lines, of those that fit most of a sample."""

_FORMATS_IN_USE = 3
"""Most formats that one column is thought to have."""

_MILLION = 10**6
_PLAUSIBLE = tuple(
    int(np.datetime64(f"{year}-01-01", "us").astype(np.int64)) for year in (1971, 2101)
)
"""Range of microseconds in which a number is more likely a time than out of it."""

_DAYS_OF_EXCEL = 20_000, 80_000

_SIGNS = " ,./-'年月日"
"""Signs of a date that a format may show; others could be data."""

_CLOCK = re.compile(
    r"(?P<before>.*?)(?P<gap>T|,?\s+|^)(?P<hour>\d{1,2}):\d{1,2}(?P<seconds>:\d{1,2})?"
    r"(?P<decimals>[.,]\d+)?(?P<noon>\s?[AaPp][Mm])?(?P<zone>\s?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?$"
)
_NUMBER_OR_WORD = re.compile(r"\d+|[A-Za-z]+|.")
_MONTH_NAMES = {
    name[: len(name) if letter == "B" else 3]: letter for letter in "Bb" for name in MONTHS
}
_DAY_NAMES = {
    **dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "a"),
    **dict.fromkeys(
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), "A"
    ),
}
_OF_DIGITS = {
    6: ("%y%m%d", "%d%m%y", "%m%d%y", "%Y%m"),
    8: ("%Y%m%d", "%d%m%Y", "%m%d%Y"),
    12: ("%Y%m%d%H%M", "%d%m%Y%H%M"),
    14: ("%Y%m%d%H%M%S", "%d%m%Y%H%M%S"),
    17: ("%Y%m%d%H%M%S%f",),
}
"""Formats of so many digits without signs."""


@dataclass(frozen=True)
class Candidate:
    """A format, and the lines that it fits.

    Attributes
    ----------
    format : str
    fits : bool (n,)
        Of each distinct value.
    lines : int
    plausible : int
        Lines with a time from 1971 to 2100.
    first, last : int or None
        Earliest and latest time in microseconds since 1970.
    """

    format: str
    fits: NDArray[np.bool_]
    lines: int
    plausible: int
    first: int | None
    last: int | None

    @property
    def span(self) -> str:
        """The days of the earliest and the latest time."""
        if self.first is None or self.last is None:
            return "no day"
        days = [
            str(np.datetime64(micros, "us").astype("M8[D]")) for micros in (self.first, self.last)
        ]
        return days[0] if days[0] == days[1] else f"{days[0]} to {days[1]}"


@dataclass(frozen=True)
class Counted:
    """Distinct values of the lines that were read.

    Attributes
    ----------
    values : array (n,)
    counts : int64 (n,)
        Lines with each value.
    is_whole : bool
        Whether all lines were read.
    """

    values: pa.Array
    counts: NDArray[np.int64]
    is_whole: bool

    @property
    def lines(self) -> int:
        """Lines with a value."""
        return int(self.counts.sum())

    def sample(self) -> "Counted":
        """Return some of the values, at equal distances."""
        rows = np.arange(0, len(self.values), max(len(self.values) // _SAMPLE, 1))
        return Counted(self.values.take(from_numpy(rows)), self.counts[rows], False)

    def candidate(self, format: str) -> Candidate:
        """Count the lines that a format fits."""
        read = read_times(self.values, format)
        fits = read.fits & (read.micros >= FIRST * _MILLION) & (read.micros < END * _MILLION)
        micros = read.micros[fits]
        plausible = fits & (read.micros >= _PLAUSIBLE[0]) & (read.micros < _PLAUSIBLE[1])
        ends = (int(micros.min()), int(micros.max())) if len(micros) else (None, None)
        lines, likely = (int(self.counts[flags].sum()) for flags in (fits, plausible))
        return Candidate(format, fits, lines, likely, *ends)


def with_candidates(error: DataError, columns: Iterable[pa.Array], roles: Roles) -> DataError:
    """Return the error of a time that cannot be read, with the formats that fit the lines.

    What its hint says stands at the end.

    Parameters
    ----------
    error : DataError
    columns : iterable of arrays
        The times of the lines, a batch each.
    roles : Roles
    """
    hint = next_step(columns, roles) + error.hint
    new = DataError(error.code, error.problem, rule=error.rule, hint=hint)
    new.value = error.value
    return new


def next_step(columns: Iterable[pa.Array], roles: Roles) -> str:
    """Return the formats that fit most lines, and the key to set, as a hint; it has no values.

    Parameters
    ----------
    columns : iterable of arrays
        The times of the lines, a batch each.
    roles : Roles
    """
    counted = _counted(columns, roles.null_values)
    if counted is None or not counted.lines:
        return "fix the line, or leave it out"
    return _Advice(counted, roles).text()


def _counted(columns: Iterable[pa.Array], null_values: Sequence[str]) -> Counted | None:
    """Count the distinct values of the first lines."""
    tables, lines, is_whole = [], 0, True
    for column in columns:
        column = plain(column)
        is_whole = lines + len(column) <= MAX_LINES
        column = column[: MAX_LINES - lines]
        lines += len(column)
        if needs_format(column.type):
            tables.append(_distinct_values(column, null_values))
        if not is_whole:
            break
    if not tables:
        return None
    if len({is_text(table["value"].type) for table in tables}) > 1:
        tables = [
            table.set_column(0, "value", table["value"].cast(pa.string())) for table in tables
        ]
    table = pa.concat_tables(tables, promote_options="permissive")
    table = table.group_by("value").aggregate([("count", "sum")]).combine_chunks()
    table = table.filter(pc.and_(table["value"].is_valid(), pc.greater(table["count_sum"], 0)))
    values = table["value"].combine_chunks()
    return Counted(values, table["count_sum"].to_numpy().astype(np.int64), is_whole)


def _distinct_values(column: pa.Array, null_values: Sequence[str]) -> pa.Table:
    """Return the values of text or numbers in a batch, and how many lines have each."""
    if pa.types.is_dictionary(column.type) and not is_text(column.type):
        column = column.dictionary_decode()
    values, codes, is_missing = distinct(column, NullValues(tuple(null_values), len(column)))
    counts = np.bincount(codes[~is_missing], minlength=len(values))
    values = pc.cast(values, pa.string()) if is_text(values.type) else values
    return pa.table({"value": values, "count": counts})


@dataclass(frozen=True)
class _Advice:
    """What the counts say of the formats of a column.

    Attributes
    ----------
    counted : Counted
    roles : Roles
    """

    counted: Counted
    roles: Roles

    def text(self) -> str:
        """Return the candidates with their counts, and the next step."""
        ranked = self._ranked()
        total = f"{self.counted.lines:,} times"
        if not self.counted.is_whole:
            total += f" in the first {MAX_LINES:,} lines"
        if not ranked or self._is_unlikely(ranked[0]):
            is_excel = _are_days_of_excel(self.counted.values)
            return (
                f"no format that gpuseg knows fits the {total}; check that time = "
                f"{literal(repr(self.roles.time))} is the column of times, or write them as ISO "
                "8601 (2011-08-31 or 2011-08-31T10:20:00)"
                + "; Excel counts days since 1900 by such numbers: give the cells the format of "
                "a date there, and save the file again" * is_excel
            )
        used = self._used(ranked)
        rivals = [one for one in ranked if one not in used and _is_rival(one, used[0])]
        others = [one for one in ranked if one not in (*used, *rivals)]
        if _is_of_digits(used[0].format):
            rivals += others[: 2 - len(used) - len(rivals)]
        shown = [*used, *rivals[:1]]
        if rivals and _is_as_likely(rivals[0], used[0]) and _order(rivals[0]) != _order(used[0]):
            return self._both_orders(used, rivals[0], total)
        counts = ", ".join(
            f"{_named(one.format)} fits {one.lines:,}" + f" of {total}" * (i == 0) + self._days(one)
            for i, one in enumerate(shown)
        )
        return f"{counts}; {self._step(used, rivals[:1])}"

    def _both_orders(self, used: Sequence[Candidate], rival: Candidate, total: str) -> str:
        """Return the two formats that fit equally, one a clause."""
        others = [one.format for one in used[1:]]
        readings = [
            f"{_order(one)} first{self._days(one)}: {_set_formats([one.format, *others])}"
            for one in (used[0], rival)
        ]
        choose = (
            "choose the one that is true"
            if self.roles.id_key is not None
            else "choose the one whose dates are those of your export"
        )
        return (
            f"{used[0].lines:,} of {total} can be read in two ways; {'; '.join(readings)}; {choose}"
        )

    def _is_unlikely(self, best: Candidate) -> bool:
        """Return whether the best format, which no job names, reads numbers as times near 1970."""
        named = best.format in self.roles.time_format
        return best.format in EPOCHS and not best.plausible and not named

    def _days(self, one: Candidate) -> str:
        """Return the days of the times, unless values are hidden."""
        return f" ({one.span})" if self.roles.id_key is None else ""

    def _ranked(self) -> list[Candidate]:
        """Return the formats that fit some lines, first the one that fits most.

        Times near 1970 are mistakes where another format has times of later years.
        """
        formats = [*self.roles.time_format, *_formats_of(self.counted.values)]
        formats = list(
            dict.fromkeys([ISO, *formats] if is_text(self.counted.values.type) else formats)
        )
        sample = self.counted.sample()
        tried = sorted(map(sample.candidate, formats), key=_likelihood)[:_TRIED]
        candidates = [self.counted.candidate(one.format) for one in tried]
        ranked = sorted((one for one in candidates if one.lines), key=_likelihood)
        if ranked and ranked[0].plausible:
            named = self.roles.time_format
            ranked = [one for one in ranked if one.plausible or one.format in named]
        return ranked

    def _used(self, ranked: Sequence[Candidate]) -> list[Candidate]:
        """Return the formats that the lines have: the best one, and those that fit the rest."""
        used = [ranked[0]]
        left = ~ranked[0].fits
        while left.any() and len(used) < _FORMATS_IN_USE:
            more = [
                (int(self.counted.counts[one.fits & left].sum()), one)
                for one in ranked
                if one not in used and not any(_is_rival(one, other) for other in used)
            ]
            lines, best = max(more, key=lambda item: item[0], default=(0, used[0]))
            if not lines:
                break
            used.append(best)
            left &= ~best.fits
        return used

    def _step(self, used: Sequence[Candidate], rivals: Sequence[Candidate]) -> str:
        counts = self.counted.counts
        fits = np.logical_or.reduce([one.fits for one in used])
        left = int(counts[~fits].sum())
        names = [one.format for one in used]
        line = _set_formats(names)
        if rivals:
            rival = rivals[0]
            both = int(counts[fits | rival.fits].sum())
            if _is_as_likely(rival, used[0]):
                other = literal(_assignment([rival.format, *names[1:]]))
                return f"the values do not tell which one is right: {line}, or {other}"
            if left and int(counts[rival.fits & ~fits].sum()) and not _is_of_digits(rival.format):
                return (
                    f"some of the dates begin with the day and some with the month ({both:,} fit "
                    "one of the two), so that others cannot be told apart; write all times in one "
                    "format where they are made"
                )
        if not left:
            return line
        lines = "1 line fits" if left == 1 else f"{left:,} lines fit"
        fix = (
            f"{lines} no format: fix these lines, leave them out, or add their text to null_values"
        )
        known = list(self.roles.time_format) or [ISO]
        return fix if names == known else f"{line}; {fix}"


def _are_days_of_excel(values: pa.Array) -> bool:
    """Return whether all values are numbers of days since 1900 in the years 1954 to 2119."""
    try:
        low, high = pc.min_max(pc.cast(values, pa.float64())).as_py().values()
    except pa.ArrowInvalid:
        return False
    return bool(low >= _DAYS_OF_EXCEL[0] and high < _DAYS_OF_EXCEL[1])


def _likelihood(one: Candidate) -> tuple[int, int, bool, int]:
    """Return a key to sort by: formats that fit more lines come first, then shorter periods."""
    period = 0 if one.first is None or one.last is None else one.last - one.first
    return -one.plausible, -one.lines, one.format in EPOCHS, period * (one.plausible > 0)


def _is_rival(one: Candidate, other: Candidate) -> bool:
    """Return whether two formats differ in the order of day, month and year alone."""
    return one.format != other.format and sorted(one.format) == sorted(other.format)


def _is_as_likely(rival: Candidate, best: Candidate) -> bool:
    return rival.lines >= best.lines and rival.plausible >= best.plausible


_PARTS = {"d": "day", "m": "month", "b": "month", "B": "month", "y": "year", "Y": "year"}


def _order(one: Candidate) -> str:
    """Return the part of a date that comes first; empty if the format has none."""
    letters = re.findall(r"%(\w)", one.format)
    return next((_PARTS[letter] for letter in letters if letter in _PARTS), "")


_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _named(format: str) -> str:
    """Return a format as a hint shows it, with the meaning of one that has a name."""
    unit = _UNITS.get(format.removeprefix("epoch_")) if format in EPOCHS else None
    return literal(repr(format)) + (f" ({unit} since 1970)" if unit else "")


def _set_formats(formats: Sequence[str]) -> str:
    return set_keys(_assignment(formats))


def _is_of_digits(format: str) -> bool:
    """Return whether all values of a format are numbers, which may fit other formats too."""
    return format in EPOCHS or (format != ISO and compiled(format).width is not None)


def _assignment(formats: Sequence[str]) -> str:
    """Return the line of a job file, or the argument, that sets the formats."""
    quoted = [_quoted(format) for format in formats]
    return f"time_format = {quoted[0] if len(quoted) == 1 else '[' + ', '.join(quoted) + ']'}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _formats_of(values: pa.Array) -> list[str]:
    """Return formats that some of the values may have."""
    if not is_text(values.type):
        return [format for formats in _OF_DIGITS.values() for format in formats] + list(EPOCHS)
    values = values.filter(pc.less_equal(pc.utf8_length(values), _MAX_CHARACTERS))
    shapes = pc.replace_substring_regex(values, r"\d", "0")
    _, first = np.unique(np.asarray(shapes.dictionary_encode().indices), return_index=True)
    formats: dict[str, None] = {}
    for value in values.take(from_numpy(first[:_SHAPES])).to_pylist():
        formats.update(dict.fromkeys(filter(_is_format, _formats_of_text(value))))
    return list(formats)


def _is_format(format: str) -> bool:
    try:
        check_time_format(format)
    except ValueError:
        return False
    return True


def _formats_of_text(text: str) -> Iterator[str]:
    """Yield the formats of a text, of which some may not fit it."""
    if re.fullmatch(r"[+-]?\d+(?:\.\d*)?", text):
        yield from _OF_DIGITS.get(len(text), ())
        yield from EPOCHS
        if text.count(".") == 0 or len(text) < 8:
            return
    date, clock = text, ""
    if match := _CLOCK.fullmatch(text):
        date = match["before"]
        gap = re.sub(r"\s+", " ", match["gap"])
        decimals = f"{match['decimals'][0]}%f" if match["decimals"] else ""
        noon = ("%p" if match["noon"].strip() == match["noon"] else " %p") if match["noon"] else ""
        zone = ("%z" if match["zone"].strip() == match["zone"] else " %z") if match["zone"] else ""
        hour, seconds = "%I" if noon else "%H", ":%S" if match["seconds"] else ""
        clock = f"{gap}{hour}:%M{seconds}{decimals}{noon}{zone}"
    for format in _formats_of_date(date):
        yield format + clock


def _formats_of_date(text: str) -> Iterator[str]:
    """Yield formats of a date of numbers, signs and names of months and days."""
    if len(digits := _OF_DIGITS.get(len(text), ())) and text.isdigit():
        yield from digits
        return
    tokens = _NUMBER_OR_WORD.findall(re.sub(r"\s+", " ", text))
    numbers: list[int] = []
    has_name = False
    for i, token in enumerate(tokens):
        word = token.lower()
        if token.isdigit():
            numbers.append(i)
        elif word in _MONTH_NAMES:
            tokens[i], has_name = f"%{_MONTH_NAMES[word]}", True
        elif word in _DAY_NAMES:
            tokens[i] = f"%{_DAY_NAMES[word]}"
        elif token not in _SIGNS:
            return
    for order in ("dy", "yd") if has_name else ("dmy", "mdy", "ymd"):
        if len(numbers) != len(order):
            return
        directives = []
        for i, letter in zip(numbers, order, strict=True):
            digits_of = len(tokens[i])
            is_year = letter == "y" and digits_of in (2, 4)
            if not is_year and (letter == "y" or digits_of > 2):
                break
            directives.append("%Y" if digits_of == 4 else f"%{letter}")
        else:
            shown = dict(zip(numbers, directives, strict=True))
            yield "".join(shown.get(i, token) for i, token in enumerate(tokens))
