"""Bodies of JSON as values, and what is wrong with them."""

import json
from typing import Any

import msgspec

from gpuseg.serving.request_errors import malformed

_decode = msgspec.json.Decoder().decode


def parsed_json(body: bytes) -> Any:
    """Return the value of a body of JSON.

    Numbers beyond float64 are infinite, and half of a character is text, so that the row that has
    such a value is refused alone.

    Raises
    ------
    RequestError
    """
    try:
        return _decode(body)
    except (msgspec.MsgspecError, RecursionError):
        pass  # Python's parser knows why, or knows better
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        reason = "it is nested too deeply"
    except UnicodeDecodeError:
        reason = "it is not in UTF-8"
    except ValueError as error:
        reason = str(error).partition("; use sys.")[0]  # that is for who wrote the program
    raise malformed("body.not_json", f"the body is not JSON: {reason}")


def list_of(content: Any, key: str) -> list[Any]:
    """Return the list that an object of JSON has under a key.

    Raises
    ------
    RequestError
    """
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise malformed("body.wrong_form", f'the body must be an object {{"{key}": [row, …]}}')
    return rows


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")
