"""The encoding of a text file: found in its first bytes, and decoded in pieces.

A file that is not Unicode does not say what it is. Libraries that guess it name another encoding
than the true one for most short tables, so only one is taken by itself: Windows-1252, where its
letters make words. For all others the user is asked.
"""

import codecs
import io
import re
from typing import BinaryIO

from gpuseg.errors import DataError, set_keys

SNIFFED_BYTES = 2**22
"""Bytes of a file that are looked at."""

_PIECE_BYTES = 2**20
_LONGEST_LINE = 2**24
"""Characters after which a line is taken to pieces."""

UTF8 = "utf-8"
WESTERN = "cp1252"

OTHER_ENCODING = (
    set_keys('encoding = "cp932" (Japan), "gb18030" (China), "cp1251" (Cyrillic), ')
    + '"cp1250" (Central Europe) or "cp1252" (Western Europe), by the country where the file was '
    "made; or save the file as UTF-8"
)
"""The step to name the encoding of a file, for a hint."""

_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_MANY, _FEW = 0.3, 0.05
"""Shares of NUL bytes at the odd and the even places of UTF-16."""

_WORD = re.compile(r"[^\W\d_]{3,}")
_MOSTLY = 0.6
_SIGN_IN_A_WORD = re.compile(r"[^\W\d_][¹²³¼½¾¢£¤¥¦§¨©¬¯°±´µ¶¸¿¡×÷†‡ˆ‰‹›˜][^\W\d_]")


def find_encoding(head: bytes, name: str) -> str:
    """Return the encoding of a file.

    Parameters
    ----------
    head : bytes
        The first bytes of the file; the last character may be cut.
    name : str
        The file, for messages.

    Raises
    ------
    DataError
        If no encoding can be detected.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head and (utf16 := _without_mark(head)):
        return utf16
    if head.isascii() or _is_utf8(head):
        return UTF8
    if _is_damaged_utf8(head):
        return UTF8  # refused where a value is read
    if _is_western(head):
        return WESTERN
    raise DataError(
        "file.unknown_encoding",
        f"{name} is not UTF-8, and its encoding cannot be detected",
        hint=OTHER_ENCODING,
    )


def _without_mark(head: bytes) -> str | None:
    """Return UTF-16 of a byte order, where every other byte of most characters is NUL."""
    half = max(len(head) // 2, 1)
    even, odd = head[::2].count(0) / half, head[1::2].count(0) / half
    if odd > _MANY and even < _FEW:
        return "utf-16-le"
    if even > _MANY and odd < _FEW:
        return "utf-16-be"
    return None


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder(UTF8)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_damaged_utf8(head: bytes) -> bool:
    """Return whether most of the bytes beyond ASCII are UTF-8."""
    text = head.decode(UTF8, "surrogateescape")
    wrong = sum(1 for character in text if "\ud800" <= character <= "\udfff")
    right = sum(1 for character in text if character > "\x7f") - wrong
    return right > wrong


def _is_western(head: bytes) -> bool:
    """Return whether the text is plausible in Windows-1252.

    Its words have few letters beyond ASCII; letters of other alphabets would be only such letters.
    """
    lines = b"\n".join(line for line in head.splitlines() if not line.isascii())
    try:
        text = lines.decode(WESTERN)
    except UnicodeDecodeError:
        return False
    if _SIGN_IN_A_WORD.search(text):
        return False
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    letters = "".join(words)
    beyond = sum(1 for letter in letters if letter > "\x7f")
    return beyond <= _MOSTLY * len(letters)


class Utf8Stream(io.RawIOBase):
    """A text file as UTF-8, decoded in pieces.

    Parameters
    ----------
    file : binary file
    encoding : str
    joins_blanks : bool
        Whether several blanks and tabs become one blank, and those around a line are removed.
    """

    def __init__(self, file: BinaryIO, encoding: str, joins_blanks: bool) -> None:
        super().__init__()
        self._file, self._joins_blanks = file, joins_blanks
        self._decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == UTF8 else encoding)(
            "strict"
        )
        self._line, self._ready, self._is_at_end = "", memoryview(b""), False

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes of UTF-8; none at the end of the file."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_PIECE_BYTES), b""))
        while not self._ready and not self._is_at_end:
            self._ready = memoryview(self._next_piece())
        piece, self._ready = self._ready[:size], self._ready[size:]
        return bytes(piece)

    def _next_piece(self) -> bytes:
        piece = self._file.read(_PIECE_BYTES)
        self._is_at_end = not piece
        text = self._decoder.decode(piece, self._is_at_end)
        if not self._joins_blanks:
            return text.encode(UTF8, "surrogatepass")
        lines, text = self._line + text, ""
        if not self._is_at_end and len(lines) < _LONGEST_LINE:
            end = lines.rfind("\n") + 1
            lines, text = lines[:end], lines[end:]
        self._line = text
        return join_blanks(lines).encode(UTF8, "surrogatepass")


_BLANKS = re.compile(r"[ \t]+")
_BLANKS_AT_LINE_ENDS = re.compile(r"^ | (?=\r?$)", re.MULTILINE)


def join_blanks(lines: str) -> str:
    """Return lines with one blank between values, and none around a line."""
    return _BLANKS_AT_LINE_ENDS.sub("", _BLANKS.sub(" ", lines))
