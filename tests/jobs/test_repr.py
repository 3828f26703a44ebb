"""How results look at the end of a notebook's cell: one short line, whatever they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.helpers import job, run

import gpuseg

SEGMENTS: dict[str, dict[str, Any]] = {
    "kmeans": {"n_clusters": 3},
    "dbscan": {"algorithm": "dbscan", "eps": 1.0},
    "hierarchical": {"algorithm": "hierarchical", "levels": [2, 3], "micro_segments": 20},
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_results_and_models_are_short(tmp_path: Path, source: Path, name: str) -> None:
    result = gpuseg.run({**job(source, tmp_path / "out"), "segment": SEGMENTS[name]})
    text, model = repr(result), repr(result.model)
    assert max(len(text), len(model)) < 250 + len(str(tmp_path))
    for fact in (result.path, result.record.run_id, "rows=600"):
        assert fact in text
    assert f"n_clusters={result.model.n_clusters}" in model
    assert f"n_segments={result.model.n_clusters}," in text


def test_a_login_of_the_path_is_not_shown(tmp_path: Path, source: Path) -> None:
    result = run(source, tmp_path / "out")
    secret = gpuseg.RunResult("s3://user:SECRET@host/out", *list(vars(result).values())[1:4])
    assert "SECRET" not in repr(secret)


def test_sweeps_and_selections_are_short() -> None:
    rows = np.repeat(np.random.default_rng(0).normal(size=(4, 2)), 50, axis=0)
    rows += np.random.default_rng(1).normal(scale=0.01, size=rows.shape)
    sweep = gpuseg.kmeans_sweep(rows, range(1, 40), max_iter=2)
    for result in (sweep, gpuseg.select_k(rows, [2, 3]), gpuseg.estimate_eps(rows)):
        assert len(repr(result)) < 400
