"""Numbers, names and moments as a reader wants them; shared by the table and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

MINUS = "−"
NOTHING = "–"
NOISE = -1

# Outside this range a plain decimal is longer than its information.
_SMALLEST, _LARGEST = 1e-4, 1e12


def number(x: float | None) -> str:
    """Write a number with three significant digits, or all the digits before its point.

    Parameters
    ----------
    x : float or None
        ``None`` and NaN stand for "no value".

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
    if not _SMALLEST <= size < _LARGEST:
        mantissa, exponent = f"{size:.2e}".split("e")
        return f"{sign}{_trim(mantissa)}e{int(exponent)}".replace("e-", f"e{MINUS}")
    if size >= 999.5:
        return f"{sign}{size:,.0f}"
    return sign + _trim(format(Decimal(f"{size:.3g}"), "f"))


def _trim(decimal: str) -> str:
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal


def percent(share: float | None) -> str:
    """Write a share between 0 and 1 as a percentage with one decimal.

    Parameters
    ----------
    share : float or None
        ``None`` and NaN stand for "no value".

    Returns
    -------
    str
        A share that is not nothing never reads as 0%, nor one short of everything as 100%.
    """
    if share is None or math.isnan(share):
        return NOTHING
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share * 100:.1f}%".replace("-", MINUS)


def sigma(deviation: float | None, unit: str = "σ") -> str:
    """Write a deviation in standard deviations, always with its sign.

    Parameters
    ----------
    deviation : float or None
        ``None`` and NaN stand for "no value".
    unit : str, optional
        What follows the number.

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
    """Write a count with thousands separators and, where given, its noun (plural by an s).

    Parameters
    ----------
    n : int
        How many.
    noun : str, optional
        The singular of what is counted.

    Returns
    -------
    str
        For example ``"1,234"``, ``"1 segment"`` or ``"8 segments"``.
    """
    digits = f"{n:,}".replace("-", MINUS)
    return f"{digits} {noun}{'' if n == 1 else 's'}" if noun else digits


def duration(seconds: float | None) -> str:
    """Write a time span in the unit that fits it.

    Parameters
    ----------
    seconds : float or None
        ``None`` and NaN stand for "no value".

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
    """Write an ISO 8601 moment out in words, in UTC.

    Parameters
    ----------
    iso : str
        For example ``"2026-11-21T20:15:00Z"``; without an offset it is taken as UTC.

    Returns
    -------
    str
        For example ``"21 November 2026, 20:15 UTC"``; what is no ISO moment comes back as it is.
    """
    try:
        parsed = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    at = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def segment_name(segment: int) -> str:
    """Name a segment by its number; the number −1 means noise.

    Parameters
    ----------
    segment : int
        The segment's number in the manifest.

    Returns
    -------
    str
        For example ``"3"`` or ``"noise"``.
    """
    return "noise" if segment == NOISE else count(segment)


def listing(items: Sequence[str]) -> str:
    """Join items as a sentence does: "a, b and c".

    Parameters
    ----------
    items : sequence of str
        What to list.

    Returns
    -------
    str
        The items in their order.
    """
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def printable(text: str) -> str:
    """Replace what a terminal would obey rather than show: control codes, line breaks.

    Parameters
    ----------
    text : str
        Untrusted text, such as a feature's name.

    Returns
    -------
    str
        The text on one line, one character for each of the original.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
