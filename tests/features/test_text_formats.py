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


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1000)])
def test_times_since_1970_are_converted_by_the_hint(unit: str, factor: int) -> None:
    texts = [str((1319183580 + i) * factor) for i in range(N)]
    hint = hint_of(at=texts)
    (advised,) = re.findall(r"pandas\.to_datetime\(.*\)", hint)
    assert f"unit='{unit}'" in advised
    converted = eval(advised, {"pandas": pd, "column": pd.Series(texts)})
    assert from_transactions(pa.table(lines(at=converted)), **ROLES).num_rows == 8


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        ([f"{1 + i % 12:02}/{1 + i % 11:02}/2011" for i in range(N)], "%m/%d/%Y"),
        (["31/12/2011" if i % 2 else "12/31/2011" for i in range(N)], "some with the month"),
        ([f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in TIMES], "tz_localize"),
        ([f"{time:%Y-%m-%d %H:%M}+02:00" for time in TIMES], "tz_localize"),
        ([f"{time:%d %B %Y}" for time in TIMES], "ISO 8601"),
    ],
)
def test_times_of_other_formats(texts: list[str], word: str) -> None:
    assert word in hint_of(at=texts)


@pytest.mark.parametrize("digits", [7, 9, 12])
def test_more_decimals_of_a_second_than_six_are_truncated(digits: int) -> None:
    def spend(fraction: str) -> pa.Table:
        return from_transactions(
            pa.table(lines(at=[f"{time:%Y-%m-%d %H:%M:%S}.{fraction}" for time in TIMES])), **ROLES
        )

    assert spend("123456").equals(spend("123456" + "9" * (digits - 6)))


@pytest.mark.parametrize(
    ("texts", "expected", "word"),
    [
        (["2,67", "3,5"], [2.67, 3.5], "decimal comma"),
        (["0,5", "3"], [0.5, 3], "decimal comma"),
        ([*["0,5"] * 2, *["3"] * 38], [*[0.5] * 2, *[3] * 38], "decimal comma"),
        (["1.234,50", "2,5"], [1234.5, 2.5], "decimal comma"),
        (["2,5", "1.234,50", "1.234"], [2.5, 1234.5, 1234], "decimal comma"),
        (["1 234,50", "2,5"], [1234.5, 2.5], "decimal comma"),
        (["2,5", "1\u00a0234,50", "1\u202f234,50"], [2.5, 1234.5, 1234.5], "decimal comma"),
        (["1’234,50", "1 234"], [1234.5, 1234], "decimal comma"),
        (["1,234", "1,5"], [1.234, 1.5], "decimal comma"),
        (["1,234.50", "1,234", "2.5"], [1234.5, 1234, 2.5], "between thousands"),
        ([*["1,234"] * 2, *["2.5"] * 38], [*[1234] * 2, *[2.5] * 38], "between thousands"),
        (["1 234", "1'234.50", "5"], [1234, 1234.5, 5], "between thousands"),
        (["1.234.567", "1.234"], [1234567, 1234], "between thousands"),
    ],
)  # fmt: skip
def test_numbers_are_converted_by_the_hint(
    texts: list[str], expected: list[float], word: str
) -> None:
    texts, expected = (items * (N // len(items)) for items in (texts, expected))
    who = [f"c{i % 8}" for i in range(len(texts))]
    table = {name: column[: len(texts)] for name, column in lines(who=who).items()}
    with raises(CODE) as caught:
        from_transactions(pa.table({**table, "each": texts}), **ROLES)
    hint = str(caught.value.hint)
    (advised,) = re.findall(r"pandas\.to_numeric\(.*\)", hint)
    assert "another format" in hint and word in hint
    assert eval(advised, {"pandas": pd, "column": pd.Series(texts)}).tolist() == expected


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([f"1,2{i:02}" for i in range(N)], ["replace(',', '.')", "replace(',', '')"]),
        ([f"£{price}" for price in PRICES], ["currency"]),
        ([f"{price} EUR" for price in PRICES], ["currency"]),
        (["cheap"] * N, ["decimal point"]),
        ([f"{i},5" if i % 4 else f"{i}.5" for i in range(N)], ["than the others"]),
    ],
)
def test_numbers_of_other_formats(texts: list[str], words: list[str]) -> None:
    hint = hint_of(each=texts)
    assert all(word in hint for word in ["another format", *words])


@pytest.mark.parametrize(("rows", "word"), [([5], "fix the line"), ([5, 9], "2 of the 35 values")])
@pytest.mark.parametrize("text", ["?", "12 pcs", "£1", "1,5", "1.234.567"])
def test_few_lines_are_to_be_fixed(text: str, rows: list[int], word: str) -> None:
    hint = hint_of(each=[text if i in rows else price for i, price in enumerate(PRICES)])
    assert word in hint and "another format" not in hint


@pytest.mark.parametrize("text", ["31.08.2011", "20110831", "2011-08-31T10:20:00Z", "today"])
def test_few_times_are_to_be_fixed(text: str) -> None:
    hint = hint_of(at=[text if i in (5, 9) else f"{time}" for i, time in enumerate(TIMES)])
    assert "2 of the 35 values" in hint and "another format" not in hint


def test_times_of_two_formats_are_converted_apart() -> None:
    hint = hint_of(at=[f"{t:%d.%m.%Y}" if i % 3 else f"{t}" for i, t in enumerate(TIMES)])
    assert "these values alone" in hint and "'%d.%m.%Y'" in hint


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
