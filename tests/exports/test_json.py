"""The export as JSON: what the guide says of it is enough to score a row."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.errors import raises
from support.fitted_outputs import CASES, CHOSEN, fitted, job_labels, kept_rows, new_rows
from support.helpers import THOROUGH

import gpuseg

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "export.md"

WITH_CENTERS = [name for name, case in CASES.items() if case.algorithm != "dbscan"]

N_ROWS = 60


def score_function() -> Callable[[Any, Any], tuple[int, float]]:
    """Return the function of the guide."""
    section = GUIDE.read_text().split("\n## json\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    function: Callable[[Any, Any], tuple[int, float]] = names["score"]
    return function


def exported(name: str) -> Any:
    (content,) = gpuseg.export(fitted(name), "json").values()
    return json.loads(content)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as plain values, vectors of Spark as lists."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name, value in row.items():
            if isinstance(value, dict):
                row[name] = value["values"]
            elif value is not None and pa.types.is_decimal(table.schema.field(name).type):
                row[name] = float(value)
    return rows


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:column .* a category that was not in the data")
@pytest.mark.parametrize("name", WITH_CENTERS if THOROUGH else CHOSEN)
def test_the_function_of_the_guide_scores_as_the_job(name: str) -> None:
    score, model, labels = score_function(), exported(name), job_labels(name)
    scored = [score(model, row) for row in rows_of(kept_rows(name).slice(0, N_ROWS))]
    assert [segment for segment, _ in scored] == labels.segment[:N_ROWS].tolist()
    distances = [distance for _, distance in scored]
    np.testing.assert_allclose(distances, labels.distance[:N_ROWS], rtol=1e-6, atol=1e-7)
    new = new_rows(name).slice(0, N_ROWS)
    segments = [score(model, row)[0] for row in rows_of(new)]
    assert segments == gpuseg.load_model(fitted(name)).predict(new).tolist()


@pytest.mark.parametrize("value", [None, np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", ["plain", "clip_log1p"])
def test_the_function_of_the_guide_refuses_what_gpuseg_refuses(name: str, value: Any) -> None:
    row = {**rows_of(kept_rows(name))[0], "recency": value}
    with raises("rows.not_transformable"):
        gpuseg.load_model(fitted(name)).predict(pa.Table.from_pylist([row]))
    with pytest.raises(ValueError, match="gpuseg would refuse"):
        score_function()(exported(name), row)
