"""A server process answers as the job does, by every protocol."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.fitted_outputs import fitted, input_rows, job_labels
from support.http_server import ARROW, Server, as_stream, serving
from support.json_rows import as_json

import gpuseg
from gpuseg.models.scores import Scores

CASE = "all_steps"
"""A model with every preparation and every kind of column."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of the model with all steps."""
    with serving(fitted(CASE)) as server:
        yield server


@pytest.fixture(scope="module")
def scores() -> Scores:
    """What the model says in this process."""
    return gpuseg.load_model(fitted(CASE)).score(input_rows(CASE))


def test_segments_are_those_of_the_job(server: Server, scores: Scores) -> None:
    answer = server.post("/segments", {"rows": as_json(input_rows(CASE))})
    assert answer.status == 200
    rows = answer.json
    assert [row["segment"] for row in rows] == job_labels(CASE).segment.tolist()
    for name, values in scores.columns().items():
        got = np.array([row[name] for row in rows]).astype(values.dtype)
        assert got.tobytes() == values.tobytes()


def test_arrow_in_arrow_out(server: Server, scores: Scores) -> None:
    answer = server.post("/segments", as_stream(input_rows(CASE)), ARROW)
    assert answer.status == 200
    for name, values in scores.columns().items():
        assert answer.table[name].to_numpy().tobytes() == values.tobytes()
