"""Time limits of jobs: seconds, texts such as "90m", and what Slurm writes."""

import re
from typing import Any

MAX_SECONDS = 366 * 86400
"""No scheduler has longer limits that are meant."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNIT = re.compile(r"(\d{1,9})\s*([smhd])")
_CLOCK = re.compile(r"(?:(\d{1,4})-)?(\d{1,6}):(\d{2})(?::(\d{2}))?")

_RULE = "must be a time such as '90m', '12h', '2d' or '1-12:00:00', or a number of seconds; \
at most 366 days"


def seconds_of(value: Any) -> int:
    """Return the seconds of a time limit.

    "1:30" is refused: it is minutes and seconds for Slurm, and hours and minutes for most people.

    Raises
    ------
    ValueError
    """
    seconds = None
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str):
        seconds = _of_text(value.strip())
    if seconds is None or not 1 <= seconds <= MAX_SECONDS:
        raise ValueError(_RULE)
    return seconds


def _of_text(text: str) -> int | None:
    if match := _UNIT.fullmatch(text):
        return int(match[1]) * _UNITS[match[2]]
    if match := _CLOCK.fullmatch(text):
        if match[1] is None and match[4] is None:
            return None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return None
