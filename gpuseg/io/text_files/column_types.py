"""Types of columns of text, found in all their values.

A column begins with all types, and each batch takes away those that do not read all its values. So
the result depends neither on the order of the values nor on how they are cut into batches and
files. What is left is the type; a column that no type reads stays text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy
from gpuseg.io.null_values import is_null_value
from gpuseg.io.text_files.amounts import currencies_of
from gpuseg.io.text_files.number_format import FORMATS, PLAIN, NumberFormat, formats_that_read


class Kind(StrEnum):
    """Types that are looked for, beside numbers in other formats."""

    BOOLEAN = "boolean"
    FLAG = "flag"
    """Booleans, and words for them, which could be categories too."""
    INTEGER = "integer"
    WHOLE = "whole"
    """Whole numbers with or without decimals of zero, such as 17850.0."""
    FLOAT = "float"
    AMOUNT = "amount"
    """Floats, also with the sign of a currency."""
    DATE = "date"
    TIME = "time"


_FEW = 64
"""Values that are tried before all of a batch are."""

_EXACT = 2**53
"""All whole numbers up to it are doubles."""

_MAX_DIGITS = 18

_SHORT_DIGITS = 15
_LONG_DIGITS = f"[0-9]{{{_SHORT_DIGITS + 1}}}"
"""Digits of numbers that are in no format but the plain one."""

_INTEGER = rf"\A[+-]?(?:0|[1-9]\d{{0,{_MAX_DIGITS - 1}}})\z"
_WHOLE = rf"\A[+-]?(?:0|[1-9]\d{{0,{_MAX_DIGITS - 1}}})(?:\.0*)?\z"
_LEADING_ZERO = r"\A[+-]?0\d+\z"
_DIGITS = r"\A[+-]?\d+\z"
_BOOLEANS = ("true", "false")
_TRUE, _FALSE = ("true", "t", "yes", "y"), ("false", "f", "no", "n")
_OTHER_FORMATS = tuple(each for each in FORMATS if not each.is_plain)


@dataclass(frozen=True)
class ColumnTypes:
    """The types that read all values of a column so far.

    Attributes
    ----------
    has_values : bool
        Whether there is a value that is not missing.
    kinds : frozenset of Kind
    formats : tuple of NumberFormat
        Formats other than the plain one.
    example : str or None
        The first value that is no integer.
    currencies : frozenset of str
        Signs and codes of currencies.
    """

    has_values: bool = False
    kinds: frozenset[Kind] = frozenset(Kind)
    formats: tuple[NumberFormat, ...] = _OTHER_FORMATS
    example: str | None = None
    currencies: frozenset[str] = frozenset()

    @property
    def is_text(self) -> bool:
        """Whether no type is left."""
        return not self.kinds and not self.formats

    def __and__(self, other: "ColumnTypes") -> "ColumnTypes":
        """Return the types that read the values of both."""
        return ColumnTypes(
            self.has_values or other.has_values,
            self.kinds & other.kinds,
            tuple(each for each in self.formats if each in other.formats),
            self.example or other.example,
            self.currencies | other.currencies,
        )

    def number_formats(self) -> tuple[NumberFormat, ...]:
        """Return all formats in which the values are numbers."""
        return (PLAIN,) * (Kind.AMOUNT in self.kinds) + self.formats


@dataclass(frozen=True)
class TextValues:
    """Text of a CSV file: which of it stands for no value.

    Attributes
    ----------
    null_values : tuple of str
    """

    null_values: tuple[str, ...]

    def without_nulls(self, text: pa.Array) -> pa.Array:
        """Return text in which blank text and null values are null; the rest is unchanged."""
        if len(text) == text.null_count:
            return text
        is_missing = is_null_value(text, ("", *self.null_values))
        return pc.if_else(from_numpy(~is_missing), text, pa.scalar(None, text.type))

    def trimmed(self, text: pa.Array) -> pa.Array:
        """Return text without white space around it; blank text and null values are null."""
        return pc.utf8_trim_whitespace(self.without_nulls(text))

    def may_be_cast(self) -> bool:
        """Return whether text that can be cast to a number is one, and no null value."""
        return not any(re.search(r"\d|inf", word, re.IGNORECASE) for word in self.null_values)


def observe(types: ColumnTypes, text: pa.Array, values: TextValues) -> ColumnTypes:
    """Return the types that read a batch of text (n,) too."""
    if types.is_text or len(text) == text.null_count:
        return types
    left = _reading(types, values.trimmed(text[:_FEW]))
    if left.is_text:
        return left
    if Kind.INTEGER in left.kinds and values.may_be_cast() and _is_plain_integer(text):
        return _of_integers(types, types.kinds & _KINDS_OF_INTEGERS, text)
    if left.kinds == {Kind.FLOAT, Kind.AMOUNT} and values.may_be_cast() and _reads_floats(text):
        formats = _formats_that_read(text, left.formats, reads_floats=True)
        return replace(left, formats=formats)
    return _reading(left, values.trimmed(text))


_KINDS_OF_INTEGERS = frozenset({Kind.INTEGER, Kind.WHOLE, Kind.FLOAT, Kind.AMOUNT})


def _reading(types: ColumnTypes, text: pa.Array) -> ColumnTypes:
    """Return the types that read trimmed text too; nulls do not count."""
    if len(text) == text.null_count:
        return types
    kinds = frozenset(kind for kind in types.kinds - {Kind.AMOUNT} if _READS[kind](text))
    if Kind.AMOUNT in types.kinds and (Kind.FLOAT in kinds or PLAIN.reads(text)):
        kinds |= {Kind.AMOUNT}
    if Kind.INTEGER in kinds:
        return _of_integers(types, kinds, text)
    example = types.example
    if example is None:
        row = pc.index(pc.match_substring_regex(text, _INTEGER), False).as_py()
        example = None if row < 0 else text[row].as_py()
    formats = _formats_that_read(text, types.formats, Kind.FLOAT in kinds)
    currencies = types.currencies
    if Kind.FLOAT not in kinds and (Kind.AMOUNT in kinds or formats):
        currencies |= currencies_of(text)
    return ColumnTypes(True, kinds, formats, example, currencies)


def _of_integers(types: ColumnTypes, kinds: frozenset[Kind], text: pa.Array) -> ColumnTypes:
    """Return the types that read integers too; a double or a format may not read long ones."""
    types = replace(types, has_values=True, kinds=kinds)
    is_long = pc.any(pc.greater(pc.binary_length(text), _SHORT_DIGITS)).as_py()
    if not is_long or not pc.any(pc.match_substring_regex(text, _LONG_DIGITS)).as_py():
        return types
    read = {Kind.INTEGER, Kind.WHOLE, *([Kind.FLOAT, Kind.AMOUNT] if _reads_floats(text) else [])}
    return replace(types, kinds=kinds & read, formats=())


def _formats_that_read(
    text: pa.Array, formats: tuple[NumberFormat, ...], reads_floats: bool
) -> tuple[NumberFormat, ...]:
    """Return the formats that read text; plain numbers are numbers of all with a decimal point."""
    implied = [each for each in formats if reads_floats and each.decimal == PLAIN.decimal]
    others = [each for each in formats if each not in implied]
    return (*implied, *formats_that_read(text, others))


def _matches(text: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(text, pattern)).as_py() is not False)


def _is_plain_integer(text: pa.Array) -> bool:
    """Return whether all values are integers as they would be written again."""
    try:
        integers = pc.cast(text, pa.int64())
    except pa.ArrowInvalid:
        return False
    low, high = pc.min_max(integers).as_py().values()
    is_short = low is not None and low > -(10**_MAX_DIGITS) and high < 10**_MAX_DIGITS
    return is_short and bool(pc.all(pc.equal(pc.cast(integers, text.type), text)).as_py())


def _reads_integers(text: pa.Array) -> bool:
    return _is_plain_integer(text) or _matches(text, _INTEGER)


def _reads_whole(text: pa.Array) -> bool:
    return _matches(text, _WHOLE)


def _reads_floats(text: pa.Array) -> bool:
    """Return whether all values are doubles; digits that a double would change are text."""
    try:
        floats = pc.cast(text, pa.float64())
    except pa.ArrowInvalid:
        return False
    begins = [pc.starts_with(text, beginning) for beginning in ("0", "-0", "+0")]
    beginning_with_zero = text.filter(pc.or_(pc.or_(*begins[:2]), begins[2]))
    if pc.any(pc.match_substring_regex(beginning_with_zero, _LEADING_ZERO)).as_py():
        return False
    large = text.filter(pc.greater_equal(pc.abs(floats), float(_EXACT)))
    return not pc.any(pc.match_substring_regex(large, _DIGITS)).as_py()


def _reads_booleans(text: pa.Array) -> bool:
    return _has_only(text, _BOOLEANS)


def _reads_flags(text: pa.Array) -> bool:
    return _has_only(text, (*_TRUE, *_FALSE))


def _has_only(text: pa.Array, values: Sequence[str]) -> bool:
    words = pa.array(values, text.type)
    return bool(pc.all(pc.is_in(pc.utf8_lower(text.drop_null()), value_set=words)).as_py())


def _reads_dates(text: pa.Array) -> bool:
    return _casts(text, pa.date32())


def _reads_times(text: pa.Array) -> bool:
    return _casts(text, pa.timestamp("us"))


def _casts(text: pa.Array, kind: pa.DataType) -> bool:
    try:
        pc.cast(text, kind)
    except pa.ArrowInvalid:
        return False
    return True


_READS = {
    Kind.BOOLEAN: _reads_booleans,
    Kind.FLAG: _reads_flags,
    Kind.INTEGER: _reads_integers,
    Kind.WHOLE: _reads_whole,
    Kind.FLOAT: _reads_floats,
    Kind.DATE: _reads_dates,
    Kind.TIME: _reads_times,
}


@dataclass(frozen=True)
class ColumnType:
    """The type of a column, and the format of its numbers if that is not the plain one."""

    type: pa.DataType
    format: NumberFormat = PLAIN


def column_type(
    types: ColumnTypes, format: NumberFormat, is_id: bool = False, is_measured: bool = False
) -> ColumnType:
    """Return the type of a column with all values; numbers are in a format, or plain integers.

    Parameters
    ----------
    is_id : bool
        Whole numbers with decimals of zero are integers then, and other decimals are text.
    is_measured : bool
        Whether the column must have numbers: then "t" and "yes" are booleans.
    """
    if not types.has_values:
        return ColumnType(pa.null())
    for kind, result in (
        (Kind.FLAG if is_measured else Kind.BOOLEAN, pa.bool_()),
        (Kind.INTEGER, pa.int64()),
        (Kind.WHOLE if is_id else None, pa.int64()),
    ):
        if kind in types.kinds:
            return ColumnType(result)
    if format in types.number_formats() and not is_id:  # 1.23E+17 and 12.10 are no numbers
        return ColumnType(pa.float64(), format)
    for kind, result in ((Kind.DATE, pa.date32()), (Kind.TIME, pa.timestamp("us"))):
        if kind in types.kinds:
            return ColumnType(result)
    return ColumnType(pa.string())


def converted(text: pa.Array, kind: ColumnType, values: TextValues) -> pa.Array:
    """Return text as values of a type that reads it."""
    if pa.types.is_string(kind.type):
        return values.without_nulls(text)
    if pa.types.is_null(kind.type):
        return pa.nulls(len(text))
    is_number = pa.types.is_int64(kind.type) or pa.types.is_float64(kind.type)
    if is_number and kind.format.is_plain and values.may_be_cast():
        try:
            return pc.cast(text, kind.type)
        except pa.ArrowInvalid:
            pass
    text = values.trimmed(text)
    if pa.types.is_boolean(kind.type):
        words = pc.utf8_lower(text)
        flags = [pc.equal(words, word) for word in _TRUE]
        return pc.or_(pc.or_(*flags[:2]), pc.or_(*flags[2:]))
    if pa.types.is_int64(kind.type):
        text = pc.replace_substring_regex(text, r"\A\+|\.0*\z", "")
    elif is_number:
        return kind.format.to_floats(text)
    return pc.cast(text, kind.type)
