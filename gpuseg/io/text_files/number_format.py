"""Numbers in text: their decimal sign and the signs between thousands."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.io.text_files.amounts import without_signs_of_amounts

BLANK = " "
DECIMALS = (".", ",")
THOUSANDS = (",", ".", BLANK, "'")

_EXACT_DIGITS = 15
"""Digits of whole numbers that a double always holds. Digits that begin with zero are an id."""

_SIGNS = {",": ",", ".": r"\.", BLANK: "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}
"""The regular expression of each sign; blanks that break no line are blanks too."""


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written.

    Attributes
    ----------
    decimal : str
    thousands : str or None
        None: nothing stands between thousands.
    """

    decimal: str = "."
    thousands: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether numbers are written as in programs."""
        return self == PLAIN

    @property
    def example(self) -> str:
        """A number in this format, for messages."""
        return f"1{self.thousands or ''}234{self.decimal}56"

    @cached_property
    def _pattern(self) -> str:
        point = _SIGNS[self.decimal]
        whole = rf"0|[1-9]\d{{0,{_EXACT_DIGITS - 1}}}"
        if self.thousands is not None:
            sign = _SIGNS[self.thousands]
            whole = rf"[1-9]\d{{0,2}}(?:{sign}\d{{2,3}}){{0,4}}{sign}\d{{3}}|{whole}"
        number = rf"(?:{whole})(?:{point}\d*)?|\d{{1,{_EXACT_DIGITS}}}{point}\d*|{point}\d+"
        return rf"\A[+-]?(?:{number})(?:[eE][+-]?\d+)?\z"

    def matches(self, text: pa.Array) -> pa.Array:
        """Return where text is a number or an amount in this format; null where it is null."""
        flags = pc.match_substring_regex(text, self._pattern)
        if pc.all(flags).as_py() is not False:
            return flags
        return pc.match_substring_regex(without_signs_of_amounts(text), self._pattern)

    def reads(self, text: pa.Array) -> bool:
        """Return whether all values are numbers in this format; nulls do not count."""
        for sign in {".", ","} - {self.decimal, self.thousands}:  # faster than the pattern
            if pc.any(pc.match_substring_regex(text, f"[0-9][{sign}]")).as_py():
                return False
        return bool(pc.all(self.matches(text)).as_py() is not False)

    def to_floats(self, text: pa.Array) -> pa.Array:
        """Return numbers and amounts of this format as float64.

        Raises
        ------
        ArrowInvalid
            For other text.
        """
        try:
            return pc.cast(self.to_plain(text), pa.float64())
        except pa.ArrowInvalid:
            return pc.cast(self.to_plain(without_signs_of_amounts(text)), pa.float64())

    def to_plain(self, text: pa.Array) -> pa.Array:
        """Return numbers of this format as programs write them."""
        if self.thousands is not None:
            text = pc.replace_substring_regex(text, _SIGNS[self.thousands], "")
        if self.decimal != PLAIN.decimal:
            text = pc.replace_substring(text, self.decimal, PLAIN.decimal)
        return text

    def keys(self) -> list[str]:
        """Return the keys of this format, as a job file has them, one a line."""
        keys = [f'decimal = "{self.decimal}"']
        if self.thousands is not None:
            keys.append(f'thousands = "{self.thousands}"')
        return keys


PLAIN = NumberFormat()

FORMATS = (
    PLAIN,
    *(NumberFormat(".", sign) for sign in THOUSANDS if sign != "."),
    *(NumberFormat(",", sign) for sign in (None, *(s for s in THOUSANDS if s != ","))),
)
"""All formats; of those with one decimal sign, the one without thousands first."""


_FEW = 64


def formats_that_read(text: pa.Array, candidates: Sequence[NumberFormat]) -> list[NumberFormat]:
    """Return the formats in which all values are numbers; a few values are tried first."""
    few = text[:_FEW]
    fitting = [each for each in candidates if each.reads(few)]
    if fitting and len(text) > _FEW:
        distinct = pc.unique(text)
        fitting = [each for each in fitting if each.reads(distinct)]
    return fitting
