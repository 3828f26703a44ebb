"""Columns of text in formats that are not read: the hint says which format, and how to convert."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from support.errors import raises

import gpuseg
from gpuseg.features import from_transactions

N = 40
ROLES = {"customer": "who", "time": "at", "price": "each", "quantity": "n"}
TIMES = [datetime(2011, 10, 21, 7, 53) + timedelta(hours=5 * i) for i in range(N)]
PRICES = [f"{2 + i % 7}.67" for i in range(N)]
CODE = "transactions.unreadable_value"


def lines(**columns: Any) -> dict[str, list[Any]]:
    plain = {
        "who": [f"c{i % 8}" for i in range(N)],
        "at": [f"{time:%Y-%m-%d %H:%M}" for time in TIMES],
        "each": PRICES,
        "n": [str(1 + i % 3) for i in range(N)],
    }
    return {**plain, **columns}


def hint_of(**columns: Any) -> str:
    with raises(CODE) as caught:
        from_transactions(pa.table(lines(**columns)), **ROLES)
    return str(caught.value.hint)


@pytest.mark.parametrize(
    "format",
    [
        "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%y %H:%M:%S", "%d-%m-%Y", "%Y/%m/%d %H:%M",
        "%Y%m%d", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M%p", "%d.%m.%Y %H:%M:%S.%f",
        "%d.%m.%Y, %H:%M",
    ],
)  # fmt: skip
def test_times_are_converted_by_the_format_of_the_hint(format: str) -> None:
    texts = [time.strftime(format) for time in TIMES]
    (advised,) = re.findall(r"to_datetime\(column, format='(.+?)'\)", hint_of(at=texts))
    assert advised == format
    converted = pd.to_datetime(pd.Series(texts), format=advised)
    assert from_transactions(pa.table(lines(at=converted)), **ROLES).num_rows == 8


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        ([f"{1 + i % 12:02}/{1 + i % 11:02}/2011" for i in range(N)], "%m/%d/%Y"),
        ([f"{1319183580 + i}" for i in range(N)], "unit='s'"),
        ([f"{1319183580000 + i}" for i in range(N)], "unit='ms'"),
        ([f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in TIMES], "tz_localize"),
        ([f"{time:%Y-%m-%d %H:%M}+02:00" for time in TIMES], "tz_localize"),
        ([f"{time:%d %B %Y}" for time in TIMES], "ISO 8601"),
    ],
)
def test_times_of_other_formats(texts: list[str], word: str) -> None:
    assert word in hint_of(at=texts)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([price.replace(".", ",") for price in PRICES], ["decimal comma", "decimal=','"]),
        ([f"{i},5" if i % 4 else str(i) for i in range(N)], ["decimal comma"]),
        ([f"1.2{i:02},50" for i in range(N)], ["decimal comma", "thousands='.'"]),
        ([f"1 2{i:02},50" for i in range(N)], ["decimal comma"]),
        ([f"1,2{i:02}" for i in range(N)], ["decimal=','", "thousands=','"]),
        ([f"1,2{i:02}" if i else "1,5" for i in range(N)], ["decimal comma"]),
        ([f"1,2{i:02}.50" if i % 9 == 0 else "2.5" for i in range(N)], ["between thousands"]),
        ([f"£{price}" for price in PRICES], ["currency"]),
        ([f"{price} EUR" for price in PRICES], ["currency"]),
        (["cheap"] * N, ["decimal point"]),
    ],
)
def test_numbers_of_other_formats(texts: list[str], words: list[str]) -> None:
    hint = hint_of(each=texts)
    assert all(word in hint for word in ["another format", *words])


@pytest.mark.parametrize(("rows", "word"), [([5], "fix the line"), ([5, 9], "2 of the 35 values")])
def test_few_lines_are_to_be_fixed(rows: list[int], word: str) -> None:
    hint = hint_of(each=["?" if i in rows else price for i, price in enumerate(PRICES)])
    assert word in hint and "another format" not in hint


def test_a_hint_shows_no_value_of_hashed_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    pa.csv.write_csv(pa.table(lines(at=[f"{time:%d.%m.%Y}" for time in TIMES])), tmp_path / "a.csv")
    roles = {**ROLES, "path": str(tmp_path / "a.csv"), "id_hash_key_env": "ID_KEY"}
    with raises(CODE) as caught:
        gpuseg.run({"transactions": roles, "output": {"path": str(tmp_path / "out")}})
    assert "2011" not in str(caught.value).replace("2011-08-31", "")
    assert "'%d.%m.%Y'" in caught.value.hint
