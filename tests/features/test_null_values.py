"""Text that stands for no value, and customers that are hardly one customer."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import customers, manifest_of, run

import gpuseg
from gpuseg.features import from_transactions
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.jobs.job_file import load_job
from gpuseg.printable import printable

ROLES = {"customer": "who", "time": "at", "amount": "paid"}
WORDS = ["nan", "NULL", "None", "N/A", "\\N", "#N/A", "", " NULL ", "<NA>", "NA"]


def lines(word: str | None = None, n: int = 400) -> dict[str, Any]:
    """Lines of 80 customers, a tenth of which have `word` in place of a customer."""
    rng = np.random.default_rng(0)
    who = [f"c{i % 80}" if i % 10 or word is None else word for i in range(n)]
    at = np.datetime64("2025-01-01", "s") + rng.integers(0, 10**7, n)
    return {"who": who, "at": at, "paid": np.round(rng.lognormal(2, 1, n), 2)}


def table(word: str | None = None, **columns: Any) -> pa.Table:
    return pa.table({**lines(word), **columns})


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), "dictionary"])
def test_text_for_no_customer_is_no_customer(word: str, kind: Any) -> None:
    data = table(word)
    who = data["who"].dictionary_encode() if kind == "dictionary" else data["who"].cast(kind)
    data = data.set_column(0, "who", who)
    actual = from_transactions(data, **ROLES)
    assert set(actual["customer_id"].to_pylist()) == {f"c{i}" for i in range(80) if i % 10}
    known = [i % 10 > 0 for i in range(400)]
    assert actual.equals(from_transactions(table().filter(pa.array(known)), **ROLES))


def test_null_values_of_the_user_replace_the_default() -> None:
    plain = from_transactions(table("NULL"), **ROLES, null_values=[])
    assert "NULL" in plain["customer_id"].to_pylist()
    guests = from_transactions(table("guest"), **ROLES, null_values=["guest"])
    assert "guest" not in guests["customer_id"].to_pylist()


@pytest.mark.parametrize(
    "value", ["NULL", b"NULL", None, 5, [None], [5], ["a", "\ud800"], {"a": "b"}]
)
def test_null_values_are_a_list_of_texts(value: Any) -> None:
    with raises("null_values.text", parameter="null_values"):
        from_transactions(table(), **ROLES, null_values=value)
    with raises("job.invalid_value", parameter="transactions.null_values"):
        load_job({
            "transactions": {"path": "in", "customer": "c", "time": "t", "amount": "a",
                             "null_values": value},
            "segment": {"n_clusters": 2}, "output": {"path": "out"},
        })  # fmt: skip


@pytest.mark.parametrize(("null_values", "word"), [(NULL_VALUES, "N/A"), (("-1",), "-1")])
def test_null_values_among_numbers_and_times(null_values: tuple[str, ...], word: str) -> None:
    data = table()
    spoiled = {}
    for name, every in (("paid", 7), ("at", 11)):
        texts = data[name].cast(pa.string()).to_pylist()
        spoiled[name] = [word if i % every == 0 else text for i, text in enumerate(texts)]
    known = pa.array([i % 7 > 0 and i % 11 > 0 for i in range(400)])
    actual = from_transactions(table(**spoiled), **ROLES, null_values=null_values)
    assert actual.equals(from_transactions(data.filter(known), **ROLES))
    if word == "N/A":
        with raises("transactions.unreadable_time"):
            from_transactions(table(**spoiled), **ROLES, null_values=[])


def test_null_values_are_no_products() -> None:
    words = ["lamp", "NULL", None, " ", "\\N"] * 80
    actual = from_transactions(table(sku=words, order=words), **ROLES, product="sku", order="order")
    plain = [word if word == "lamp" else None for word in words]
    data = table(sku=plain, order=plain)
    assert actual.equals(from_transactions(data, **ROLES, product="sku", order="order"))


def job(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "transactions": {"path": str(folder / name), **ROLES, **changes},
        "segment": {"n_clusters": 3},
        "output": {"path": str(folder / f"out-{name}")},
    }


@pytest.mark.parametrize("name", ["lines.parquet", "lines.csv"])
def test_lines_with_null_values_are_counted(tmp_path: Path, name: str) -> None:
    data = table("\\N")
    if name == "lines.csv":
        pa.csv.write_csv(data, tmp_path / name)
    else:
        pq.write_table(data, tmp_path / name)
    gpuseg.run(job(tmp_path, name))
    quality = manifest_of(tmp_path / f"out-{name}")["transactions"]["quality"]
    counts = {step["finding"]: step["lines"] for step in quality["steps"]}
    assert counts["text for a missing value, such as NULL"] == 40
    assert counts["lines without a customer"] == 40
    assert quality["customers"] == 72


def test_an_attribute_row_of_a_null_value_has_no_id(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "lines.parquet")
    ids = [f"c{i}" for i in range(80)] + ["NULL", "nan", ""]
    pq.write_table(pa.table({"who": ids, "age": range(83)}), tmp_path / "ages.parquet")
    join = {"path": str(tmp_path / "ages.parquet"), "id": "who"}
    manifest = gpuseg.run({**job(tmp_path, "lines.parquet"), "join": [join]}).manifest
    (facts,) = manifest["transactions"]["joins"]
    assert facts["rows_without_id"] == 3 and facts["customers"] == 80


@pytest.mark.parametrize(("null_values", "dropped"), [(None, 1), ([], 99)])
def test_rows_without_an_id_are_no_duplicates(
    tmp_path: Path, null_values: list[str] | None, dropped: int
) -> None:
    ids = ["NULL" if i < 99 else "same" if i < 101 else f"c{i}" for i in range(600)]
    pq.write_table(customers(600).set_column(0, "customer", [ids]), tmp_path / "in.parquet")
    keys = {} if null_values is None else {"null_values": null_values}
    result = run(
        tmp_path / "in.parquet", tmp_path / "out", prepare={"duplicates": "first"}, input=keys
    )
    assert result.manifest["input"]["rows_dropped"] == dropped


@pytest.mark.parametrize(("share", "n_customers", "is_implausible"), [
    (0.5, 100, True), (0.06, 1000, True), (0.04, 1000, False), (0.5, 20, False),
])  # fmt: skip
def test_a_customer_with_most_of_the_lines_gives_a_warning(
    tmp_path: Path, share: float, n_customers: int, is_implausible: bool
) -> None:
    rng, n = np.random.default_rng(1), 5000
    who = rng.integers(1, n_customers, n)
    who[: int(share * n)] = 0
    at = np.datetime64("2025-01-01", "s") + rng.integers(0, 10**7, n)
    data = pa.table({"who": who, "at": at, "paid": rng.random(n)})
    pq.write_table(data, tmp_path / "lines.parquet")
    warnings = gpuseg.run(job(tmp_path, "lines.parquet")).manifest["warnings"]
    assert any("'0'" in warning for warning in warnings) == is_implausible
    assert not any("null_values" in warning for warning in warnings)  # they are of text
    if is_implausible:
        with pytest.warns(UserWarning, match="'0'"):
            from_transactions(data, **ROLES)


def list_in(text: str) -> tuple[str, ...]:
    """Return the list of null values that a text has in TOML's notation."""
    (assignment,) = re.findall(r"^null_values = \[.*?\]$", text, re.MULTILINE | re.DOTALL)
    return tuple(tomllib.loads(assignment)["null_values"])


def guests(name_of_guests: str = 'GU"EST') -> pa.Table:
    """200 lines of guests, and 200 lines of customers and "NULL"."""
    who = [name_of_guests if i < 200 else name for i, name in enumerate(lines("NULL")["who"])]
    return table().set_column(0, "who", pa.array(who))


@pytest.mark.parametrize("guest", ['GU"EST', "GU\x7fEST", "GU\\EST\u200b\U000e0001!"])
@pytest.mark.parametrize("given", [[], ["NULL", "x"]])
def test_the_list_of_the_warning_can_be_copied(given: list[str], guest: str) -> None:
    keys = {"null_values": given} if given else {}
    with pytest.warns(UserWarning, match="GU") as caught:
        from_transactions(guests(guest), **ROLES, **keys)
    message = printable(str(caught[0].message))
    advised = list_in(message[message.index("null_values = ") :])
    assert advised == (*(given or NULL_VALUES), guest)
    actual = from_transactions(guests(guest), **ROLES, null_values=advised)
    assert not {"NULL", guest} & set(actual["customer_id"].to_pylist())


def test_a_long_list_is_not_in_the_warning() -> None:
    words = [f"no customer {i}" for i in range(60)]
    with pytest.warns(UserWarning, match="add .* to your list null_values") as caught:
        from_transactions(guests(), **ROLES, null_values=words)
    assert words[0] not in str(caught[0].message)


def test_the_warning_names_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    pq.write_table(guests(), tmp_path / "lines.parquet")
    item = job(tmp_path, "lines.parquet", id_hash_key_env="ID_KEY")
    (warning,) = [w for w in gpuseg.run(item).manifest["warnings"] if "null_values" in w]
    assert not re.search("[0-9a-f]{64}", warning) and "GU" not in warning
    assert "'who'" in warning and "200 lines" in warning


def test_the_guide_has_the_list() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide" / "transactions.md"
    assert list_in(guide.read_text()) == NULL_VALUES
