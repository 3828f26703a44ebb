"""Columns of text in formats that are not read: the hint says which format, and how to convert."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from support.errors import raises

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
        ([f"@{price}" for price in PRICES], ["unit"]),
        ([f"{price} kg" for price in PRICES], ["unit"]),
        (["cheap"] * N, ["decimal point"]),
        ([f"{i},5" if i % 4 else f"{i}.5" for i in range(N)], ["than the others"]),
    ],
)
def test_numbers_of_other_formats(texts: list[str], words: list[str]) -> None:
    hint = hint_of(each=texts)
    assert all(word in hint for word in ["another format", *words])


@pytest.mark.parametrize("prices", [PRICES, PRICES[:6]])
def test_one_number_is_no_format_of_the_column(prices: list[str]) -> None:
    """Few prices are above a thousand."""
    hint = hint_of(each=[*prices[:5], "1,234.50", *prices[6:], *[None] * (N - len(prices))])
    assert "thousands" in hint and "another format" not in hint


@pytest.mark.parametrize(("rows", "word"), [([5], "fix the line"), ([5, 9], "2 of the 35 values")])
@pytest.mark.parametrize("text", ["?", "12 pcs", "@1", "1,5", "1.234.567"])
def test_few_lines_are_to_be_fixed(text: str, rows: list[int], word: str) -> None:
    hint = hint_of(each=[text if i in rows else price for i, price in enumerate(PRICES)])
    assert word in hint and "another format" not in hint
