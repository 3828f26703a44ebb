"""Files that are no Parquet files: the error says what they are."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from support.errors import raises

from gpuseg.io.file_formats import HEAD_BYTES, other_format
from gpuseg.io.storage import Storage

CSV = "name;größe\nä;1\n"


def archive(*names: str) -> bytes:
    """Return a zip archive with some files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, "a")
    return content.getvalue()


def feather() -> bytes:
    content = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_feather(content)
    return content.getvalue()


CONTENTS = {
    "UTF-8": (CSV.encode(), "CSV"),
    "UTF-8 with a mark": (CSV.encode("utf-8-sig"), "CSV"),
    "UTF-16": (CSV.encode("utf-16"), "CSV"),
    "Windows-1252": (f"{CSV}€".encode("cp1252"), "CSV"),
    "a cut character": (b"a,b\n" + "ä".encode() * HEAD_BYTES, "CSV"),
    "line ends of old": (b"a,b\r1,2\r", "CSV"),
    "JSON": (json.dumps([{"a": 1}]).encode(), "JSON"),
    "JSON lines": (b' {"a": 1}\n{"a": 2}\n', "JSON"),
    "gzip": (gzip.compress(CSV.encode()), "gzip"),
    "zip": (archive("customers.csv"), "zip"),
    "xlsx": (archive("[Content_Types].xml", "xl/workbook.xml"), "Excel"),
    "docx": (archive("[Content_Types].xml", "word/document.xml"), "zip"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\nsize 1\n", "Git LFS"),
    "PDF": (b"%PDF-1.7\n1 0 obj\n", "PDF"),
    "INI": (b"[section]\na = 1\n", "CSV"),
    "CSV with brackets": (b"[id],name\n1,a\n", "CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "Excel"),
    "Feather": (feather(), "Arrow"),
    "empty": (b"", ""),
    "binary": (bytes(range(256)), ""),
    "cut Parquet": (b"PAR1" + bytes(100), ""),
}
"""The content of a file, and a word of what it is."""


@pytest.mark.parametrize("content, word", CONTENTS.values(), ids=CONTENTS)
def test_other_formats_are_named(tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(content)
    other = other_format(content[:HEAD_BYTES])
    assert (word in other.title) if other and word else other is None and not word
    with raises("file.not_parquet") as caught:
        Storage.from_url(str(tmp_path), {}, "input_path").open_parquet(str(file))
    assert word in caught.value.problem
    assert bool(caught.value.reason) is not bool(word)
