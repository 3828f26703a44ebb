"""Secrets in texts and values, hidden before anything is shown, logged or written."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

SECRET_KEY = "storage_options"
"""Tables of this name have secrets: no message shows their values."""

HIDDEN = "(not shown)"

_LOGIN = re.compile(
    r"(?<!abfs)(?<!abfss)(?<!wasb)(?<!wasbs)://(?:[^\s/?#]*@|[^\s/@:]+:(?!\d+/)\S*@)"
)
"""User name and password of a URL; a password that was not encoded may have any character. Azure's
URLs have the name of a container there."""

_QUERY = re.compile(r"(://[^\s?]*)\?\S+?(?=['\"`)\],;:.…]*(?:\s|$))")
"""The query of a URL, which may have signatures and tokens; quotes that end the URL stay."""

_SECRET_NAME = re.compile(
    r"key|secret|token|pass|pwd|credential|signature|\bsas|sas_|auth|connection_string|cookie", re.I
)
"""Names of options whose values are secrets."""

_VALUES = (
    (re.compile(r"(Expected \d+ columns, got \d+).*", re.DOTALL), r"\1"),
    (
        re.compile(
            r"(invalid value|could not convert string to float|Failed to parse string"
            r"|invalid literal for \w+\(\) with base \d+):? .*?( as a scalar of .*)?$",
            re.DOTALL,
        ),
        r"\1\2",
    ),
    (re.compile(r"(Could not convert) .* (with type \w+)"), r"\1 a value \2"),
    (re.compile(r"((?:Integer|Float|Decimal) value) \S+"), r"\1"),
)
"""How messages of libraries quote lines and values of the data, and what remains of them."""

_MIN_SECRET = 4
"""Characters of a secret; shorter values occur in other words."""


def redacted(text: str) -> str:
    """Hide logins and queries of the URLs in a text.

    Parameters
    ----------
    text : str
        A URL, or a text with URLs.

    Returns
    -------
    str
        For example ``"https://(not shown)@host/path?(not shown)"``.
    """
    if "://" not in text:
        return text
    return _LOGIN.sub(f"://{HIDDEN}@", _QUERY.sub(rf"\1?{HIDDEN}", text))


def without_values(text: str) -> str:
    """Leave out the lines and values of the data that a message of a library quotes."""
    for pattern, rest in _VALUES:
        text = pattern.sub(rest, text)
    return text


def without(secrets: frozenset[str], text: str) -> str:
    """Hide the secrets where they occur in a text."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def secrets_of(options: Mapping[str, Any]) -> frozenset[str]:
    """Return the values of options of a file system that are secrets, by their names."""
    return frozenset(text for text in _secret_texts(options, False) if len(text) >= _MIN_SECRET)


def _secret_texts(value: Any, is_secret: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secret_texts(inner, is_secret or bool(_SECRET_NAME.search(str(name))))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secret_texts(inner, is_secret)
    elif is_secret and not isinstance(value, bool):
        yield str(value)
