"""Text and values of others, made safe and short for a terminal, a log or a message."""

import re
import reprlib
from typing import Any

from gpuseg.redaction import redacted

_VALUE = 200
"""Most characters of a value."""

_WORD = 300
"""Most characters of a word within a text: a path, a name, a number."""

_TEXT = 1000
"""Most characters of a text."""

_LONG_WORD = re.compile(rf"(?<!\S)\S{{{_WORD + 1},}}")


def printable(text: str) -> str:
    """Escape what a terminal would obey or hide, as Python's literals do.

    These are control characters and line breaks, marks that change the direction of writing,
    characters without width or meaning, and surrogates, which cannot be encoded.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        For example ``"a\\\\x1b[31m"`` for a text that would turn a terminal red.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def printable_lines(text: str) -> str:
    """Escape a text of several lines, as `printable` does, and keep its line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def shortened(text: str, limit: int = _VALUE) -> str:
    """Cut out the middle of a text that has more than `limit` characters, and say so.

    Parameters
    ----------
    text : str
    limit : int, optional
        Most characters that are kept.

    Returns
    -------
    str
        For example ``"aaaaaa…aaa (20,000 characters)"``.
    """
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end]}…{text[len(text) - end :]} ({len(text):,} characters)"


def printable_text(text: str) -> str:
    """Make a sentence with data in it printable, shorten its words and itself, and hide logins.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        A single line.
    """
    text = redacted(text)
    if len(text) > _WORD:
        text = _LONG_WORD.sub(lambda match: shortened(match[0]), text)
        text = shortened(text, _TEXT)
    return printable(text)


def printable_value(value: Any) -> str:
    """Write a value as Python would, on one line, shortened, and without the logins of URLs.

    Parameters
    ----------
    value : object
        It may be nested deeply, contain itself, or be an integer of thousands of digits.

    Returns
    -------
    str
    """
    return printable(shortened(" ".join(_REPR.repr(value).splitlines())))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


class _Repr(reprlib.Repr):
    """Writes the first items of collections, and no long text or number in full."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = 20
        self.maxarray = self.maxdeque = 20
        self.maxother = 2 * _VALUE

    def repr_str(self, x: str, level: int) -> str:
        """Write a text; the middle of a long one is cut out."""
        x = redacted(x)
        return repr(x) if len(x) <= _VALUE else shortened(repr(x), _VALUE // 2)

    def repr_int(self, x: int, level: int) -> str:
        """Write an integer; one of many digits by its size, since Python refuses to write it."""
        digits = x.bit_length() * 1233 // 4096 + 1  # log10(2) is about 1233 / 4096
        return repr(x) if digits <= 60 else f"an integer of about {digits:,} digits"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Write a dict in its own order."""
        if not x:
            return "{}"
        if level <= 0:
            return "{...}"
        items = list(x.items())[: self.maxdict]
        texts = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in items]
        return f"{{{', '.join(texts + ['...'] * (len(x) > len(items)))}}}"


_REPR = _Repr()
