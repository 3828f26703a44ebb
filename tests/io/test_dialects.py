"""Delimiters, headers and encodings of CSV files: those that the text shows, or asked for."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from support.errors import raises

from gpuseg.io.storage import Storage
from gpuseg.io.text_files.csv_file import open_csv
from gpuseg.io.text_files.options import TextOptions
from gpuseg.io.text_files.text_format import TextFormat

CASES = {
    "comma": ("id,a,b\n1,2.5,x\n2,3.5,y\n", ","),
    "decimal commas": ("id;a;b\n1;2,5;1.234,5\n2;3,75;7,0\n", ";"),
    "tabs": ("id\ta\tb\n1\t2,5\tx y\n2\t3,5\tz w\n", "\t"),
    "bars": ("id|a|b\n1|2,5|x;y\n2|3,5|z;w\n", "|"),
    "signs in a quoted header": ('"a;b;c, d","e\nf",g\n1,2,3\n4,5,6\n', ","),
    "commas in text": ('id;text\n1;"hello, you, there"\n2;"a, b, c, d"\n', ";"),
    "quoted line breaks": ('id,text\n1,"a;\nb;"\n2,"c;\nd;"\n', ","),
    "empty values": ("id,a,b,c\n1,,,\n2,,,\n", ","),
}
"""A CSV file and its delimiter."""


def format_of(folder: Path, content: bytes, options: TextOptions | None = None) -> TextFormat:
    (folder / "a.csv").write_bytes(content)
    storage = Storage.from_url(str(folder / "a.csv"), {}, "path")
    return open_csv(storage, storage.root, storage.version(storage.root), options).format


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(("text", "delimiter"), CASES.values(), ids=CASES)
def test_the_delimiter_is_that_of_duckdb(
    tmp_path: Path, text: str, delimiter: str, line_end: str
) -> None:
    assert format_of(tmp_path, text.replace("\n", line_end).encode()).delimiter == delimiter
    (sniffed,) = duckdb.sql(f"SELECT Delimiter FROM sniff_csv('{tmp_path / 'a.csv'}')").fetchall()[
        0
    ]
    assert sniffed == delimiter


@pytest.mark.parametrize(
    ("text", "options", "delimiter", "columns"),
    [
        ("sep=;\r\na;b,c\r\n1;2\r\n", {}, ";", ("a", "b,c")),
        ('"sep=\t"\na\tb\n1\t2\n', {}, "\t", ("a", "b")),
        ("\n\n  \na,b\n1,2\n", {}, ",", ("a", "b")),
        (" 001 1997  1  9.5\n 002 1998 12 10.5\n", {"header": False}, " ", None),
        ("day  n\n1997   2\n1998  3\n", {}, " ", ("day", "n")),
        ("id\n1\n2\n", {}, ",", ("id",)),
        ("id\nOne Two\nThree Four\n", {}, ",", ("id",)),
        ("a,b\n1,2\n", {"delimiter": ";"}, ";", ("a,b",)),
        ("0,1,2\n5,6,7\n", {}, ",", ("0", "1", "2")),
        ("2010,2011\n5,6\n", {"header": True}, ",", ("2010", "2011")),
        ("Report\n\nid,a\n1,2\n", {"skip_rows": 2}, ",", ("id", "a")),
        ("a,'b,\n'\n1,2\n", {"quote": "'"}, ",", ("a", "b,\n")),
        ('a,"b\n1,2\n', {"quote": ""}, ",", ("a", '"b')),
        ("a\x01b\n1\x012\n", {"delimiter": "\x01"}, "\x01", ("a", "b")),
    ],
)
def test_headers(
    tmp_path: Path,
    text: str,
    options: dict[str, object],
    delimiter: str,
    columns: tuple[str, ...] | None,
) -> None:
    format = format_of(tmp_path, text.encode(), TextOptions(**options))  # type: ignore[arg-type]
    assert format.delimiter == delimiter
    assert format.columns == (columns or tuple(f"column_{i + 1}" for i in range(4)))


@pytest.mark.parametrize("above", ["sep=;\n", "", "\n\n"])
def test_a_row_of_another_length_has_its_line(tmp_path: Path, above: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{above}a;b\n1;2\n3;4\n5;6;7\n")
    storage = Storage.from_url(str(path), {}, "path")
    file = open_csv(storage, storage.root, storage.version(storage.root))
    with raises("file.row_length") as caught:
        list(file.text_batches(["a"]))
    assert caught.value.problem.startswith(f"line {4 + above.count(chr(10))} of a.csv ")


WORDS = {
    "cp1252": "id;größe\n1;Müller, Königstraße\n2;5 €, 3 m² L’Été\n",
    "cp1250": "id;miasto\n1;Łódź\n2;Wrocław\n",
    "cp1251": "id;город\n1;Москва\n2;Санкт-Петербург\n",
    "cp1253": "id;πόλη\n1;Αθήνα\n2;Θεσσαλονίκη\n",
    "shift_jis": "id;名前\n1;東京タワー\n2;大阪の商店です\n",
    "gb18030": "id;姓名\n1;王伟\n2;北京市\n",
}


@pytest.mark.parametrize(("encoding", "text"), WORDS.items(), ids=WORDS)
def test_no_alphabet_is_guessed(tmp_path: Path, encoding: str, text: str) -> None:
    expected = format_of(tmp_path, text.encode()).columns
    content = text.encode(encoding)
    named = format_of(tmp_path, content, TextOptions(encoding=encoding))
    assert (named.columns, named.encoding) == (expected, encoding)
    if encoding == "cp1252":
        assert format_of(tmp_path, content).columns == expected
    else:
        with raises("file.unknown_encoding"):
            format_of(tmp_path, content)
