"""Read JSON as its standard has it, from files that anybody may have written."""

import json
import math
from typing import Any


def parse_json(content: bytes, *, allow_surrogates: bool = False) -> Any:
    """Return the value of a JSON text in UTF-8.

    Parameters
    ----------
    allow_surrogates : bool, default False
        Whether text may have halves of characters, as names of files that are not UTF-8 have.

    Raises
    ------
    ValueError
        For what is not JSON or not UTF-8, for NaN and infinity, integers of more than 64 bits,
        repeated keys, text that is no Unicode, and for too deep nesting.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_with_unique_keys,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_of_64_bits,
        )
    except RecursionError:
        raise ValueError("values are nested too deeply") from None
    if (
        not allow_surrogates and b"\\ud" in content.lower()
    ):  # an escape that may be half of a character
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} is repeated")
        result[key] = value
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is not finite")
    return number


def _of_64_bits(digits: str) -> int:
    """Return an integer; no value of a longer one is ever written, and no float can hold it."""
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError("an integer of more than 64 bits")
    return number
