"""Read JSON as its standard has it, from files that anybody may have written."""

import json
import math
from typing import Any


def parse_json(content: bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises
    ------
    ValueError
        For what is not JSON or not UTF-8, for NaN and infinity, repeated keys, text that is no
        Unicode, and for too deep nesting.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_with_unique_keys,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("values are nested too deeply") from None
    if b"\\ud" in content.lower():  # an escape that may be half of a character
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(
            f"the key {next(key for key in keys if keys.count(key) > 1)!r} is repeated"
        )
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is not finite")
    return number
