"""CSV files and workbooks as `[input]`: read as the same rows in Parquet are, or refused."""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import customers, cut, job, write_files
from support.text_files import STYLES, csv_bytes, xlsx_bytes

import gpuseg
from gpuseg.errors import DataError
from gpuseg.io.text_files import convert
from gpuseg.jobs.text_inputs import STAGED


def table() -> pa.Table:
    """Customers with values that a text file can hold exactly, and a city."""
    rows = customers(300)
    cities = pa.array([["Köln", "Paris", "Göteborg"][i % 3] for i in range(300)])
    return rows.append_column("city", cities)


ROWS = table()


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a new folder."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def segments(source: Path, target: Path, **sections: dict[str, Any]) -> pa.Table:
    """Run a job, and return its output."""
    gpuseg.run(job(source, target, **sections))
    return pq.read_table(target)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The output for the same rows in Parquet."""
    folder = tmp_path_factory.mktemp("parquet")
    return segments(write_files(folder / "in", [ROWS]), folder / "out")


@pytest.mark.parametrize("names", [["_a.csv", "b.csv"], ["_?.csv", "b.csv"]], ids=str)
def test_named_files_are_read_whatever_their_names(
    tmp_path: Path, names: list[str], expected: pa.Table
) -> None:
    first, second = cut(ROWS, 100)
    source = write(tmp_path / "in", {"_a.csv": csv_bytes(first), "b.csv": csv_bytes(second)})
    paths = {"path": [str(source / name) for name in names]}
    assert segments(source, tmp_path / "out", input=paths).equals(expected)


@pytest.mark.parametrize("style", STYLES)
def test_text_gives_the_segments_of_parquet(tmp_path: Path, style: str, expected: pa.Table) -> None:
    name, content = STYLES[style](ROWS)
    source = write(tmp_path / "in", {name: content})
    assert segments(source, tmp_path / "out").equals(expected)
    assert segments(source / name, tmp_path / "file").equals(expected)


def test_files_may_differ_in_all_but_the_names_of_columns(
    tmp_path: Path, expected: pa.Table
) -> None:
    first, second, third = cut(ROWS, 100, 100)
    names = ("a.csv", "b.tsv.gz", "c.xlsx")
    contents = (
        csv_bytes(first, ";", encoding="latin-1"),
        STYLES["gzip"](second.select(second.column_names[::-1]))[1],
        xlsx_bytes(third),
    )
    source = write(tmp_path / "in", dict(zip(names, contents, strict=True)))
    result = gpuseg.run(job(source, tmp_path / "out"))
    assert pq.read_table(tmp_path / "out").equals(expected)
    texts = result.record.input.text_files
    assert [(text.first, text.encoding, text.sheet) for text in texts] == [
        ("a.csv", "cp1252", None), ("b.tsv.gz", "utf-8", None), ("c.xlsx", "utf-8", "Data"),
    ]  # fmt: skip


@pytest.mark.parametrize("kept", [0, 2**28])
def test_types_are_those_of_all_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(convert, "_KEPT_BYTES", kept)
    files = {
        "a.csv": b"customer,recency,orders,spend\n007,1,2,3\n08,2,NA,4\n",
        "b.csv": b"spend,customer,orders,recency\n1.5,9,1,7\n2,10,3,\n",
    }
    source = write(tmp_path / "in", files)
    output = segments(
        source, tmp_path / "out", prepare={"missing": "mean"}, segment={"n_clusters": 2}
    )
    assert output["customer"].to_pylist() == ["007", "08", "9", "10"]


@pytest.mark.parametrize("ids", [["00500.0", "501.0"], ["1E5", "10E4"], ["1,234", "1,5"]])
def test_ids_are_whole_numbers_or_as_they_are_written(tmp_path: Path, ids: list[str]) -> None:
    rows = ROWS[:2].set_column(0, "customer", pa.array(ids))
    source = write(tmp_path / "in", {"a.csv": csv_bytes(rows, ";")})
    output = segments(source, tmp_path / "out", segment={"n_clusters": 2})
    assert output["customer"].to_pylist() == ids


@pytest.mark.parametrize("encoding", ["utf8", "UTF-8", "utf_8_sig"])
def test_a_named_encoding_may_have_a_mark(tmp_path: Path, encoding: str) -> None:
    source = write(tmp_path / "in", {"a.csv": b"\xef\xbb\xbf" + csv_bytes(ROWS, above="sep=,\n")})
    keys = {"encoding": encoding}
    assert segments(source, tmp_path / "out", input=keys).num_rows == ROWS.num_rows


@pytest.mark.slow
def test_workers_of_a_scheduler_read_what_is_staged(
    tmp_path: Path, expected: pa.Table, two_workers: dict[str, Any]
) -> None:
    source = write(tmp_path / "in", {"a.csv": csv_bytes(ROWS)})
    output = segments(source, tmp_path / "out", runtime=two_workers)
    assert output.equals(expected)
    assert STAGED not in [path.name for path in (tmp_path / "out").iterdir()]


def test_cells_keep_their_types(tmp_path: Path) -> None:
    cells = pa.table({
        "customer": [float(i) for i in range(6)],
        "recency": [0.1, 0.2, 1e-9, 123456789.123456, 5.0, None],
        "orders": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "spend": pa.array([True, False, True, True, False, True]),
        "city": [datetime.datetime(2010, 12, 1, 8, 26)] * 6,
    })  # fmt: skip
    source = write(tmp_path / "in", {"a.xlsx": xlsx_bytes(cells)})
    result = gpuseg.run(
        job(source, tmp_path / "out", prepare={"missing": "drop"}, segment={"n_clusters": 2})
    )
    assert result.record.input.rows_dropped == 1
    output = pq.read_table(tmp_path / "out")
    assert output["customer"].type == pa.int64()
    assert output["customer"].to_pylist() == [0, 1, 2, 3, 4]


GOOD = csv_bytes(ROWS)
SHEET = xlsx_bytes(ROWS, above=[("Customers of May",), ()])
THREE = b"customer,recency,orders,spend\n1,1,2,3\n2,%s,3,4\n3,3,4,5\n"


@pytest.mark.parametrize(
    ("files", "keys", "code"),
    [
        ({"a.csv": GOOD, "b.parquet": b"PAR1"}, {}, "input.mixed_formats"),
        ({"a.csv": b"PAR1" + bytes(100)}, {}, "file.not_csv"),
        ({"a.csv": SHEET}, {}, "file.not_csv"),
        ({"a.csv": b'[{"id": 1}]\n'}, {}, "file.not_csv"),
        ({"a.xlsx": SHEET[: len(SHEET) // 2]}, {}, "file.not_workbook"),
        ({"a.xlsx": SHEET}, {}, "file.title_above_header"),
        ({"a.xlsx": SHEET}, {"sheet": "May"}, "sheet.unknown"),
        ({"a.xlsx": xlsx_bytes(pa.table({}))}, {}, "file.no_rows_in_sheet"),
        ({"a.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99)}, {}, "file.not_parquet"),
        ({"a.csv": THREE % b"2" * 2}, {}, "input.not_a_number"),
        ({"a.csv": THREE % b"12345678901234567890"}, {}, "input.not_a_number"),
        ({"a.csv": THREE % b'"1,234"'}, {}, "numbers.ambiguous"),
        ({"a.csv": (THREE % b"1.234").replace(b",", b";")}, {}, "numbers.ambiguous"),
        ({"a.csv": b"customer;recency;orders;spend\n1;1,5;2.5;3\n"}, {}, "numbers.formats_differ"),
        ({"a.csv": b"customer,recency,orders,orders,spend\n1,1,2,3,4\n"}, {},
         "file.duplicate_column"),
        ({"a.csv": b"customer,recency,orders\n1,1,2\n"}, {}, "features.missing_column"),
        ({"a.csv": b"customer,recency,orders,spend\n"}, {}, "input.no_rows"),
        ({"a.csv": GOOD, "b.csv": b"customer,recency\n1,2\n"}, {}, "input.schemas_differ"),
        ({"a.csv": GOOD, "b.csv": b"other,names\n1,2\n"}, {}, "input.schemas_differ"),
        ({"a.csv": THREE % (b"x" * 2**24)}, {}, "file.row_too_long"),
        ({"a.csv": GOOD.replace("Köln".encode(), "Москва".encode("cp1251"))},
         {"features": None}, "file.unknown_encoding"),
        ({"a.csv": GOOD}, {"encoding": "utf-16"}, "file.not_decodable"),
        ({"a.csv": GOOD}, {"encoding": "ascii", "features": None}, "file.not_decodable"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(
    tmp_path: Path, files: dict[str, bytes], keys: dict[str, Any], code: str
) -> None:
    source = write(tmp_path / "in", files)
    with raises(code):
        gpuseg.run(job(source, tmp_path / "out", input=keys))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keys", [("thousands", "decimal"), ("quote", "delimiter")])
def test_one_sign_has_one_meaning(tmp_path: Path, keys: tuple[str, str]) -> None:
    with raises(".".join(keys)):
        gpuseg.run(job(tmp_path / "in", tmp_path / "out", input=dict.fromkeys(keys, ",")))


def test_a_hashed_id_hides_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "a secret that is long enough")
    source = write(tmp_path / "in", {"a.csv": THREE % b"secret"})
    with raises("input.not_a_number") as caught:
        gpuseg.run(job(source, tmp_path / "out", input={"id_hash_key_env": "KEY"}))
    assert not caught.value.has_value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("17850,2,3,491512345678\n1,2,3,4\n", "file.no_header"),
        (
            "Title\n\n17850,recency,orders,491512345678\n1,2,3,4\n2,2,3,4\n",
            "file.title_above_header",
        ),
        (
            "recency,orders,spend,customer\n1,1,1,1\n2,2,9,2\n5,5,5,3\n17850,17850,15,\n"
            "17858,17858,30,491512345678\n",
            "file.total_row",
        ),
    ],
)
@pytest.mark.parametrize("is_hashed", [False, True])
def test_the_row_that_is_meant_is_shown_unless_ids_are_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: str, is_hashed: bool
) -> None:
    monkeypatch.setenv("KEY", "a secret that is long enough")
    source = write(tmp_path / "in", {"a.csv": text.encode()})
    keys = {"id_hash_key_env": "KEY"} if is_hashed else {}
    with raises(code) as caught:
        gpuseg.run(job(source, tmp_path / "out", input=keys))
    message = str(caught.value)
    assert ("'1785" in message) != is_hashed
    assert "491512345678" not in message and "[input]" in message


@pytest.mark.parametrize(
    ("text", "keys", "words"),
    [
        ("1,x,3,4\n", {"header": ["customer", "recency", "orders", "spend"]}, "input.header"),
        ("customer,recency,orders,spend\n1,x,3,4\n", {}, ""),
        ("customer;größe\n1;2\n", {"encoding": "cp1250"}, "change under [input]: encoding"),
        ("customer;größe\n1;2\n", {}, "add under [input]: encoding"),
        ("customer;name\n1;größe\n", {}, ""),
    ],
)  # fmt: skip
def test_names_that_may_be_wrong_are_doubted(
    tmp_path: Path, text: str, keys: dict[str, Any], words: str
) -> None:
    """The order of names that are given, and the encoding of those that have letters of it."""
    source = write(tmp_path / "in", {"a.csv": text.encode("cp1252")})
    with pytest.raises(DataError) as caught:
        gpuseg.run(job(source, tmp_path / "out", input=keys))
    message = str(caught.value)
    assert words in message if words else not re.search("header|encoding", message)


@pytest.mark.parametrize("pattern", ["", "/*"])
def test_files_of_two_kinds_are_read_by_the_paths_of_the_message(
    tmp_path: Path, pattern: str, expected: pa.Table
) -> None:
    source = write_files(tmp_path / "in", [ROWS])
    write(source / "more", {"a.v2.csv": GOOD})
    with raises("input.mixed_formats") as caught:
        gpuseg.run(job(f"{source}{pattern}", tmp_path / "out"))
    paths = re.findall(r'path = "(.*?)"', str(caught.value))
    assert len(paths) == (0 if pattern else 2)
    for i, path in enumerate(paths):
        assert segments(path, tmp_path / f"{i}").equals(expected)


def test_infinite_values_are_read_by_the_keys_of_the_message(tmp_path: Path) -> None:
    content = b"customer,recency,orders,spend\n1,1e999,NA,3\n2,-Inf,3,4\n3,3,4,5\n4,1,2,9\n"
    source = write(tmp_path / "in", {"a.csv": content})
    with raises("feature.infinite") as caught:
        gpuseg.run(job(source, tmp_path / "out", prepare={"missing": "median"}))
    (advised,) = re.findall(r"null_values = (\[.*?\])", str(caught.value))
    words = json.loads(advised)
    assert words == ["NA", "1e999", "-Inf"] and "[prepare]" not in str(caught.value)
    sections = {"input": {"null_values": words}, "prepare": {"missing": "median"}}
    assert segments(source, tmp_path / "out", **sections).num_rows == 4


def test_a_category_is_read_by_the_key_of_the_message(tmp_path: Path) -> None:
    """The key has the categories that the job has already."""
    content = b"customer,recency,orders,spend\n1,a,x,3\n2,b,x,4\n3,a,y,5\n4,b,y,9\n"
    source = write(tmp_path / "in", {"a.csv": content})
    prepare = {"categorical": {"recency": ["a", "b"]}}
    with raises("input.not_a_number") as caught:
        gpuseg.run(job(source, tmp_path / "out", prepare=prepare))
    (advised,) = re.findall(r"\[prepare\]: (categorical = \{.*?\})", str(caught.value))
    assert tomllib.loads(advised) == {"categorical": {**prepare["categorical"], "orders": "onehot"}}
    assert segments(source, tmp_path / "out", prepare=tomllib.loads(advised)).num_rows == 4


def test_a_message_names_the_table_of_a_join(tmp_path: Path) -> None:
    lines = b"who,at,spent\n1,2011-01-01,5\n2,2011-01-02,6\n3,2011-01-03,9\n"
    source = write(tmp_path / "in", {"lines.csv": lines, "join.csv": b"1,2\n2,3\n3,inf\n"})
    sections = {
        "transactions": {
            "path": str(source / "lines.csv"), "customer": "who", "time": "at", "amount": "spent",
            "features": ["spend", "age"],
        },
        "segment": {"n_clusters": 2},
        "output": {"path": str(tmp_path / "out")},
    }  # fmt: skip
    join: dict[str, Any] = {"path": str(source / "join.csv"), "id": "who", "columns": ["age"]}
    for code, key, value in [
        ("file.no_header", "header", ["who", "age"]),
        ("feature.infinite", "null_values", ["inf"]),
    ]:
        with raises(code) as caught:
            gpuseg.run({**sections, "join": [join]})
        assert "[[join]] number 1: " + key in str(caught.value)
        join[key] = value
    gpuseg.run({**sections, "join": [join], "prepare": {"missing": "median"}})
