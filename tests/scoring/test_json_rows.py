"""Rows of JSON: the same columns as Parquet, whatever other rows there are."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from support.fitted_outputs import CASES, fitted, new_rows
from support.helpers import THOROUGH
from support.json_rows import as_json, of

from gpuseg import load_model
from gpuseg.scoring.json_rows import JsonRowReader, JsonTable

CASES_OF_TYPES = (
    "odd_names", "types_of_numbers", "zero", "large_offsets", "one_hot_of_all", "ordinal",
    "boolean_categories", "vectors_with_gaps", "dbscan_haversine", "all_steps",
)  # fmt: skip
"""Cases with columns of every type."""


def reader(name: str) -> JsonRowReader:
    return JsonRowReader(load_model(fitted(name)).pipeline)


def read(name: str, **values: Any) -> JsonTable:
    """Read a row that is right, then one with other values, then a right one again."""
    rows = as_json(new_rows(name).slice(0, 3))
    rows[1].update(values)
    return reader(name).read(rows)


def contents(table: pa.Table) -> tuple[pa.Schema, str]:
    """Return the types and the values, of which NaN equals itself."""
    return table.schema, repr(table.to_pydict())


@pytest.mark.parametrize("name", CASES if THOROUGH else CASES_OF_TYPES)
@pytest.mark.filterwarnings("ignore:column")
def test_rows_are_transformed_as_those_of_parquet(name: str) -> None:
    pipeline, table = load_model(fitted(name)).pipeline, new_rows(name)
    json_table = JsonRowReader(pipeline).read(as_json(table))
    assert not json_table.problems
    assert json_table.rows.tolist() == list(range(len(table)))
    expected = pipeline.transform(table, "numpy")
    assert pipeline.transform(json_table.table, "numpy").tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", CASES_OF_TYPES)
@pytest.mark.filterwarnings("ignore:column")
def test_a_row_is_read_by_itself(name: str) -> None:
    every, rows = reader(name), as_json(new_rows(name).slice(0, 40))
    together = every.read(rows).table
    for i, row in enumerate(rows):
        assert contents(every.read([row]).table) == contents(together.slice(i, 1))


@pytest.mark.parametrize(
    ("case", "column", "value", "same"),
    [
        ("plain", "spend", True, 1.0),
        ("plain", "spend", 12, 12.0),
        ("plain", "spend", 2**53 + 1, float(2**53)),
        ("plain", "spend", 10**30, 1e30),
        ("one_hot_of_all", "store", 7.0, 7),
        ("one_hot_of_all", "store", float(2**40), 2**40),
        ("one_hot_of_all", "country", "x" * 1_000_000, "another"),
        ("vectors", "embedding", [1, True, 0.5, -2], [1.0, 1.0, 0.5, -2.0]),
        ("vectors_with_gaps", "vector_with_gaps", None, [None] * 4),
        (
            "vectors_with_gaps",
            "spark_vector",
            {"type": 0, "size": 4, "indices": [1], "values": [2]},
            [0.0, 2.0, 0.0, 0.0],
        ),
        ("vectors_with_gaps", "spark_vector", {"type": 1, "values": [1, 2, 3, 4]}, [1, 2, 3, 4]),
    ],
)
@pytest.mark.filterwarnings("ignore:column")
def test_values_that_mean_the_same(case: str, column: str, value: Any, same: Any) -> None:
    pipeline = load_model(fitted(case)).pipeline
    one, other = (read(case, **{column: each}) for each in (value, same))
    assert not one.problems + other.problems
    first, second = (pipeline.transform(json_table.table, "numpy") for json_table in (one, other))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(
    ("case", "column", "value"),
    [
        ("plain", "spend", "12"),
        ("plain", "spend", [1]),
        ("plain", "spend", {}),
        ("plain", "spend", 10**400),
        ("one_hot_of_all", "country", 1),
        ("one_hot_of_all", "country", True),
        ("one_hot_of_all", "country", 1.5),
        ("one_hot_of_all", "country", ["DE"]),
        ("one_hot_of_all", "country", "\ud800"),
        ("one_hot_of_all", "store", "7"),
        ("one_hot_of_all", "store", True),
        ("one_hot_of_all", "store", 7.5),
        ("one_hot_of_all", "store", float("inf")),
        ("one_hot_of_all", "store", 2**63),
        ("one_hot_of_all", "store", 1e19),
        ("boolean_categories", "is_member", 1),
        ("boolean_categories", "is_member", "true"),
        ("vectors", "embedding", [1, 2, 3]),
        ("vectors", "embedding", [1, 2, 3, "4"]),
        ("vectors", "embedding", [[1, 2], [3, 4]]),
        ("vectors", "embedding", "1,2,3,4"),
        (
            "vectors_with_gaps",
            "spark_vector",
            {"type": 0, "size": 4, "indices": [9], "values": [1]},
        ),
        ("vectors_with_gaps", "spark_vector", {"length": 4}),
    ],
)
def test_a_wrong_value_is_named_and_the_other_rows_are_read(
    case: str, column: str, value: Any
) -> None:
    json_table = read(case, **{column: value})
    assert json_table.rows.tolist() == [0, 2]
    (problem,) = json_table.problems
    assert of(problem) == (1, column, value)
    assert problem.rule.startswith("must be")
    others = reader(case).read(as_json(new_rows(case).take([0, 2])))
    assert contents(json_table.table) == contents(others.table)


@pytest.mark.parametrize("row", [None, 1, "spend", [1, 2], [["spend", 1]]])
def test_rows_that_are_no_objects(row: Any) -> None:
    rows = as_json(new_rows("plain").slice(0, 2))
    json_table = reader("plain").read([rows[0], row, rows[1]])
    assert json_table.rows.tolist() == [0, 2]
    assert of(json_table.problems[0]) == (1, "", row)


def test_a_missing_key_is_wrong_and_null_is_a_gap() -> None:
    rows = as_json(new_rows("zero").slice(0, 2))
    del rows[0]["visits"]
    rows[1]["visits"] = None
    json_table = reader("zero").read(rows)
    assert of(json_table.problems[0]) == (0, "visits", None)
    assert json_table.table["visits"].to_pylist() == [None]


def test_the_first_wrong_column_is_named() -> None:
    json_table = read("plain", spend="x", recency="y", other="ignored")
    (problem,) = json_table.problems
    assert problem.column == "recency"


def test_no_rows() -> None:
    json_table = reader("all_steps").read([])
    assert (len(json_table.table), json_table.rows.tolist(), json_table.problems) == (0, [], [])
