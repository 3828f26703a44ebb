"""Formats of files that are no Parquet files, by their first bytes, and what to do about them."""

import codecs
import re
from dataclasses import dataclass

HEAD_BYTES = 4096

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile(r"[^\t\n\f\r -~\x80-\U0010ffff]|\ufffd")

_JSON_START = re.compile(r'[\[{]\s*(["\[{\]}]|-?\d|true|false|null)')
"""A line such as "[section]" or "[id],name" starts otherwise."""

_HTML_START = re.compile(r"<(!doctype html|html|head|body)\b", re.IGNORECASE)

_EXCEL_FOLDER = b"xl/"
"""Folder in the archive that a workbook of Excel is; those of other documents have others."""

_READ_AND_WRITE = "write it as Parquet, for example with pandas: {}.to_parquet(…)"
_DECOMPRESS = "if it is CSV, give it a name such as *.csv.{}; otherwise decompress it"


@dataclass(frozen=True)
class FileFormat:
    """A format of files.

    Attributes
    ----------
    title : str
    hint : str
        How its rows can be read.
    """

    title: str
    hint: str


TEXT = FileFormat(
    "text, such as CSV",
    "give it a name that ends in .csv",
)
_EXCEL = FileFormat("a workbook of Excel", "give it a name that ends in .xlsx")
_OLD_EXCEL = FileFormat("a workbook of an old Excel", "save it as .xlsx, and give that file")
_LFS_POINTER = FileFormat("a pointer of Git LFS, not the file itself", "fetch it: git lfs pull")
_PDF = FileFormat("a PDF document", "write its table as Parquet")
_JSON = FileFormat("JSON", _READ_AND_WRITE.format("pandas.read_json(…)"))
_HTML = FileFormat(
    "a web page",
    "open it in a browser to see what it says, such as an error or a login; then download the file "
    "again",
)
_ZIP = FileFormat(
    "a zip archive", "unpack it, and give the files; those that end in .csv and .xlsx are read too"
)

PARQUET = FileFormat("Parquet", "give it a name that ends in .parquet")

_BY_START = (
    (b"\x1f\x8b", FileFormat("compressed by gzip", _DECOMPRESS.format("gz"))),
    (b"BZh", FileFormat("compressed by bzip2", _DECOMPRESS.format("bz2"))),
    (b"\xfd7zXZ\0", FileFormat("compressed by xz", "decompress it")),
    (b"\x28\xb5\x2f\xfd", FileFormat("compressed by zstd", _DECOMPRESS.format("zst"))),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OLD_EXCEL),
    (b"ARROW1", FileFormat("Arrow (Feather)", _READ_AND_WRITE.format("pandas.read_feather(…)"))),
    (b"ORC", FileFormat("ORC", _READ_AND_WRITE.format("pandas.read_orc(…)"))),
)


def other_format(head: bytes) -> FileFormat | None:
    """Return the format of a file by its first `HEAD_BYTES` bytes, or None if it is not known."""
    text = _text(head).strip()
    if text.startswith("version https://git-lfs"):
        return _LFS_POINTER
    if head.startswith(b"%PDF"):
        return _PDF
    if _JSON_START.match(text):
        return _JSON
    if _HTML_START.match(text):
        return _HTML
    if "\n" in text or "\r" in text:
        return TEXT
    if head.startswith(b"PK\x03\x04"):
        return _EXCEL if _EXCEL_FOLDER in head else _ZIP
    return next((kind for start, kind in _BY_START if head.startswith(start)), None)


def _text(head: bytes) -> str:
    """Return the first bytes as text; empty if they are no text in UTF-8, UTF-16 or Windows-1252.

    The last character may be cut.
    """
    if head.startswith(_UTF16):
        text = head.decode("utf-16", "ignore")
    else:
        try:
            text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
        except UnicodeDecodeError:
            text = head.decode("cp1252", "replace")
    return "" if _CONTROL.search(text) else text
