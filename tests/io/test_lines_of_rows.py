"""Messages about text files give the line of a row, as an editor counts it."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from support.errors import raises
from support.helpers import job

import gpuseg
from gpuseg.errors import DataError
from gpuseg.features import from_transactions
from gpuseg.io.text_files import csv_file

HEADER = "customer,recency,orders,spend\n"
TEXTS = {
    "plain": f"{HEADER}1,2,3,4\n2,?,4,5\n",
    "no line end": f"{HEADER}1,2,3,4\n2,?,4,5",
    "blank lines": f"\n\n{HEADER}\n1,2,3,4\n\n\n2,?,4,5\n",
    "Windows": f"{HEADER}\n1,2,3,4\n2,?,4,5\n".replace("\n", "\r\n"),
    "old Mac": f"{HEADER}1,2,3,4\n\n2,?,4,5\n".replace("\n", "\r"),
    "separator": f"sep=,\n{HEADER}1,2,3,4\n2,?,4,5\n",
    "breaks": f'"a\nb",{HEADER}"x\ny\n""\r\nz",1,2,3,4\nq,2,?,4,5\n',
    "rows without values": f"{HEADER},,,\n1,2,3,4\n,,,\n,,,\n2,?,4,5\n,,,\n",
    "blanks": f"{HEADER}\n 1  2 3   4\n2 \t?  4 5\n".replace(",", " "),
    "no header": "1,2,3,4\n\n2,?,4,5\n",
    "rows above": f"Title\n\n{HEADER}\n1,2,3,4\n2,?,4,5\n",
}
KEYS: dict[str, dict[str, Any]] = {
    "no header": {"header": ["customer", "recency", "orders", "spend"]},
    "rows above": {"skip_rows": 2},
}


def line_of(text: str) -> int:
    lines = list(io.StringIO(text, newline=""))
    return next(i for i, line in enumerate(lines, 1) if "?" in line)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("style", TEXTS)
def test_a_value_of_lines_has_its_line(tmp_path: Path, style: str, encoding: str) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXTS[style].encode(encoding), 1))
    with raises("transactions.unreadable_time") as caught:
        from_transactions(
            path, customer="customer", time="recency", amount="spend", time_format="epoch_s",
            **KEYS.get(style, {}),
        )  # fmt: skip
    assert f" in line {line_of(TEXTS[style])} of a.csv.gz" in str(caught.value)


@pytest.mark.parametrize("style", TEXTS)
def test_a_value_of_the_input_has_its_line(tmp_path: Path, style: str) -> None:
    """So does one of a number, of an id, and of a value that preprocessing refuses."""
    for code, text in [
        ("feature.infinite", TEXTS[style].replace("?", "inf")),
        ("input.not_a_number", TEXTS[style]),
        ("id.damaged", re.sub(r"2([, \t]+)\?", r"1.23E+17?\g<1>2", TEXTS[style])),
    ]:
        (tmp_path / "a.csv").write_bytes(text.replace("17?", "17").encode())
        with raises(code) as caught:
            gpuseg.run(
                job(tmp_path / "a.csv", tmp_path / "out", input=KEYS.get(style, {}),
                    segment={"n_clusters": 2}),
            )  # fmt: skip
        assert f" in line {line_of(TEXTS[style])} of a.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (f"{HEADER}\n1,2,3,4\n\n2,?,4,5,6\n".encode(), "file.row_length"),
        (f"{HEADER}\n1,2,3,4\n\n2,?\xe4,4,5\n".encode("latin-1"), "file.not_utf8"),
    ],
)
def test_a_row_that_cannot_be_read_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, code: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    monkeypatch.setattr("gpuseg.io.text_files.csv_file.find_encoding", lambda *_: "utf-8")
    with raises(code) as caught:
        gpuseg.run(job(tmp_path / "a.csv", tmp_path / "out"))
    assert "line 5 of a.csv" in str(caught.value)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_line_in_a_later_block_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line_end: str
) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 2**8)
    text = HEADER + '1,2,"3\n",4\n\n' * 500 + "2,?,4,5\n"
    text = text.replace("\n", line_end)
    (tmp_path / "a.csv").write_bytes(text.encode())
    with raises("input.not_a_number") as caught:
        gpuseg.run(job(tmp_path / "a.csv", tmp_path / "out", input={"features": ["recency"]}))
    assert f" in line {line_of(text)} of a.csv" in str(caught.value)


def test_rows_far_below_have_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuseg.io.text_files.text_file.MOST_COUNTED", 1)
    (tmp_path / "a.csv").write_text(TEXTS["plain"])
    with raises("input.not_a_number") as caught:
        gpuseg.run(job(tmp_path / "a.csv", tmp_path / "out"))
    assert " in row 1 of a.csv (rows count from 0)" in str(caught.value)


@pytest.mark.parametrize("blank", [0, 2])
def test_a_value_of_a_sheet_has_its_row(tmp_path: Path, blank: int) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    rows = [["customer", "recency", "orders", "spend"], [], [1, 2, 3, 4], [], [2, "?", 4, 5]]
    for i, values in enumerate([[]] * blank + rows, 1):
        for j, value in enumerate(values, 2):
            sheet.cell(i, j, value)
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(DataError) as caught:
        gpuseg.run(job(tmp_path / "a.xlsx", tmp_path / "out"))
    assert f" in row {5 + blank} of a.xlsx:" in str(caught.value)
