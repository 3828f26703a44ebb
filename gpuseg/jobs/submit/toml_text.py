"""Write the values of a job as a job file."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any


def toml_text(values: Mapping[str, Any]) -> str:
    """Return the text of a TOML file with these values: those that TOML itself has."""
    lines: list[str] = []
    tables: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            tables += ["", f"[{_key(key)}]", *_pairs(value)]
        elif _is_list_of_tables(value):
            for table in value:
                tables += ["", f"[[{_key(key)}]]", *_pairs(table)]
        else:
            lines += _pairs({key: value})
    return "\n".join(lines + tables).lstrip("\n") + "\n"


def _is_list_of_tables(value: Any) -> bool:
    return bool(value) and isinstance(value, Sequence) and isinstance(value[0], Mapping)


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {toml_value(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return key if is_bare else _text(key)


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it within a line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case Mapping():
            return f"{{ {', '.join(_pairs(value))} }}" if value else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml_value, value))}]"
        case int():
            return str(value)
    raise TypeError(f"TOML has no {type(value).__name__}")


def _text(text: str) -> str:
    """Return a text in quotes: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
