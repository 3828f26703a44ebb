"""Lines and attributes in CSV files and workbooks, and the job of the guide's page about them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.text_files import STYLES

import gpuseg
from gpuseg.features import from_transactions
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.jobs.run_features import run_features

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "text-files.md"
ROLES = {"customer": "who", "time": "at", "price": "price", "quantity": "n"}


def lines(n: int = 300) -> pa.Table:
    rng = np.random.default_rng(0)
    moments = np.datetime64("2025-01-01T08:26", "s") + rng.integers(0, 10**7, n)
    return pa.table({
        "who": [f"{i:05}" for i in rng.integers(1, 40, n)],
        "at": pa.array(moments.astype(str)),
        "price": rng.integers(1, 10**6, n) / 100,
        "n": rng.integers(1, 9, n),
        "city": [("Köln", "Paris")[i % 2] for i in range(n)],
    })  # fmt: skip


LINES = lines()
COMMAS = ("German Excel", "Excel's Unicode text")


def as_parquet(folder: Path, table: pa.Table) -> Path:
    pq.write_table(table, folder / "lines.parquet")
    return folder / "lines.parquet"


@pytest.mark.parametrize("style", STYLES)
def test_lines_give_the_features_of_parquet(tmp_path: Path, style: str) -> None:
    expected = from_transactions(as_parquet(tmp_path, LINES), **ROLES)
    name, content = STYLES[style](LINES)
    (tmp_path / name).write_bytes(content)
    keys = {"decimal": ","} if style in COMMAS else {}
    assert from_transactions(tmp_path / name, **ROLES, **keys).equals(expected)


@pytest.mark.parametrize(
    ("prices", "keys"),
    [
        (["1.234,50", "7", "0,5"], {"decimal": ",", "thousands": "."}),
        (["1,234.50", "7", ".5"], {"thousands": ","}),
        (["1\u202f234,50", "7,", "0,5"], {"decimal": ",", "thousands": " "}),
        (["1'234.50", "7.0", "5e-1"], {"thousands": "'"}),
    ],
)
def test_signs_of_numbers(prices: list[str], keys: dict[str, Any]) -> None:
    table = pa.table({"who": ["a", "b", "c"], "at": ["2025-01-01"] * 3, "paid": prices})
    built = from_transactions(table, customer="who", time="at", amount="paid", **keys)
    spend = dict(zip(built[CUSTOMER_ID].to_pylist(), built["spend"].to_pylist(), strict=True))
    assert spend == {"a": 1234.5, "b": 7.0, "c": 0.5}


@pytest.mark.parametrize("value", ["1.5", "1,2,3", "12.34,5", "x"])
def test_numbers_with_other_signs_are_refused(value: str) -> None:
    table = pa.table({"who": ["a"], "at": ["2025-01-01"], "paid": [value]})
    with raises("transactions.unreadable_value", value=value):
        from_transactions(
            table, customer="who", time="at", amount="paid", decimal=",", thousands="."
        )


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"encoding": "latin-99"}, "encoding.invalid"),
        ({"skip_rows": True}, "skip_rows.invalid"),
        ({"delimiter": 5}, "delimiter.invalid"),
        ({"decimal": ",", "thousands": ","}, "thousands.decimal"),
        ({"sheet": "a"}, "text_options.without_path"),
    ],
)
def test_wrong_arguments_are_refused(keys: dict[str, Any], code: str) -> None:
    with raises(code, parameter=next(reversed(keys))):
        from_transactions(LINES, **ROLES, **keys)


def test_a_file_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "master.txt"
    rows = [(f" {i % 7:05}", 19970101 + i % 28, 1 + i % 3, f"  {i / 4:6.2f}") for i in range(99)]
    path.write_text("\n".join("  ".join(map(str, row)) for row in rows))
    roles = {"customer": "id", "time": "day", "amount": "paid", "time_format": "%Y%m%d"}
    with raises("file.no_header"):
        from_transactions(path, **roles)
    built = from_transactions(path, header=["id", "day", "n", "paid"], **roles)
    assert sorted(built[CUSTOMER_ID].to_pylist()) == [f"{i:05}" for i in range(7)]


@pytest.mark.parametrize("style", ["plain", "German Excel", "Excel"])
def test_attributes_have_the_types_of_all_values(tmp_path: Path, style: str) -> None:
    who = sorted(set(LINES["who"].to_pylist()))
    attributes = pa.table({
        "id": who,
        "zip": [f"0{i:04}" for i in range(len(who))],
        "score": [i / 8 for i in range(len(who))],
        "since": [f"2020-01-{i % 28 + 1:02}" for i in range(len(who))],
    })  # fmt: skip
    name, content = STYLES[style](attributes)
    (tmp_path / name).write_bytes(content)
    job = {
        "transactions": {"path": str(as_parquet(tmp_path, LINES)), **ROLES},
        "join": [{"path": str(tmp_path / name), "id": "id", "allow_personal": ["zip"]}],
        "output": {"path": str(tmp_path / "out")},
    }
    result = run_features(job)
    assert result.record.transactions.joins[0].text_files[0].format in ("CSV", "Excel")
    built = pq.read_table(tmp_path / "out")
    assert [str(built.schema.field(name).type) for name in ("zip", "score", "since")] == [
        "string", "double", "date32[day]",
    ]  # fmt: skip


def retail(n: int = 2000) -> bytes:
    """Write lines in the style of Online Retail: Latin-1, American times, credit notes."""
    rng = np.random.default_rng(0)
    rows = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    products = [
        ("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 2.55),
        ("71053", "WHITE METAL LANTERN", 3.39),
        ("22569", '"FELTCRAFT CUSHION, ""BUTTERFLY"""', 3.75),
        ("21928", "JUMBO BAG £5 CRÈME", 1.95),
    ]
    start = np.datetime64("2010-12-01T08:26", "m")
    for i in range(n):
        moment = (start + rng.integers(0, 60 * 24 * 270)).item()
        code, text, price = products[rng.integers(4)]
        is_credit = rng.random() < 0.05
        number = f"C{536379 + i}" if is_credit else f"{536365 + i // 3}"
        quantity = -int(rng.integers(1, 5)) if is_credit else int(rng.integers(1, 48))
        customer = "" if rng.random() < 0.25 else f"{17850 - rng.integers(90)}.0"
        time = f"{moment.month}/{moment.day}/{moment.year} {moment.hour}:{moment:%M}"
        country = ("United Kingdom", "EIRE")[rng.random() < 0.1]
        rows.append(f"{number},{code},{text},{quantity},{time},{price},{customer},{country}")
    return "\r\n".join([*rows, ""]).encode("latin-1")


def test_the_job_of_the_page_goes_from_file_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_bytes(retail())
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    result = gpuseg.run(tomllib.loads(text))
    assert (tmp_path / "out" / "retail" / "_report.html").stat().st_size > 10_000
    source = result.record.transactions
    assert source is not None
    assert [(one.encoding, one.delimiter) for one in source.text_files] == [("cp1252", ",")]
    assert source.quality.lines == 2000
    steps = {step.finding: step.lines for step in source.quality.steps}
    assert steps["lines without a customer"] > 300 and steps["returns"] > 30
    ids = pq.read_table(tmp_path / "out" / "retail")[CUSTOMER_ID].to_pylist()
    assert len(ids) > 50 and all(re.fullmatch(r"17[78]\d\d\.0", id) for id in ids)
