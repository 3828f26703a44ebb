"""The saved model: what it is made of, what it predicts, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.errors import raises
from support.helpers import FEATURES, Array, customers, matrix, run, write_files

from gpuseg import KMeansModel, load_model
from gpuseg.errors import DataError, GpusegError


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    run(write_files(folder / "in", [customers(600)]), folder / "out")
    return folder / "out"


@pytest.fixture
def model(output: Path) -> KMeansModel:
    return load_model(output)


@pytest.fixture
def raw() -> Array:
    return matrix(customers(600))


def test_saved_files_are_plain(output: Path, model: KMeansModel) -> None:
    described = json.loads((output / "_model" / "model.json").read_text())
    assert described["features"] == list(FEATURES)
    assert described["n_clusters"] == 3
    tensors = load_file(output / "_model" / "model.safetensors")
    assert set(tensors) == {"centers", "center_shift", "fill", "shift", "scale"}
    scaled = tensors["centers"] * tensors["scale"] + tensors["shift"]
    assert np.array_equal(model.cluster_centers_, scaled)
    assert model.files() == {
        path.name: path.read_bytes() for path in (output / "_model").iterdir()
    }  # fmt: skip


def test_centres_are_predicted_to_be_their_own(model: KMeansModel) -> None:
    assert model.predict(model.cluster_centers_).tolist() == [0, 1, 2]
    with raises("array.not_two_dimensional", DataError, parameter="X"):
        model.predict(model.cluster_centers_[1])
    with raises("array.not_numeric", DataError, parameter="X"):
        model.predict([["a", "b", "c"]])


def test_prediction_leaves_the_rows_alone(model: KMeansModel, raw: Array) -> None:
    before = raw.copy()
    labels = model.predict(raw)
    assert labels.dtype == np.int32
    assert np.array_equal(raw, before)
    assert np.array_equal(model.predict(np.asfortranarray(raw)[::-1]), labels[::-1])


@pytest.mark.parametrize(
    ("rows", "code", "detail"),
    [
        ([[1.0, 2.0]], "array.wrong_number_of_columns", "recency, orders, spend"),
        ([[1.0, 2.0, float("nan")], [0.0] * 3], "rows.not_transformable", "1 rows"),
        ([[0.0] * 3, [1.0, float("inf"), 2.0]], "rows.not_transformable", "first row 1"),
        ([[1e300, 0.0, 0.0]], "rows.not_transformable", "1 rows"),
    ],
)
def test_wrong_rows(model: KMeansModel, rows: list[list[float]], code: str, detail: str) -> None:
    with raises(code, DataError, parameter="X") as error:
        model.predict(rows)
    assert detail in str(error.value)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no model there.*give the output folder of a run"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.json", '{"format": 99}', "format 99: this version of gpuseg reads format 2"),
        pytest.param(
            "model.json", "{", "model.json",
        ),
        pytest.param(
            "model.safetensors", "x", "model.safetensors",
        ),
    ],
)  # fmt: skip
def test_damaged_model(
    tmp_path: Path, model: KMeansModel, name: str, content: str, words: str
) -> None:
    for file, data in model.files().items():
        (tmp_path / file).write_bytes(data)
    (tmp_path / name).write_text(content)
    with pytest.raises(GpusegError, match=words):
        load_model(tmp_path)
