"""Every way of scoring a customer gives the segment that a job gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from support.fitted_outputs import CASES, fitted, job_labels, kept_rows, new_rows
from support.helpers import THOROUGH, Array, cut, in_turn, read_parts, write_files
from support.http_server import as_stream
from support.json_rows import as_json

import gpuseg
from gpuseg.models.loading import load_output
from gpuseg.numerics.distance_metrics import Metric
from gpuseg.preprocessing.params import PreprocessingParams
from gpuseg.scoring.score_lines import LineScorer
from gpuseg.scoring.score_rows import RowScorer
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel
from gpuseg.serving.protocols import arrow_stream, segments


def _values_of(section: str, key: str) -> set[Any]:
    """Return the values of a key in all cases; those of a table are its items' values."""
    used: set[Any] = set()
    for case in CASES.values():
        value = getattr(case, section).get(key)
        values = value.values() if isinstance(value, dict) else [value]
        used |= {"list" if isinstance(one, list) else one for one in values}
    return used


def test_cases_use_every_preparation() -> None:
    fields = PreprocessingParams.model_fields
    for key in ("missing", "scale"):
        named = set(get_args(fields[key].annotation))
        used = _values_of("prepare", key) | {fields[key].default}
        assert used >= named, key
    assert _values_of("prepare", "transform") >= {"log1p", "yeo-johnson"}
    assert _values_of("prepare", "categorical") >= {"onehot", "frequency", "list"}
    assert all(_values_of("prepare", key) - {None} for key in fields)
    assert _values_of("segment", "metric") >= set(get_args(Metric)) - {"euclidean"}


Scored = tuple[Array, Array]
"""Segments and distances."""


def expected(name: str) -> Scored:
    """What the job wrote, and for new rows what the loaded model says in this process."""
    labels, model = job_labels(name), gpuseg.load_model(fitted(name))
    segment, distance = model.predict(new_rows(name), return_distance=True)
    return (
        np.concatenate([labels.segment, segment]),
        np.concatenate([labels.distance, distance]),
    )


def rows_of(name: str) -> pa.Table:
    """The rows that the output of a case has, and new ones."""
    return pa.concat_tables([kept_rows(name), new_rows(name)])


def by_predict(name: str, rows: pa.Table, folder: Path) -> Scored:
    return gpuseg.load_model(fitted(name)).predict(rows, return_distance=True)


def by_predict_frame(name: str, rows: pa.Table, folder: Path) -> Scored:
    pandas = rows.to_pandas()
    frame = gpuseg.load_model(fitted(name)).predict_frame(pandas)
    return frame["segment"].to_numpy(), frame["distance"].to_numpy()


def by_polars(name: str, rows: pa.Table, folder: Path) -> Scored:
    polars = pytest.importorskip("polars")
    frame = gpuseg.load_model(fitted(name)).predict_frame(polars.from_arrow(rows))
    return frame["segment"].to_numpy(), frame["distance"].to_numpy()


def by_files(name: str, rows: pa.Table, folder: Path, cluster: str | None = None) -> Scored:
    """Score files that are cut otherwise than those of the job, with columns in another order."""
    turned = rows.select(rows.column_names[::-1])
    write_files(folder / "in", cut(turned, 1, 96, 4), row_group_size=53)
    gpuseg.score(fitted(name), folder / "in", folder / "out", cluster=cluster)
    parts = read_parts(folder / "out")
    return parts["segment"].to_numpy(), parts["distance"].to_numpy()


def by_lines(name: str, rows: pa.Table, folder: Path) -> Scored:
    lines = [json.dumps(row).encode() for row in as_json(rows)]
    scorer = RowScorer(gpuseg.load_model(fitted(name)))
    answers = LineScorer(scorer, {}, None).score(lines).splitlines()
    return _of_answers([json.loads(answer) for answer in answers])


def by_http(name: str, rows: pa.Table, folder: Path) -> Scored:
    """Score what a server has read, and read what it writes."""
    model = LoadedModel(load_output(fitted(name)))
    body = json.dumps({"rows": as_json(rows)}).encode()
    scored = model.score(segments.read(body, model), with_next=True)
    return _of_answers(json.loads(segments.write(scored, model)))


def by_arrow_over_http(name: str, rows: pa.Table, folder: Path) -> Scored:
    model = LoadedModel(load_output(fitted(name)))
    table = arrow_stream.read(as_stream(rows), model, RequestLimits())
    answer = pa.ipc.open_stream(arrow_stream.write(model.score_table(table, with_next=True)))
    columns = answer.read_all()
    return columns["segment"].to_numpy(), columns["distance"].to_numpy()


def _of_answers(answers: list[dict[str, Any]]) -> Scored:
    segment = np.array([answer["segment"] for answer in answers])
    return segment, np.array([answer["distance"] for answer in answers], np.float32)


DOORS = {
    "predict": by_predict,
    "pandas": by_predict_frame,
    "polars": by_polars,
    "files": by_files,
    "lines": by_lines,
    "HTTP": by_http,
    "Arrow over HTTP": by_arrow_over_http,
}
"""Ways of scoring; those of exports have tests of their own, beside these."""

ON_WORKERS = ["all_steps", "drop", "hierarchy", "dbscan_of_all"]
if THOROUGH:  # but for the case whose workers need a key in their environment
    ON_WORKERS = [name for name in CASES if name != "hashed_ids"]

UNSEEN = pytest.mark.filterwarnings("ignore:column .* a category that was not in the data")


@UNSEEN
@pytest.mark.parametrize(("door", "name"), in_turn(DOORS, CASES, step=4))
def test_every_door_gives_the_same_answer(tmp_path: Path, door: str, name: str) -> None:
    segment, distance = DOORS[door](name, rows_of(name), tmp_path)
    expected_segment, expected_distance = expected(name)
    np.testing.assert_array_equal(segment, expected_segment)
    np.testing.assert_array_equal(distance, expected_distance)


@pytest.mark.slow
@UNSEEN
@pytest.mark.parametrize("name", ON_WORKERS)
def test_two_workers_give_the_same_answer(
    tmp_path: Path, name: str, two_workers: dict[str, Any]
) -> None:
    segment, distance = by_files(name, rows_of(name), tmp_path, two_workers["cluster"])
    expected_segment, expected_distance = expected(name)
    np.testing.assert_array_equal(segment, expected_segment)
    np.testing.assert_array_equal(distance, expected_distance)
