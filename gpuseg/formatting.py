"""Format numbers, names and times for readers; shared by the tables and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

MINUS = "−"
NOTHING = "–"

_AT_CATEGORY, _NEAR_CATEGORY = 0.05, 1 / 3
"""Distances from the position of a category up to which a value is written as this category, and
as about this category."""

_MIN_DECIMAL, _MAX_DECIMAL = 1e-4, 1e12
"""Numbers outside this range are written with an exponent."""

_LEAST_MEASURE = 0.001

_MAX_RANGES = 20
"""Ranges of numbers that are listed."""


def number(x: float | None, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, or more if its integer part has more.

    Parameters
    ----------
    x : float or None
        ``None`` and NaN mean that there is no value.
    digits : int, optional

    Returns
    -------
    str
        For example ``"1,234,567"``, ``"12.3"``, ``"0.00012"``, ``"−4.5"`` or ``"–"``.
    """
    if x is None or math.isnan(x):
        return NOTHING
    sign = MINUS if x < 0 else ""
    size = abs(x)
    if math.isinf(size):
        return f"{sign}∞"
    if size == 0:
        return "0"
    if not _MIN_DECIMAL <= size < _MAX_DECIMAL:
        mantissa, exponent = f"{size:.{digits - 1}e}".split("e")
        return f"{sign}{_trim(mantissa)}e{int(exponent)}".replace("e-", f"e{MINUS}")
    if size >= 10**digits - 0.5:
        return f"{sign}{size:,.0f}"
    return sign + _trim(format(Decimal(f"{size:.{digits}g}"), ",f"))


def small_measure(x: float | None) -> str:
    """Write a measure that is 0 without a difference; below 0.001 its size is of no interest."""
    is_small = x is not None and 0 < x < _LEAST_MEASURE
    return f"<{_LEAST_MEASURE}" if is_small else number(x, 2)


def _trim(decimal: str) -> str:
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal


def percent(share: float | None) -> str:
    """Write a share between 0 and 1 as a percentage with one decimal.

    Parameters
    ----------
    share : float or None
        ``None`` and NaN mean that there is no value.

    Returns
    -------
    str
        A share above 0 is never written as 0%, and one below 1 never as 100%.
    """
    if share is None or math.isnan(share):
        return NOTHING
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share * 100:.1f}%".replace("-", MINUS)


def average(x: float | None, *, is_share: bool, categories: Sequence[str] = ()) -> str:
    """Write the average of a feature.

    Parameters
    ----------
    x : float or None
        ``None`` and NaN mean that there is no value.
    is_share : bool
        Whether the feature is 1 for customers of a category and 0 for others.
    categories : sequence of str, optional
        Ordered categories, where the feature is the position of one, from 0.

    Returns
    -------
    str
        A percentage for a share, otherwise a number. For a position the category there, such as
        ``"plus"`` or ``"about plus"``, or the two around it, such as ``"basic to plus"``.
    """
    if categories and x is not None and not math.isnan(x):
        return _at_position(x, categories)
    return percent(x) if is_share else number(x)


def _at_position(x: float, categories: Sequence[str]) -> str:
    """Write a position among categories: the one that is near, or else the two around it."""
    at = min(max(x, 0.0), len(categories) - 1.0)
    gap = abs(at - round(at))
    if gap > _NEAR_CATEGORY:
        return span(categories[math.floor(at)], categories[math.ceil(at)])
    return f"{'' if gap < _AT_CATEGORY else 'about '}{categories[round(at)]}"


def sigma(deviation: float | None, unit: str = "σ") -> str:
    """Write a number of standard deviations, with its sign.

    Parameters
    ----------
    deviation : float or None
        ``None`` and NaN mean that there is no value.
    unit : str, optional
        Text after the number.

    Returns
    -------
    str
        For example ``"+1.8σ"``, ``"−0.9σ"`` or ``"0.0σ"``.
    """
    if deviation is None or math.isnan(deviation):
        return NOTHING
    size = abs(deviation)
    sign = "" if size < 0.05 else MINUS if deviation < 0 else "+"
    digits = f"{size:.1f}" if size < 99.95 else number(size)
    return f"{sign}{digits}{unit}"


def count(n: int, noun: str = "") -> str:
    """Write a count with thousands separators and its noun, if given (plural with an s).

    Parameters
    ----------
    n : int
    noun : str, optional
        In the singular.

    Returns
    -------
    str
        For example ``"1,234"``, ``"1 segment"`` or ``"8 segments"``.
    """
    digits = f"{n:,}".replace("-", MINUS)
    return f"{digits} {noun}{'' if n == 1 else 's'}" if noun else digits


def count_with(n: int, noun: str, singular: str, plural: str) -> str:
    """Write a count with its noun and the verb that agrees with it.

    Parameters
    ----------
    n : int
    noun : str
        In the singular.
    singular, plural : str
        The verb for one and for any other number.

    Returns
    -------
    str
        For example ``"1 row has"`` or ``"8 rows have"``.
    """
    return f"{count(n, noun)} {singular if n == 1 else plural}"


def span(low: str, high: str) -> str:
    """Write a range, or one value where both ends are written alike.

    Parameters
    ----------
    low, high : str
        The ends, already formatted.

    Returns
    -------
    str
        For example ``"2 to 4"`` or ``"2"``.
    """
    return low if low == high else f"{low} to {high}"


def duration(seconds: float | None) -> str:
    """Write a duration in a suitable unit.

    Parameters
    ----------
    seconds : float or None
        ``None`` and NaN mean that there is no value.

    Returns
    -------
    str
        For example ``"12 ms"``, ``"1.23 s"``, ``"5 min 3 s"`` or ``"2 h 5 min"``.
    """
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 0.9995:
        return f"{number(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def moment(iso: str) -> str:
    """Write an ISO 8601 time in words, in UTC.

    Parameters
    ----------
    iso : str
        For example ``"2026-11-21T20:15:00Z"``; without an offset it is UTC.

    Returns
    -------
    str
        For example ``"21 November 2026, 20:15 UTC"``; other texts are returned unchanged.
    """
    try:
        parsed = datetime.fromisoformat(iso)
        at = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter in the first and the last year
        return iso
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def segment_name(segment: int) -> str:
    """Write the number of a segment; −1 is noise.

    Parameters
    ----------
    segment : int
        Number of the segment in the manifest.

    Returns
    -------
    str
        For example ``"3"`` or ``"noise"``.
    """
    return "noise" if segment < 0 else count(segment)


def number_ranges(numbers: Sequence[int]) -> str:
    """List rising numbers, and those without gaps as ranges: "0 to 3, 7, 12".

    Of many ranges only the first are listed.
    """
    ranges: list[list[int]] = []
    for each in numbers:
        if ranges and each == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], each]
        else:
            ranges.append([each])
    texts = [" to ".join(map(str, ends)) for ends in ranges[:_MAX_RANGES]]
    more = [f"and {count(len(ranges) - _MAX_RANGES)} more"] if len(ranges) > _MAX_RANGES else []
    return ", ".join([*texts, *more])


def listing(items: Sequence[str]) -> str:
    """Join items as in a sentence: "a, b and c"."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def numbered_row(name: str, row: int) -> str:
    """Describe a row of a file by its number, for messages."""
    return f"row {row} of {name} (rows count from 0)"
