"""Scores of new rows: segment, distance, next segment, confidence, levels; and refused rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.errors import raises
from support.helpers import FEATURES, customers, job, matrix, read_parts, write_files

import gpuseg
from gpuseg import KMeansModel, load_model
from gpuseg.errors import DataError
from gpuseg.models.loading import load_output
from gpuseg.runtime.executor import ONE_THREAD

N = 400

SEGMENTS: dict[str, dict[str, Any]] = {
    "kmeans": {"n_clusters": 4},
    "cosine": {"n_clusters": 3, "metric": "cosine"},
    "hierarchical": {"algorithm": "hierarchical", "levels": [2, 4], "micro_segments": 40},
    "dbscan": {"algorithm": "dbscan", "eps": 0.1, "min_samples": 4},
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The output of a job of each algorithm, with the confidence where there is one."""
    folder = tmp_path_factory.mktemp("scores")
    source = write_files(folder / "in", [customers(N, blobs=4)])
    for name, segment in SEGMENTS.items():
        content = job(source, folder / name)
        content["output"]["confidence"] = name != "dbscan"
        gpuseg.run({**content, "segment": segment})
    return {name: folder / name for name in SEGMENTS}


@pytest.mark.parametrize("name", SEGMENTS)
def test_scores_are_the_columns_of_the_job(outputs: dict[str, Path], name: str) -> None:
    frame = load_model(outputs[name]).predict_frame(customers(N, blobs=4))
    written = read_parts(outputs[name])
    for column in set(written.column_names) & set(frame.column_names):
        assert frame[column].equals(written[column])
    always = {"segment", "distance"}
    both = {"next_segment", "confidence"} if name != "dbscan" else set()
    levels = {"segment_2", "segment_4"} if name == "hierarchical" else set()
    assert set(frame.column_names) == always | both | levels


def test_the_next_segment_is_that_of_the_second_center(outputs: dict[str, Path]) -> None:
    model = load_model(outputs["kmeans"])
    assert isinstance(model, KMeansModel)
    z = model.pipeline.transform(matrix(customers(N, blobs=4)), "numpy").astype(np.float64)
    distances = np.linalg.norm(z[:, None] - model.centers.values, axis=2)
    scores = model.score(customers(N, blobs=4))
    assert np.array_equal(scores.next_segment, distances.argsort(axis=1)[:, 1])
    near, far = np.sort(distances, axis=1)[:, :2].T
    assert np.allclose(scores.confidence, 1 - near / far, atol=1e-6)


def test_the_next_segment_of_a_hierarchy_is_another_segment(outputs: dict[str, Path]) -> None:
    scores = load_model(outputs["hierarchical"]).score(customers(N, blobs=4))
    assert scores.next_segment is not None
    assert not (scores.next_segment == scores.segment).any()
    assert set(scores.next_segment.tolist()) <= {0, 1, 2, 3}


def test_frames_are_of_the_library_of_the_rows(outputs: dict[str, Path]) -> None:
    model, table = load_model(outputs["kmeans"]), customers(20, blobs=4)
    frame = table.to_pandas().set_index("customer")
    scored = model.predict_frame(frame)
    assert isinstance(scored, pd.DataFrame) and scored.index.equals(frame.index)
    assert isinstance(model.predict_frame(pl.from_arrow(table)), pl.DataFrame)
    assert isinstance(model.predict_frame(matrix(table)), pa.Table)
    assert model.predict_frame(table)["segment"].to_pylist() == scored["segment"].tolist()


def test_one_segment_has_no_next_one(tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", [customers(50)])
    content = job(source, tmp_path / "out")
    gpuseg.run({**content, "segment": {"n_clusters": 1}})
    scores = load_model(tmp_path / "out").score(customers(50))
    assert scores.next_segment is not None and set(scores.next_segment.tolist()) == {-1}


# Refused rows.


PREPARED = {"transform": {"orders": "log1p"}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> KMeansModel:
    """A model that transforms a feature, and fills nothing."""
    folder = tmp_path_factory.mktemp("prepared")
    table = customers(100)
    orders = pa.array(np.abs(table["orders"].to_numpy()))
    source = write_files(folder / "in", [table.set_column(2, "orders", orders)])
    content = job(source, folder / "out", prepare=PREPARED)
    gpuseg.run(content)
    model = load_model(folder / "out")
    assert isinstance(model, KMeansModel)
    return model


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ([1.0, None, 2.0], "orders", None),
        ([1.0, -3.0, 2.0], "orders", -3.0),
        ([1.0, 2.0, float("inf")], "spend", float("inf")),
        ([1e300, 2.0, 3.0], "recency", 1e300),
    ],
)
def test_a_refused_row_is_named_with_its_value(
    prepared: KMeansModel, row: list[Any], column: str, value: Any
) -> None:
    table = pa.table({name: [5.0, x] for name, x in zip(FEATURES, row, strict=True)})
    raw = prepared.pipeline.open(table)
    raw.transform(slice(0, 2), "numpy", ONE_THREAD)
    (problem,) = raw.problems()
    assert (problem.row, problem.column, problem.value) == (1, column, value)
    with raises("rows.not_transformable", DataError, parameter="X") as caught:
        prepared.score(table)
    assert column in str(caught.value) and "row 1" in str(caught.value)


def test_rows_without_a_direction_are_named(tmp_path: Path) -> None:
    content = job(
        write_files(tmp_path / "in", [customers(100)]), tmp_path / "out",
        prepare={"scale": "none"}, segment={"metric": "cosine"},
    )  # fmt: skip
    gpuseg.run(content)
    with raises("rows.not_transformable", DataError) as caught:
        load_model(tmp_path / "out").score([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert "row 1" in str(caught.value)


@pytest.mark.parametrize("missing", ["drop", "median"])
def test_a_model_says_whether_rows_with_gaps_are_dropped(tmp_path: Path, missing: str) -> None:
    source = write_files(tmp_path / "in", [customers(50)])
    gpuseg.run(job(source, tmp_path / "out", prepare={"missing": missing}))
    assert load_model(tmp_path / "out").drops_missing == (missing == "drop")


# Outputs.


def test_an_output_has_names_and_its_run(outputs: dict[str, Path], tmp_path: Path) -> None:
    for path in (outputs["kmeans"], outputs["kmeans"] / "_model", f"{outputs['kmeans']}/_model/"):
        output = load_output(path)
        assert output.manifest is not None and output.run_id == output.manifest.run_id
        assert set(output.segment_names) == {0, 1, 2, 3}
        assert output.storage.root == str(outputs["kmeans"])
    alone = tmp_path / "alone"
    (outputs["kmeans"] / "_model").rename(alone)
    try:
        output = load_output(alone)
    finally:
        alone.rename(outputs["kmeans"] / "_model")
    assert (output.manifest, output.run_id, output.segment_names) == (None, None, {})
