"""Lines of JSON as rows: with orjson if it is installed, with Python's own parser otherwise.

Both give the same rows. A line that the fast way does not accept, or cannot vouch for, is read
again by the strict way, which alone decides what is wrong with it.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.preprocessing.row_problems import RowProblem
from gpuseg.scoring.line_batches import MAX_LINE

_SPACES = b" \t\r\n"
"""What JSON allows between values."""

_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{\]}]|[^\s"\[{\]},:]+')
"""Texts, brackets and other values: what is left of JSON that is right without `,` and `:`.

Python's own parser would refuse long numbers and deep nesting that another one takes.
"""

_SHOWN_BYTES = 200
"""How much of a wrong line is kept to be shown."""

_MAX_DIGITS = 4300
"""Digits of a whole number that Python reads; float64 has none of more than 309."""


class ParsedLines(NamedTuple):
    """Rows of lines.

    Attributes
    ----------
    rows : list of dict
    positions : int64 (n,)
        The position of each row among the lines.
    problems : list of RowProblem
        Of the lines that are no rows; blank lines have none. The column is empty, the value is how
        the line begins.
    """

    rows: list[dict[str, Any]]
    positions: NDArray[np.int64]
    problems: list[RowProblem]


def parse_lines(lines: Sequence[bytes]) -> ParsedLines:
    """Return the rows of lines of JSON, in UTF-8 and without their line ends.

    A row is an object without repeated keys. Numbers beyond float64 are infinite.
    """
    if (fast := _fast_rows(lines)) is not None:
        return ParsedLines(fast, np.arange(len(lines)), [])
    rows, positions, problems = [], [], []
    for position, line in enumerate(lines):
        if not line.strip(_SPACES):
            continue
        try:
            rows.append(_row(line))
            positions.append(position)
        except ValueError as error:
            shown = line[:_SHOWN_BYTES].decode(errors="replace")
            problems.append(RowProblem(position, "", shown, str(error)))
    return ParsedLines(rows, np.array(positions, np.int64), problems)


def raw_value(line: bytes, key: str) -> str:
    """Return the value of a key of a row as the line has it, such as ``1.50`` or ``"a\\u0301"``.

    Parameters
    ----------
    line : bytes
        A line that is a row and has the key.
    """
    text = line.decode()
    tokens = _TOKENS.finditer(text, text.index("{") + 1)
    while True:
        name = json.loads(next(tokens)[0])
        value = next(tokens)
        start, depth = value.start(), _depth_of(value[0])
        while depth:
            value = next(tokens)
            depth += _depth_of(value[0])
        if name == key:
            return text[start : value.end()]


def _depth_of(token: str) -> int:
    """Return by how much a token changes the depth of nesting."""
    return (token in ("{", "[")) - (token in ("}", "]"))


def _fast_rows(lines: Sequence[bytes]) -> list[Any] | None:
    """Return the rows of lines; None if some line may not be one."""
    if max(map(len, lines), default=0) > MAX_LINE:
        return None
    try:
        rows = list(map(_parser(), lines))
    except (ValueError, RecursionError):
        return None
    are_objects = {*map(type, rows)} <= {dict}
    return rows if are_objects and _has_unique_keys(b"\n".join(lines), rows) else None


@cache
def _parser() -> Callable[[bytes], Any]:
    """Return the fastest parser that is installed."""
    if find_spec("orjson") is None:
        return _loads
    import orjson

    loads: Callable[[bytes], Any] = orjson.loads
    return loads


def _row(line: bytes) -> dict[str, Any]:
    """Return the row of a line.

    Raises
    ------
    ValueError
        With the rule that is broken.
    """
    if fast := _fast_rows([line]):
        row: dict[str, Any] = fast[0]
        return row
    if len(line) > MAX_LINE:
        raise ValueError(f"must have at most {MAX_LINE:,} bytes")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"must be in UTF-8, but byte {error.start + 1:,} is not") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_with_unique_keys,
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
        )
    except json.JSONDecodeError as error:
        place = f"column {error.colno:,}"
        raise ValueError(f"must be JSON, one object on a line ({error.msg}: {place})") from None
    except RecursionError:
        raise ValueError("must not be nested so deeply") from None
    if not isinstance(value, dict):
        raise ValueError("must be an object with the columns of the model")
    return value


def _has_unique_keys(text: bytes, rows: Sequence[dict[str, Any]]) -> bool:
    """Return whether the objects have as many keys as their text; False if that is not certain.

    A parser keeps one of several equal keys. Each key is followed by a colon, and where no space
    comes before a colon, by a quote and a colon.
    """
    n_keys = sum(map(len, rows))
    if text.count(b":") == n_keys:
        return True
    has_space = any(bytes([space]) + b":" in text for space in _SPACES)
    return not has_space and text.count(b'":') == n_keys


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        repeated, _ = (Counter(name for name, _ in pairs) - Counter(list(result))).popitem()
        raise ValueError(f"must have each key once, but {repeated!r} is repeated")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"must be JSON, which has no {name}; null is a missing value")


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _loads(line: bytes) -> Any:
    """Read JSON in UTF-8 with Python's parser, which would also take other encodings."""
    return json.loads(line.decode(), parse_constant=_refuse_constant)
