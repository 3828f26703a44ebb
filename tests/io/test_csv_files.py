"""CSV files in other encodings, and files that end too early: never read as bytes."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from support.errors import raises

from gpuseg.errors import DataError
from gpuseg.features import from_transactions
from gpuseg.features.attributes import batches, open_join
from gpuseg.io.storage import Storage
from gpuseg.io.text_files import csv_file
from gpuseg.io.text_files.convert import Wanted
from gpuseg.io.text_files.csv_file import open_csv
from gpuseg.io.text_files.options import TextOptions
from gpuseg.jobs.text_inputs import converted_input

ROLES = {"customer": "who", "time": "at", "amount": "paid", "category": "city"}
HEADER = "who,at,paid,city,note"
LINES = [f"c{i % 9},2025-01-{1 + i % 28:02},{i + 1},Köln,{i}" for i in range(300)]

Read = Callable[[Path], pa.Table]


def as_lines(path: Path) -> pa.Table:
    return from_transactions(path, **ROLES)


def as_join(path: Path) -> pa.Table:
    storage, folder = (
        Storage.from_url(str(place), {}, "path") for place in (path, path.parent / "scratch")
    )
    wanted = Wanted(("who", "city", "paid"), id="who", keeps_id_as_text=True, has_times=True)
    listed, _ = converted_input(storage, "join[0]", "path", TextOptions(), wanted, lambda: folder)
    join = open_join(storage, "who", ["city", "paid"], "join[0]", listed=listed)
    return pa.Table.from_batches(list(batches(join, 0)))


@pytest.fixture(params=[as_lines, as_join])
def read(request: pytest.FixtureRequest) -> Read:
    """Read a CSV file as lines, and as a table that is joined."""
    function: Read = request.param
    return function


def written(folder: Path, lines: list[str], encoding: str = "utf-8", header: str = HEADER) -> Path:
    path = folder / "lines.csv"
    path.write_bytes("\n".join([header, *lines, ""]).encode(encoding))
    return path


def test_utf8_is_read_with_and_without_a_byte_order_mark(tmp_path: Path, read: Read) -> None:
    expected = read(written(tmp_path, LINES))
    assert read(written(tmp_path, LINES, "utf-8-sig")).equals(expected)


@pytest.mark.parametrize("rows", [300, 400_000])
def test_a_value_beyond_the_first_bytes_in_another_encoding_is_named(
    tmp_path: Path, read: Read, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "SNIFFED_BYTES", 1000)
    plain = [line.replace("Köln", "Bonn") for line in LINES]
    lines = [plain[i % 300] for i in range(rows - 1)]
    path = written(tmp_path, [*lines, LINES[-1]], "latin-1")
    with raises("file.not_utf8", DataError) as caught:
        read(path)
    for text in ("lines.csv", "'city'", f"line {rows + 1} "):
        assert text in caught.value.problem


def test_columns_that_are_not_read_may_have_any_bytes(tmp_path: Path, read: Read) -> None:
    expected = read(written(tmp_path, LINES))
    path = written(tmp_path, LINES)
    path.write_bytes(path.read_bytes().replace(b",299\n", b",\xfc\n"))
    assert read(path).equals(expected)


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_other_encodings_are_detected(tmp_path: Path, read: Read, encoding: str) -> None:
    header = HEADER.replace("note", "größe")
    expected = read(written(tmp_path, LINES, header=header))
    assert read(written(tmp_path, LINES, encoding, header)).equals(expected)


def test_some_wrong_bytes_in_utf8_are_named(tmp_path: Path, read: Read) -> None:
    path = written(tmp_path, LINES)
    path.write_bytes(path.read_bytes().replace("Köln,7\n".encode(), "Köln,7\n".encode("latin-1")))
    with raises("file.not_utf8", DataError) as caught:
        read(path)
    assert "line 9 " in caught.value.problem


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_cut_gzip_file_is_named(tmp_path: Path, read: Read, share: float) -> None:
    noise = random.Random(0)
    lines = [line.replace("Köln", f"{noise.random()}") for line in LINES]
    content = gzip.compress("\n".join([HEADER, *lines]).encode())
    path = tmp_path / "lines.csv.gz"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.code in ("file.unreadable", "file.not_csv")
    assert "lines.csv.gz" in caught.value.problem


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 100, b"who" * 2**23])
def test_a_file_without_a_header_is_refused(tmp_path: Path, read: Read, content: bytes) -> None:
    path = tmp_path / "lines.csv"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read(path)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ('"x;y;z;w",c,d', ["x;y;z;w", "c", "d"]),
        ('"a\nb",c', ["a\nb", "c"]),
        ('c,"a ""b"",\n"', ["c", 'a "b",\n']),
        ('"a,b";c', ["a,b", "c"]),
        ('a"b,c"', ['a"b', 'c"']),
        (",".join(f"c{i:099}" for i in range(20_000)), None),
    ],
    ids=["separators", "line break", "quotes", "comma", "no quotes", "two MiB"],
)
def test_quotes_in_a_header(
    tmp_path: Path, mark: str, header: str, columns: list[str] | None
) -> None:
    storage = Storage.from_url(str(written(tmp_path, ["1,2"], header=mark + header)), {}, "path")
    actual = open_csv(storage, storage.root, storage.version(storage.root)).format.columns
    assert list(actual) == (columns or header.split(","))


@pytest.mark.parametrize("header", ["x" * 2**24, '"' + "\n" * 2**24])
def test_a_header_that_is_too_long_is_refused(tmp_path: Path, read: Read, header: str) -> None:
    with raises("file.header_too_long", DataError):
        read(written(tmp_path, LINES, header=header))
