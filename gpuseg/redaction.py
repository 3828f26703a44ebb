"""Secrets in texts and values, hidden before anything is shown, logged or written."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

SECRET_KEY = "storage_options"
"""Tables of this name have secrets: no message shows their values."""

HIDDEN = "(not shown)"

_LOGIN = re.compile(r"[^/?#]*@")
"""What precedes the host of a URL, after "://"."""

_PASSWORD_NEXT = re.compile(r"[^/@:]+:(?!\d+/)")
"""The name of a user before a password, which may have any character if it was not encoded. A host
before a port looks the same."""

_LOGIN_WITH_SPACE = re.compile(r"[^\s/?#@:]+:(?!\d+\b|/)[^\s@]+\s[^@]*@(?=\w)")
"""A login, after "://", with white space in its password."""

_CONTAINER_SCHEMES = ("abfs", "abfss", "wasb", "wasbs")
"""Schemes of Azure's URLs: the name of a container precedes "@", which is no secret."""

_ENDS = "'\"`)],;:.…"
"""Characters that end a URL in a text and are not part of it."""

_SPACE = re.compile(r"(\s+)")

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
    (re.compile(r"((?:Integer|Float|Decimal) value) (?:[-+.\d]|nan|inf)\S*"), r"\1"),
)
"""How messages of libraries quote lines and values of the data, and what remains of them."""

_MIN_SECRET = 4
"""Characters of a secret; shorter values occur in other words."""


def is_secret_name(name: str) -> bool:
    """Whether an option or a variable of this name may have a secret."""
    return bool(_SECRET_NAME.search(name))


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
    words = _SPACE.split(_without_spaced_logins(text))
    first = next(i for i, word in enumerate(words) if "://" in word)
    for i, word in enumerate(words[first:], first):
        words[i] = _without_query(_without_logins(word))
    return "".join(words)


def _without_spaced_logins(text: str) -> str:
    """Hide the logins that have white space in them."""
    if "@" not in text:
        return text
    before, *urls = text.split("://")
    return "://".join([before, *(_LOGIN_WITH_SPACE.sub(f"{HIDDEN}@", url, 1) for url in urls)])


def _without_logins(word: str) -> str:
    """Hide the logins in a word, which may have several URLs; the time is linear in its length."""
    if "://" not in word or "@" not in word:
        return word
    scheme, *parts = word.split("://")
    shown = [scheme]
    last = max((i for i, part in enumerate(parts) if "@" in part), default=-1)
    previous = scheme
    for i, part in enumerate(parts):
        login, user = _LOGIN.match(part), _PASSWORD_NEXT.match(part)
        is_container = previous.endswith(_CONTAINER_SCHEMES)
        previous = part
        if login:
            if not is_container or ":" in login[0]:
                part = f"{HIDDEN}@{part[login.end() :]}"
        elif user and (i < last or "@" in part):
            host = parts[last].rpartition("@")[2]
            return "://".join([*shown, f"{HIDDEN}@{host}", *parts[last + 1 :]])
        shown.append(part)
    return "://".join(shown)


def _without_query(word: str) -> str:
    """Hide the query or the fragment of a URL in a word; punctuation that ends the URL stays.

    A word without "://" follows a URL, whose path may have spaces. There a query has a "=", as a
    fragment has everywhere.
    """
    url = word.rstrip(_ENDS)
    host, last_assignment = url.find("://") + 1, url.rfind("=")
    query, fragment = url.find("?", host), url.find("#", host)
    starts = [fragment] if 0 <= fragment < last_assignment else []
    if query >= 0 and (host or query < last_assignment):
        starts.append(query)
    if not starts:
        return word
    start = min(starts) + 1
    if HIDDEN.startswith(url[start:]):  # it is empty, or hidden already
        return word
    return f"{url[:start]}{HIDDEN}{word[len(url) :]}"


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
            yield from _secret_texts(inner, is_secret or is_secret_name(str(name)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secret_texts(inner, is_secret)
    elif is_secret and not isinstance(value, bool):
        yield str(value)
