"""Formats of times: the words of `datetime.strptime`, as patterns that match a whole text.

A format gives the same times on every machine: names of months and days are English, whatever the
locale is. A date must exist, which some libraries do not check: they read the 31st of February as
the 3rd of March.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gpuseg.errors import literal

ISO = "iso8601"
"""The format that is read by default; see `ISO_PATTERN`."""

EPOCHS = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
"""Formats of numbers since 1970-01-01 in UTC, and their units in a second."""

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august"),
    *("september", "october", "november", "december"),
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_NAMED_ZONE = "Z|UTC|GMT"
_ZONE = rf"{_NAMED_ZONE}|[+-][0-9]{{2}}(?::?[0-9]{{2}})?"
_SPACE = r"[\s\p{Zs}]"

_DIGITS = {"Y": (4, 4), "y": (2, 2), "m": (1, 2), "d": (1, 2), "j": (1, 3), "H": (1, 2),
           "I": (1, 2), "M": (1, 2), "S": (1, 2)}  # fmt: skip
"""Directives of digits: fewest and most digits."""

_PATTERNS = {
    "f": "[0-9]+",
    "p": "AM|PM",
    "b": "|".join(name[:3] for name in MONTHS),
    "B": "|".join(MONTHS),
    "a": "|".join(name[:3] for name in _DAYS),
    "A": "|".join(_DAYS),
    "z": _ZONE,
    "Z": _NAMED_ZONE,
}
"""Directives of other texts."""

_SHORT = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "e": "%d"}
"""Directives that stand for others."""

_SAME = {"B": "b", "A": "a", "Z": "z"}
"""Directives of the same part of a time as another one."""

ISO_PATTERN = (
    r"(?i)^(?P<Y>[0-9]{4})(?P<separator>[-/.])(?P<m>[0-9]{1,2})(?P<same>[-/.])(?P<d>[0-9]{1,2})"
    rf"(?:(?:T|{_SPACE}+)(?P<H>[0-9]{{1,2}})(?::(?P<M>[0-9]{{2}})"
    rf"(?::(?P<S>[0-9]{{2}})(?:[.,](?P<f>[0-9]+))?)?)?{_SPACE}*(?P<z>{_ZONE})?)?$"
)
"""Times that begin with the year: ISO 8601, also with / or . and with single digits."""

EPOCH_PATTERN = r"^(?P<whole>[+-]?[0-9]{1,19})(?:\.(?P<f>[0-9]*))?$"


@dataclass(frozen=True)
class TimeFormat:
    """A format of `strptime`.

    Attributes
    ----------
    pattern : str
        A regular expression of RE2, with a group for each directive.
    width : int or None
        The number of digits, if each text has only digits, and always as many.
    """

    pattern: str
    width: int | None


def time_formats_of(value: Any) -> list[str]:
    """Return formats that a user gives as a text or a list of texts.

    Raises
    ------
    ValueError
        With the rule.
    """
    formats = [value] if isinstance(value, str) else value
    is_list = isinstance(formats, Sequence) and not isinstance(formats, bytes | bytearray)
    if not is_list or not formats or not all(isinstance(one, str) for one in formats):
        raise ValueError("must be a format such as '%d/%m/%Y %H:%M', or a list of formats")
    for one in formats:
        check_time_format(one)
    if len(set(formats)) < len(formats):
        raise ValueError("must have each format once")
    return list(formats)


def check_time_format(format: str) -> None:
    """Refuse a format that gives no date, or that could be read in two ways.

    Raises
    ------
    ValueError
        With the rule.
    """
    if format != ISO and format not in EPOCHS:
        compiled(format)


@cache
def compiled(format: str) -> TimeFormat:
    """Return the pattern of a format of `strptime`.

    Two numbers without a sign between them have all their digits: 1112010 has no format %d%m%Y.

    Raises
    ------
    ValueError
    """
    tokens = _tokens(format)
    _check_parts(format, [token[1] for token in tokens if token[0] == "%" and token != "%%"])
    pattern, widths = "(?i)^", []
    for i, token in enumerate(tokens):
        letter = token[1] if token[0] == "%" else ""
        if letter in _DIGITS:
            fewest, most = _DIGITS[letter]
            neighbors = (*tokens[max(i - 1, 0) : i], *tokens[i + 1 : i + 2])
            fewest = most if any(map(_has_digits, neighbors)) else fewest
            pattern += f"(?P<{letter}>[0-9]{{{fewest},{most}}})"
            widths.append(most if fewest == most else None)
        elif letter in _PATTERNS:
            pattern += f"(?P<{letter}>{_PATTERNS[letter]})"
            widths.append(None)
        else:
            text = letter or token
            pattern += f"{_SPACE}+" if text.isspace() else re.escape(text)
            widths.append(None)
    known = [width for width in widths if width is not None]
    return TimeFormat(f"{pattern}$", sum(known) if len(known) == len(widths) else None)


def _tokens(format: str) -> list[str]:
    """Return the directives, white space and signs of a format."""
    if not format.isprintable():
        raise ValueError("must have no line break and no invisible character")
    tokens: list[str] = []
    for token in re.findall(r"%.?|\s+|.", format):
        if len(token) == 2 and token[1:] in _SHORT:
            tokens += _tokens(_SHORT[token[1:]])
        elif token[0] == "%" and token[1:] not in (*_DIGITS, *_PATTERNS, "%"):
            raise ValueError(
                f"has the directive {literal(repr(token))}; known are "
                f"{', '.join(f'%{letter}' for letter in (*_DIGITS, *_PATTERNS))}, and in place "
                f"of a format {ISO}, {', '.join(EPOCHS)}"
            )
        else:
            tokens.append(token)
    return tokens


def _has_digits(token: str) -> bool:
    """Return whether a token is a number, so that no sign divides it from another one."""
    return token.isdigit() or (token[0] == "%" and token[1:] in (*_DIGITS, "f"))


def _check_parts(format: str, letters: Sequence[str]) -> None:
    parts = [_SAME.get(letter, letter) for letter in letters]
    repeated = next((letter for letter in parts if parts.count(letter) > 1), None)
    if repeated:
        raise ValueError(f"must have each part of a time once; %{repeated} or its like is repeated")
    has = set(parts)
    if len(has & {"Y", "y"}) != 1:
        raise ValueError(
            "must have the year as %Y (2011) or %y (11), not both; or be one of "
            f"{ISO}, {', '.join(EPOCHS)}"
        )
    if "j" in has and has & {"m", "b", "d"}:
        raise ValueError("has the day of the year, %j, and a month or a day of the month")
    if "j" not in has and len(has & {"m", "b"}) != 1:
        raise ValueError("must have the month once: as %m (8), %b (Aug) or %B (August)")
    if ("I" in has) != ("p" in has):
        raise ValueError("must have %I (hours from 1 to 12) and %p (AM or PM) together")
    if has >= {"H", "I"}:
        raise ValueError("has %H (hours from 0 to 23) and %I (hours from 1 to 12)")
    hours = has & {"H", "I"}
    for part, needed in (("M", hours), ("S", has & {"M"}), ("f", has & {"S"})):
        if part in has and not needed:
            raise ValueError(f"has %{part} without the larger unit before it")
