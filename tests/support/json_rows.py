"""Tables as rows of JSON, and problems of rows as tuples."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from gpuseg.preprocessing.row_problems import RowProblem


def as_json(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as a client sends and a parser of JSON reads them."""
    rows: list[dict[str, Any]] = json.loads(json.dumps(table.to_pylist(), default=float))
    return rows


def of(problem: RowProblem) -> tuple[int, str, Any]:
    """Return the row, the column and the value of a problem."""
    return problem.row, problem.column, problem.value
