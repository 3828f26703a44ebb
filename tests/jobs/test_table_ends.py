"""Rows of text files that are no customers: totals, footers, blank rows, ids that Excel spoiled."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import in_turn

import gpuseg
from gpuseg.errors import DataError
from gpuseg.features import from_transactions
from gpuseg.io.text_files.footers import without_last_rows

ROWS = "id,orders,spend\n11,1,2.5\n12,0,5.25\n13,1,1.25\n"


def ids(source: Path, **keys: Any) -> list[Any]:
    """Run a job, and return the ids of its output."""
    target = source.with_name("out")
    gpuseg.run({
        "input": {"path": str(source), "id": "id", **keys},
        "segment": {"n_clusters": 1},
        "output": {"path": str(target), "overwrite": True},
    })  # fmt: skip
    return list(pq.read_table(target)["id"].to_pylist())


def workbook(path: Path, text: str) -> Path:
    """Write the rows of CSV as a workbook; a number is a number there too."""
    book = openpyxl.Workbook()
    for line in text.splitlines():
        values = [None if value == "" else value for value in line.split(",")]
        book.active.append([_number(value) for value in values])
    book.save(path)
    return path


def _number(value: str | None) -> Any:
    try:
        return None if value is None else float(value)
    except ValueError:
        return value


def written(folder: Path, kind: str, text: str) -> Path:
    """Write CSV, or the same as a workbook."""
    if kind == "xlsx":
        return workbook(folder / "a.xlsx", text)
    (folder / "a.csv").write_text(text)
    return folder / "a.csv"


@pytest.mark.parametrize(("kind", "row"), in_turn(["csv", "xlsx"], [
    "Total,2,9.0", "TOTAL:,,9.0", "Summe,2,9.00001", ",2,9.0", "14,2,9.0", "合計,5,9.0",
], step=2))  # fmt: skip
def test_a_row_of_totals_is_refused_and_left_out(tmp_path: Path, kind: str, row: str) -> None:
    source = written(tmp_path, kind, f"{ROWS}{row}\n\n")
    with raises("file.total_row", DataError) as caught:
        ids(source)
    assert "skip_footer = 1" in caught.value.hint
    assert list(map(int, ids(source, skip_footer=1))) == [11, 12, 13]
    assert len(ids(source, skip_footer=0, features=["spend"])) == 4


@pytest.mark.parametrize(
    "row", ["14,2,3", "14,5,9.0", ",2,5", "Total,3,8", "14,0,0", "Totalis,2,1"]
)
def test_a_row_that_only_looks_like_totals_is_a_customer(tmp_path: Path, row: str) -> None:
    assert len(ids(written(tmp_path, "csv", f"{ROWS}{row}\n"))) == 4


def test_each_file_may_have_totals(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text(f"{ROWS}Total,2,9.0\n")
    assert list(map(int, ids(folder, skip_footer=1))) == [11, 12, 13] * 2


@pytest.mark.parametrize("footer", [
    ["Exported on 2024-01-05"], ["Total,2,9.0", "3 rows"], ["3 rows", "", "1,2,3,4,5", "14,2,2"],
])  # fmt: skip
def test_a_footer_may_have_other_values_than_the_table(tmp_path: Path, footer: list[str]) -> None:
    source = written(tmp_path, "csv", ROWS + "".join(f"{line}\n" for line in footer))
    with raises("file.row_length", DataError) as caught:
        ids(source)
    assert "skip_footer" in str(caught.value)
    assert ids(source, skip_footer=len([line for line in footer if line])) == [11, 12, 13]


def test_a_wrong_row_above_the_footer_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path, "csv", f"{ROWS}\nwrong\n14,1,1\nTotal,3,10\n")
    with raises("file.row_length", DataError) as caught:
        ids(source, skip_footer=2)
    assert "line 6 " in str(caught.value)
    assert ids(source, skip_footer=3) == [11, 12, 13]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_footer_may_be_all_of_a_file(tmp_path: Path, kind: str) -> None:
    with raises("input.no_rows", DataError):
        ids(written(tmp_path, kind, ROWS), skip_footer=7)


def test_a_footer_of_lines_is_left_out(tmp_path: Path) -> None:
    lines = "who,at,paid\n1,2024-01-05,5\n2,2024-01-06,7\nTotal,2024-01-31,12\nend of file\n"
    table = from_transactions(
        written(tmp_path, "csv", lines), customer="who", time="at", amount="paid", skip_footer=2
    )
    assert sorted(table.column(0).to_pylist()) == ["1", "2"]


def test_blank_rows_are_left_out(tmp_path: Path) -> None:
    lines = ROWS.splitlines()
    lines[2:2] = ["", ",,", "14,,7"]
    source = written(tmp_path, "csv", "\n".join([*lines, ",,", ""]))
    with raises("feature.missing", DataError):
        ids(source)
    assert ids(source, features=["spend"]) == [11, 14, 12, 13]


SPOILED = ["1.23E+17", "1,23E+17", "1E+20", "1.23457e+11"]
WHOLE = ["12E3", "1.23E-17", "E+17", "1.2.3E+17", "1.23E+", "A1.23E+17"]


@pytest.mark.parametrize("id", SPOILED)
@pytest.mark.parametrize("hashed", [False, True])
def test_ids_that_excel_has_shortened_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, id: str, hashed: bool
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    key = {"id_hash_key_env": "ID_KEY"} if hashed else {}
    source = tmp_path / "a.csv"
    source.write_text(f'id,paid,at\n"A12",1,2024-01-05\n"{id}",2,2024-01-06\n')
    with raises("id.damaged", DataError) as caught:
        ids(source, features=["paid"], **key)
    assert caught.value.has_value is not hashed
    pq.write_table(pyarrow.csv.read_csv(source), tmp_path / "a.parquet")
    for path in (source, tmp_path / "a.parquet"):
        section = {"path": str(path), "customer": "id", "time": "at", "amount": "paid", **key}
        with raises("id.damaged", DataError) as caught:
            gpuseg.run({"transactions": section, "output": {"path": str(tmp_path / "out")}})
        assert caught.value.has_value is not hashed


def test_ids_that_look_like_numbers_are_kept(tmp_path: Path) -> None:
    text = "".join(f"{id},{i}\n" for i, id in enumerate(WHOLE))
    assert ids(written(tmp_path, "csv", f"id,paid\n{text}")) == WHOLE


@pytest.mark.parametrize("decimals", [["1.5", "12.10"], ["$5", "$6"], ["1,5", "2,75"]])
def test_ids_are_no_decimal_numbers(tmp_path: Path, decimals: list[str]) -> None:
    text = "".join(f"{id};{i}\n" for i, id in enumerate(decimals))
    assert ids(written(tmp_path, "csv", f"id;paid\n{text}")) == decimals


MIXED = ["$5", "$1.50", "€7"]


def test_amounts_of_several_currencies_are_refused(tmp_path: Path) -> None:
    rows = [f"{i},{amount},2024-01-05" for i, amount in enumerate(MIXED)]
    source = written(tmp_path, "csv", "\n".join(["id,paid,at", *rows, ""]))
    with raises("numbers.mixed_currencies", DataError):
        ids(source, features=["paid"])
    with raises("numbers.mixed_currencies", DataError):
        from_transactions(source, customer="id", time="at", amount="paid")
    source.write_text(source.read_text().replace("€", "$"))
    assert ids(source, features=["paid"]) == [0, 1, 2]


def test_files_have_one_currency(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, sign in (("a.csv", "$"), ("b.csv", "€")):
        lines = [f"{name}{i},{sign}{i},2024-01-05" for i in range(3)]
        (folder / name).write_text("\n".join(["id,paid,at", *lines, ""]))
    with raises("numbers.mixed_currencies", DataError):
        ids(folder, features=["paid"])
    with raises("numbers.mixed_currencies", DataError):
        from_transactions(folder, customer="id", time="at", amount="paid")


def test_last_rows_may_end_anywhere() -> None:
    for sizes, most in product([(), (3,), (1, 1, 1), (2, 0, 5), (4, 4)], [0, 1, 2, 5, 9]):
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        batches = [
            pa.record_batch({"x": pa.array(range(start, start + size), pa.int64())})
            for start, size in zip(starts, sizes, strict=True)
        ]
        rows = without_last_rows(batches, most, partial(to_drop, expected=sum(sizes), drop=most))
        kept = [x for batch in rows for x in batch.column(0).to_pylist()]
        assert kept == list(range(max(sum(sizes) - most, 0)))


def to_drop(n_rows: int, expected: int, drop: int) -> int:
    assert n_rows == expected
    return drop
