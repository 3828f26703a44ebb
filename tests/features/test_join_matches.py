"""Tables of attributes in which no customer, or hardly any customer, has a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.errors import raises

import gpuseg
from gpuseg.features.join_matches import UnmatchedIds, unmatched_ids

N = 40
"""Customers of the lines."""

Ids = Callable[[int], Any]


def plain(i: int) -> int:
    return 10250 + i


def text(i: int) -> str:
    return str(plain(i))


def point_zero(i: int) -> str:
    return f"{plain(i)}.0"


def elsewhere(i: int) -> int:
    return 90000 + i


def write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)


def job(
    folder: Path, line_ids: Ids, table_ids: Sequence[Any], line_file: str, table_file: str
) -> dict[str, Any]:
    """Write 3 lines of each customer and a table of attributes; return the job of both."""
    rng, who = np.random.default_rng(0), [line_ids(i % N) for i in range(3 * N)]
    at = np.datetime64("2025-01-01", "s") + rng.integers(0, 10**7, 3 * N)
    lines = pa.table({"who": who, "at": at, "paid": np.round(rng.lognormal(2, 1, 3 * N), 2)})
    write(lines, folder / line_file)
    countries = pa.array(["DE", "FR", "IT"] * len(table_ids), pa.string())[: len(table_ids)]
    ids = table_ids if len(table_ids) else pa.array([], pa.int64())
    write(pa.table({"number": ids, "country": countries}), folder / table_file)
    return {
        "transactions": {
            "path": str(folder / line_file), "customer": "who", "time": "at", "amount": "paid",
        },
        "join": [{"path": str(folder / table_file), "id": "number"}],
        "segment": {"n_clusters": 2, "random_state": 0},
        "output": {"path": str(folder / "out")},
    }  # fmt: skip


def shown_ids(text: str) -> set[str]:
    """Return the ids in a part of a message, without their quotes."""
    return set(re.findall(r"(?:such as|and) '?(\d[\d.]*)", text))


def assert_is_written_without_point_zero(hint: str) -> None:
    """Run the expression of the hint, for text and for the floats that pandas reads."""
    (advised,) = re.findall(r"column\S+", hint)
    for ids in (["10250.0", None], [10250.0, None]):
        written = eval(advised, {"column": pd.Series(ids)})
        assert written.dropna().tolist() == ["10250"]


def warnings_of(job: dict[str, Any]) -> list[str]:
    """Run a job; return its warnings about the table of attributes."""
    return [warning for warning in gpuseg.run(job).manifest["warnings"] if "attrs" in warning]


@pytest.mark.parametrize(
    ("line_ids", "table_ids", "files", "in_problem", "side"),
    [
        (point_zero, plain, ("lines.csv", "attrs.parquet"), ("string", "int64"), "the lines"),
        (point_zero, text, ("lines.csv", "attrs.csv"), ("string",), "the lines"),
        (text, point_zero, ("lines.csv", "attrs.csv"), ("string",), "the table"),
        (plain, elsewhere, ("lines.parquet", "attrs.parquet"), ("int64",), ""),
        (plain, elsewhere, ("lines.parquet", "attrs.csv"), ("int64", "string, read as int64"), ""),
    ],
)
def test_refuses_a_table_in_which_no_customer_has_a_row(
    tmp_path: Path, line_ids: Ids, table_ids: Ids, files: tuple[str, str],
    in_problem: tuple[str, ...], side: str,
) -> None:  # fmt: skip
    ids = [table_ids(i) for i in range(50)]
    with raises("join.no_match", gpuseg.DataError, parameter="join[0]") as caught:
        gpuseg.run(job(tmp_path, line_ids, ids, *files))
    problem, hint = caught.value.problem, caught.value.hint
    assert all(kind in problem for kind in (*in_problem, str(N)))
    of_lines, of_table = map(shown_ids, problem.split(" of the table are "))
    assert len(of_lines) == len(of_table) == 2
    assert of_lines <= {str(line_ids(i)) for i in range(N)}
    assert of_table <= set(map(str, ids))
    assert ("'.0'" in hint) == bool(side) and side in hint
    if side:
        assert_is_written_without_point_zero(hint)
    assert not (tmp_path / "out").exists()


def test_an_error_of_hashed_ids_shows_none_and_no_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    item = job(
        tmp_path, point_zero, [plain(i) for i in range(50)], "lines.parquet", "attrs.parquet"
    )
    item["transactions"]["id_hash_key_env"] = "ID_KEY"
    with raises("join.no_match", parameter="join[0]") as caught:
        gpuseg.run(item)
    message = str(caught.value)
    assert "string" in message and "int64" in message
    assert "1025" not in message
    assert "such as" not in message


@pytest.mark.parametrize(("keyed", "shows"), [(False, True), (True, False)])
def test_ids_that_cannot_be_converted(
    tmp_path: Path, keyed: bool, shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    item = job(tmp_path, plain, [point_zero(i) for i in range(50)], "lines.parquet", "attrs.csv")
    if keyed:
        item["transactions"]["id_hash_key_env"] = "ID_KEY"
    with raises("join.id_type", parameter="join[0]") as caught:
        gpuseg.run(item)
    assert ("10250.0" in caught.value.problem) == shows
    assert_is_written_without_point_zero(caught.value.hint)


def test_a_table_without_any_id_is_refused(tmp_path: Path) -> None:
    ids = pa.nulls(50, pa.int64())
    with raises("join.no_match", parameter="join[0]") as caught:
        gpuseg.run(job(tmp_path, plain, ids, "lines.parquet", "attrs.parquet"))
    assert "number" in caught.value.hint


def test_an_empty_table_gives_a_warning(tmp_path: Path) -> None:
    (warning,) = warnings_of(job(tmp_path, plain, [], "lines.parquet", "attrs.parquet"))
    assert "no rows" in warning


@pytest.mark.parametrize(("n_matched", "n_others"), [(19, 30), (19, 2), (20, 30), (40, 500)])
def test_a_warning_if_less_than_half_of_the_customers_have_a_row(
    tmp_path: Path, n_matched: int, n_others: int
) -> None:
    ids = [plain(i) for i in range(n_matched)] + [elsewhere(i) for i in range(n_others)]
    item = job(tmp_path, plain, ids, "lines.parquet", "attrs.parquet")
    warnings = warnings_of(item)
    assert len(warnings) == (n_matched < 20)
    for warning in warnings:
        assert f"{n_matched} of {N} customers (47.5%)" in warning
        assert f"{n_others} of its {n_matched + n_others} rows" in warning


@pytest.mark.parametrize("n_others", [0, 1])
def test_a_table_of_a_part_of_the_customers_only_gives_no_warning(
    tmp_path: Path, n_others: int
) -> None:
    ids = [plain(i) for i in range(19)] + [elsewhere(i) for i in range(n_others)]
    assert not warnings_of(job(tmp_path, plain, ids, "lines.parquet", "attrs.parquet"))


def add_returns(item: dict[str, Any]) -> None:
    """Add 30 customers to the lines of a job, who have returns and no purchase."""
    path = item["transactions"]["path"]
    table = pq.read_table(path)
    returns = pa.table({
        "who": [elsewhere(i) for i in range(30)], "at": [table["at"][0].as_py()] * 30,
        "paid": [-1.0] * 30,
    })  # fmt: skip
    pq.write_table(pa.concat_tables([table, returns.cast(table.schema)]), path)


@pytest.mark.parametrize("n_unknown", [0, 3])
@pytest.mark.parametrize("n_matched", [0, 1])
def test_rows_of_customers_without_a_purchase_are_named_as_such(
    tmp_path: Path, n_matched: int, n_unknown: int
) -> None:
    others = [elsewhere(i) for i in range(30 + n_unknown)]
    ids = [*(plain(i) for i in range(n_matched)), *others]
    item = job(tmp_path, plain, ids, "lines.parquet", "attrs.parquet")
    add_returns(item)
    if n_matched:
        (message,) = warnings_of(item)
    else:
        with raises("join.no_match", parameter="join[0]") as caught:
            gpuseg.run(item)
        message = str(caught.value)
    assert f"30 of its {len(ids)} rows with an id belong to customers without a" in message
    assert ("compare how the ids are written" in message) == (n_unknown > 0)
    assert shown_ids(message.split(" of the table are ")[-1]) <= set(
        map(str, ids[n_matched + 30 :])
    )


def test_the_examples_do_not_depend_on_the_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [elsewhere(i) for i in range(50)]
    item = job(tmp_path, plain, ids, "lines.parquet", "attrs.parquet")
    problems = set()
    for rows in (2**17, 30, 4):
        monkeypatch.setattr("gpuseg.features.build._BUCKET_ROWS", rows)
        monkeypatch.setattr("gpuseg.features.build._BUCKETS_PER_PART", 2)
        with raises("join.no_match") as caught:
            gpuseg.run(item)
        problems.add(caught.value.problem)
    assert len(problems) == 1


def test_the_examples_do_not_depend_on_the_order_of_the_parts() -> None:
    ids = [pa.array([plain(i)]) for i in range(9)]
    parts = [unmatched_ids(one, one) for one in ids]
    assert sum(parts, UnmatchedIds()) == sum(reversed(parts), UnmatchedIds())
