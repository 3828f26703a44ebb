"""Formats of files that are no Parquet files, by their first bytes, and what to do about them."""

import codecs
import re
from dataclasses import dataclass

from gpuseg.errors import literal, write_path

HEAD_BYTES = 4096

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_CONTROL = re.compile(r"[^\t\n\f\r -~\x80-\U0010ffff]|\ufffd")

_JSON_START = re.compile(r'[\[{]\s*(["\[{\]}]|-?\d|true|false|null)')
"""A line such as "[section]" or "[id],name" starts otherwise."""

_HTML_START = re.compile(r"<(!doctype html|html|head|body)\b", re.IGNORECASE)

_EXCEL_FOLDER = b"xl/"
"""Folder in the archive that a workbook of Excel is; those of other documents have others."""

_READ_AND_WRITE = "write it as Parquet, for example with pandas: {}.to_parquet(…)"
_DECOMPRESS = "otherwise decompress it"

_ENDING = re.compile(r"(\.(csv|tsv|txt))?(\.(xlsx|xlsm|parquet|gz|bz2|zst))?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class FileFormat:
    """A format of files.

    Attributes
    ----------
    title : str
    hint : str
        How its rows can be read.
    ending : str
        Of the names of files that are read in this format, if there is one.
    """

    title: str
    hint: str = ""
    ending: str = ""

    def next_step(self, name: str, url: str | None) -> str:
        """Return how the rows of a file can be read.

        Parameters
        ----------
        name : str
            Of the file.
        url : str or None
            The path that the caller gives, if it is this file alone.
        """
        if not self.ending:
            return self.hint
        new = self._renamed(name)
        step = f"rename it to {literal(new)}"
        if url is not None:
            folder = url[: len(url) - len(name)] if url.endswith(name) else ""
            step += f", and {write_path(folder + new)}"
        else:
            step += ", which the path must cover"
        if self.hint:
            return f"if it is CSV, {step}; {self.hint}"
        return step

    def _renamed(self, name: str) -> str:
        """Return the name of a file with the ending of this format."""
        ending = _ENDING.search(name)
        kept = name[: ending.start()] if ending else name
        if ending and ending[1] and self.ending.startswith(".csv."):
            return kept + ending[1] + self.ending.removeprefix(".csv")
        return kept + self.ending


TEXT = FileFormat("text, such as CSV", ending=".csv")
_EXCEL = FileFormat("a workbook of Excel", ending=".xlsx")
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

PARQUET = FileFormat("Parquet", ending=".parquet")

_BY_START = (
    (b"\x1f\x8b", FileFormat("compressed by gzip", _DECOMPRESS, ".csv.gz")),
    (b"BZh", FileFormat("compressed by bzip2", _DECOMPRESS, ".csv.bz2")),
    (b"\xfd7zXZ\0", FileFormat("compressed by xz", "decompress it")),
    (b"\x28\xb5\x2f\xfd", FileFormat("compressed by zstd", _DECOMPRESS, ".csv.zst")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OLD_EXCEL),
    (b"ARROW1", FileFormat("Arrow (Feather)", _READ_AND_WRITE.format("pandas.read_feather(…)"))),
    (b"ORC", FileFormat("ORC", _READ_AND_WRITE.format("pandas.read_orc(…)"))),
)


def ending_of(name: str) -> str:
    """Return the ending of the name of a data file, such as .csv.gz; empty if it has none."""
    match = _ENDING.search(name)
    return match[0] if match else ""


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
