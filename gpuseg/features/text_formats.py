"""Text of lines that is no number as gpuseg reads them: which format it has instead.

A column in another format has an error that says so, and which keys read it; who has the lines in
Python reads how to convert the column, too. A hint shows no value, since values may be hidden.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.errors import set_keys
from gpuseg.io.text_files.number_format import BLANK

_SAMPLE_ROWS = 1000
_WITH_POINT = "write them with a decimal point"
_MARKS = "'’ \u00a0\u202f"
"""Marks between thousands, besides the comma and the point."""

_DECIMAL_COMMA = re.compile(rf"[+-]?(?:\d{{1,3}}(?:[.{_MARKS}]\d{{3}})+|\d*),\d+")
_COMMA_OF_THREE = re.compile(r"[+-]?\d{1,3},\d{3}")
_THOUSANDS = re.compile(rf"[+-]?\d{{1,3}}(?:(?:[,{_MARKS}]\d{{3}})+(?:\.\d+)?|(?:\.\d{{3}}){{2,}})")
_THOUSANDS_AND_POINT = re.compile(rf"[+-]?\d{{1,3}}(?:[,{_MARKS}]\d{{3}})+\.\d+")
"""A format and no mistake, even if one value alone has it: few prices are above a thousand."""

_POINT_OF_THREE = re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+")
_MARK = re.compile(rf"(?<=\d)[.{_MARKS}](?=\d{{3}})")
_CURRENCY = re.compile(
    r"\s*(?:[^\d\s.,+-]{1,3}\s*[+-]?\d[\d.,]*|[+-]?\d[\d.,]*\s*[^\d\s.,+-]{1,3})\s*"
)


def next_step(
    text: pa.Array, row: int, kind: pa.DataType, has_currency: bool, is_of_job: bool
) -> str:
    """Return the hint for text that cannot be read: fix lines, set keys, or convert the column.

    Parameters
    ----------
    text : array of strings (n,)
        The column in a batch of lines; missing values are null.
    row : int
        The first value that cannot be read.
    kind : DataType
        Of numbers.
    has_currency : bool
        Whether the text had signs of currencies, which are removed.
    is_of_job : bool
        Whether a job file names the column, so that advice for pandas would not help.
    """
    sample = text[row : row + _SAMPLE_ROWS].drop_null().to_pylist()
    readable, unreadable = _by_readability(sample, kind)
    if len(unreadable) < 2 and not any(map(_THOUSANDS_AND_POINT.fullmatch, unreadable)):
        return "fix the line, or leave it out"
    count = _counted(len(unreadable), len(sample))
    are_few = len(unreadable) < len(readable)
    if marks := _marks_of_numbers(unreadable, readable, are_few):
        advice = f"{marks.what}; {marks.advice(has_currency, is_of_job)}"
        if len(unreadable) == 1:
            return f"{count}: this number has {advice}"
        return f"{count}, as the column is in another format: the numbers have {advice}"
    if are_few:
        return f"{count}; fix these lines, or leave them out"
    convert = _unit_of_numbers(unreadable)
    if readable:
        return (
            f"{count}, as they are in another format than the others; convert these values alone: "
            f"{convert}"
        )
    return f"{count}, as the column is in another format: {convert}"


def _counted(unreadable: int, values: int) -> str:
    """Return how many of the values, which begin with the first unreadable one, are unreadable."""
    if values == 1:
        return "no value follows in these lines"
    if unreadable == values:
        return f"none of the {values:,} values from that row on can be read"
    return f"{unreadable:,} of the {values:,} values from that row on cannot be read"


def _by_readability(values: Sequence[str], kind: pa.DataType) -> tuple[list[str], list[str]]:
    """Return the values that can be read, and those that cannot."""
    can_read = [_can_read(value, kind) for value in values]
    readable, unreadable = (
        [value for value, can in zip(values, can_read, strict=True) if can == expected]
        for expected in (True, False)
    )
    return readable, unreadable


def _can_read(value: str, kind: pa.DataType) -> bool:
    try:
        pc.cast(pa.scalar(value), kind)
    except pa.ArrowInvalid:
        return False
    return True


@dataclass(frozen=True)
class _Marks:
    """What the numbers of a column have that others have not.

    Attributes
    ----------
    what : str
        In words.
    step : str
        The step that sets keys which read the numbers; empty if none do.
    write : str
        How to write them instead.
    code : str
        Expressions of pandas that do so.
    """

    what: str
    step: str
    write: str
    code: str

    def advice(self, has_currency: bool, is_of_job: bool) -> str:
        """Return the next step."""
        currency = " (the sign of the currency may stay)" if has_currency else ""
        steps = [self.step + currency] if self.step else []
        if not (steps and is_of_job):
            code = "" if is_of_job else f", for example with {self.code}"
            steps.append(f"{self.write}{code}")
        return ", or ".join(steps)


def _marks_of_numbers(
    unreadable: Sequence[str], readable: Sequence[str], are_few: bool
) -> _Marks | None:
    """Return a decimal comma or marks between thousands, if the column has them.

    All numbers of the column are converted alike. Few numbers with a decimal comma are errors of
    their own if others have a decimal point.
    """
    first = unreadable[0]
    if not (_DECIMAL_COMMA.fullmatch(first) or _THOUSANDS.fullmatch(first)):
        return None
    with_decimal_comma, with_thousands = (
        [value for value in unreadable if pattern.fullmatch(value)]
        for pattern in (_DECIMAL_COMMA, _THOUSANDS)
    )
    with_point = [value for value in readable if "." in value]
    has_decimal_comma = len(with_decimal_comma) > _count_of(_COMMA_OF_THREE, with_decimal_comma)
    has_decimal_point = len(with_point) > _count_of(_POINT_OF_THREE, with_point)
    has_comma = any("," in value for value in (*with_decimal_comma, *with_thousands))
    if not has_comma:
        has_points = any(value.count(".") > 1 for value in with_thousands)
        if has_points and (has_decimal_point or are_few):
            return None
        return _without_marks(with_thousands)
    has_decimal_point |= any(
        value.count(".") == 1 or ("," in value and not _COMMA_OF_THREE.fullmatch(value))
        for value in with_thousands
    )
    if has_decimal_comma:
        if has_decimal_point or (are_few and with_point):
            return None
        return _with_decimal_point([*with_decimal_comma, *with_thousands, *with_point])
    if has_decimal_point:
        return _without_marks(with_thousands)
    return _Marks(
        "a comma, which is a decimal comma or stands between thousands (1,234 is 1.234 or 1234)",
        f"if it is a decimal comma, {_step(',', ())}; if it stands between thousands, "
        f"{_step(None, ',')}",
        _WITH_POINT,
        f"{_replaced({',': '.'})} or {_replaced({',': ''})}",
    )


def _count_of(pattern: re.Pattern[str], values: Sequence[str]) -> int:
    return sum(1 for value in values if pattern.fullmatch(value))


def _with_decimal_point(values: Sequence[str]) -> _Marks:
    marks = sorted(set(_MARK.findall(" ; ".join(values))))
    code = _replaced(dict.fromkeys(marks, "") | {",": "."})
    return _Marks("a decimal comma", _step(",", marks), _WITH_POINT, code)


def _without_marks(values: Sequence[str]) -> _Marks:
    """Return the marks between thousands; a point is one if a number has several."""
    marks = {mark for value in values for mark in value if mark in f",{_MARKS}"}
    if any(value.count(".") > 1 for value in values):
        marks.add(".")
    code = _replaced(dict.fromkeys(sorted(marks), ""))
    step = _step(None, sorted(marks))
    return _Marks("marks between thousands", step, "write them without these", code)


def _step(decimal: str | None, marks: Sequence[str]) -> str:
    """Return the step that sets keys which read the numbers; none if they have several marks."""
    signs = {BLANK if mark.isspace() else mark.replace("’", "'") for mark in marks}
    keys = [f'decimal = "{decimal}"'] * (decimal is not None)
    keys += [f'thousands = "{sign}"' for sign in signs]
    return set_keys(*keys) if len(signs) <= 1 else ""


def _replaced(replacements: Mapping[str, str]) -> str:
    """Return the expression of pandas that replaces texts in order, and reads the numbers."""
    calls = (f".str.replace({old!a}, {new!a})" for old, new in replacements.items())
    return f"pandas.to_numeric(column{''.join(calls)})"


def _unit_of_numbers(values: Sequence[str]) -> str:
    if _CURRENCY.fullmatch(values[0]):
        return "the numbers have a currency sign or a unit; write the numbers alone"
    return "write the numbers with digits and a decimal point only"
