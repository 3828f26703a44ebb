"""A saved model scores a table in one pass: the answers of the job, counts, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.fitted_outputs import CASES, fitted, job_labels, kept_rows
from support.helpers import cut, read_parts, write_files

import gpuseg

EXTRA = ("segment", "distance", "confidence")


def reordered(table: pa.Table) -> pa.Table:
    """Return the columns in another order, with one that no model knows."""
    names = list(reversed(table.column_names))
    return table.select(names).append_column("unknown", pa.array([None] * len(table), pa.string()))


def score(case: str, table: pa.Table, folder: Path, **options: Any) -> gpuseg.ScoreResult:
    """Score a table that is cut into files and small row groups."""
    n = max(len(table) // 3, 1)
    source = write_files(folder / "in", cut(table, n, n // 2 or 1), row_group_size=64)
    return gpuseg.score(fitted(case), source, folder / "out", **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_the_job(case: str, tmp_path: Path) -> None:
    expected = job_labels(case)
    score(case, reordered(kept_rows(case)), tmp_path, confidence="confidence" in parts_of(case))
    scored, labels = read_parts(tmp_path / "out"), read_parts(fitted(case))
    assert scored.schema.equals(labels.schema)
    assert scored.column_names == labels.column_names
    for name in labels.column_names:
        assert scored[name].to_pylist() == labels[name].to_pylist(), name
    assert np.array_equal(scored["segment"].to_numpy(), expected.segment)


def parts_of(case: str) -> list[str]:
    """Return the columns of the output of a case."""
    return read_parts(fitted(case)).column_names
