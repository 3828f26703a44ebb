"""Scores of rows of JSON are those of Parquet, and wrong rows fail alone."""

from __future__ import annotations

import warnings

import pytest
from support.fitted_outputs import CASES, fitted, new_rows
from support.helpers import THOROUGH
from support.json_rows import as_json, of

from gpuseg import load_model
from gpuseg.scoring.score_rows import RowScorer

ALGORITHMS = ("plain", "cosine", "all_steps", "hierarchy", "dbscan", "dbscan_haversine")


@pytest.mark.parametrize("name", CASES if THOROUGH else ALGORITHMS)
def test_scores_are_those_of_parquet(name: str) -> None:
    model, table = load_model(fitted(name)), new_rows(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = model.score(table).columns()
    scored = RowScorer(model).score(as_json(table))
    assert not scored.problems
    columns = scored.scores.columns()
    assert columns.keys() == expected.keys()
    assert all(columns[name].tobytes() == expected[name].tobytes() for name in expected)


def test_rows_fail_alone() -> None:
    model = load_model(fitted("one_hot_of_all"))
    rows = as_json(new_rows("one_hot_of_all").slice(0, 7))
    expected = RowScorer(model).score([rows[0], rows[2], rows[5]])
    rows[1]["spend"] = "12"
    rows[3]["spend"] = None
    rows[4]["store"] = True
    rows[5]["country"] = "unknown"
    rows[6]["spend"] = 1e39
    scored = RowScorer(model).score(rows)
    assert scored.rows.tolist() == [0, 2, 5]
    assert [of(problem) for problem in scored.problems] == [
        (1, "spend", "12"), (3, "spend", None), (4, "store", True), (6, "spend", 1e39),
    ]  # fmt: skip
    assert scored.scores.distance[:2].tobytes() == expected.scores.distance[:2].tobytes()
    (item,) = [item for item in scored.unseen if item.column == "country"]
    assert (item.first_row, item.value, item.n_rows) == (5, "unknown", 1)


def test_no_rows() -> None:
    scored = RowScorer(load_model(fitted("hierarchy"))).score([])
    assert [len(column) for column in scored.scores.columns().values()] == [0] * 7
