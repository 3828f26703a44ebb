"""Saved models: their files, predictions, loading from any place, and errors."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import tracemalloc
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.numpy import load_file, save_file
from support.errors import raises
from support.helpers import (
    FEATURES,
    THOROUGH,
    Array,
    customers,
    job,
    matrix,
    read_parts,
    write_files,
)

import gpuseg
from gpuseg import DBSCANModel, HierarchicalModel, KMeansModel, SegmentModel, load_model
from gpuseg.backends.backend import Backend
from gpuseg.backends.cuda import gpus
from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.io.storage import Storage
from gpuseg.models import base
from gpuseg.models import folder as model_folder
from gpuseg.models.base import model_class, register_model
from gpuseg.models.folder import ModelFolder

ALGORITHMS: dict[str, dict[str, Any]] = {
    "kmeans": {"n_clusters": 3},
    "cosine": {"n_clusters": 3, "metric": "cosine"},
    "dbscan": {"algorithm": "dbscan", "eps": 0.03, "min_samples": 8},
    "manhattan": {"algorithm": "dbscan", "eps": 0.04, "min_samples": 8, "metric": "manhattan"},
    "chebyshev": {"algorithm": "dbscan", "eps": 0.03, "min_samples": 8, "metric": "chebyshev"},
    "hierarchical": {"algorithm": "hierarchical", "levels": [2, 4], "micro_segments": 40},
}

N = 3000


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The output folder of a job of each algorithm, on the rows of `raw`."""
    folder = tmp_path_factory.mktemp("models")
    source = write_files(folder / "in", [customers(N, blobs=4)], 500)
    for name, segment in ALGORITHMS.items():
        content = job(source, folder / name)
        gpuseg.run({**content, "segment": segment})
    return {name: folder / name for name in ALGORITHMS}


@pytest.fixture
def output(outputs: dict[str, Path]) -> Path:
    return outputs["kmeans"]


@pytest.fixture
def model(output: Path) -> KMeansModel:
    loaded = load_model(output)
    assert isinstance(loaded, KMeansModel)
    return loaded


@pytest.fixture
def raw() -> Array:
    return matrix(customers(N, blobs=4))


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions take many steps, and many blocks in each."""
    monkeypatch.setattr(base, "BLOCK_ROWS", 500)
    monkeypatch.setattr("gpuseg.preprocessing.pipeline._ROWS_PER_BLOCK", 90)


# Files.


@pytest.mark.slow
def test_saved_files_are_plain(output: Path, model: KMeansModel) -> None:
    description = json.loads((output / "_model" / "model.json").read_text())
    assert description["features"] == list(FEATURES)
    assert description["n_clusters"] == 3
    tensors = load_file(output / "_model" / "model.safetensors")
    assert set(tensors) == {"centers", "center_shift", "fill", "shift", "scale"}
    scaled = tensors["centers"] * tensors["scale"] + tensors["shift"]
    assert np.array_equal(model.cluster_centers_, scaled)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_loaded_models_have_the_same_files(outputs: dict[str, Path], name: str) -> None:
    files = load_model(outputs[name]).to_files()
    folder = outputs[name] / "_model"
    saved = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files == {name: saved[name] for name in files}
    assert set(saved) - set(files) == {name for name in saved if name.startswith("core-")}


# Predictions.


@pytest.mark.parametrize("name", ALGORITHMS)
def test_predictions_are_what_the_job_wrote(
    outputs: dict[str, Path], name: str, raw: Array, small_steps: None
) -> None:
    parts, loaded = read_parts(outputs[name]), load_model(outputs[name])
    segments, distances = loaded.predict(raw, return_distance=True)
    assert (segments.dtype, distances.dtype) == (np.int32, np.float32)
    assert segments.tobytes() == loaded.predict(raw).tobytes()
    written, apart = parts["segment"].to_numpy(), parts["distance"].to_numpy()
    if not isinstance(loaded, DBSCANModel):
        assert segments.tolist() == written.tolist()
        assert distances.tobytes() == apart.tobytes()
        return
    assert (segments == -1).tolist() == (written == -1).tolist()
    assert 0 < (segments == -1).sum() < N
    not_core = apart > 0  # a core row is at distance 0, of itself
    assert distances[not_core].tobytes() == apart[not_core].tobytes()
    assert not distances[~not_core].any()
    assert np.isfinite(distances).all()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_backends_threads_and_steps_do_not_matter(
    outputs: dict[str, Path], name: str, raw: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(outputs[name])
    expected = [a.tobytes() for a in loaded.predict(raw, return_distance=True)]
    for backend, threads, rows in (("numpy", 1, 500), ("numba", 2, 350), ("numba", 3, 10**6)):
        monkeypatch.setattr(base, "BLOCK_ROWS", rows)
        options: dict[str, Any] = {"backend": backend, "n_threads": threads}
        result = loaded.predict(raw, return_distance=True, **options)
        assert [a.tobytes() for a in result] == expected


@pytest.mark.parametrize("name", ["kmeans", "cosine"])
def test_estimator_and_model_agree(outputs: dict[str, Path], name: str, raw: Array) -> None:
    loaded = load_model(outputs[name])
    z = loaded.pipeline.transform(raw, "numba")
    fitted = gpuseg.KMeans(3, random_state=0, metric="euclidean").fit(z)
    assert fitted.predict(z).tolist() == loaded.predict(raw).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kmeans", "dbscan"])
def test_frames_arrays_and_lists_agree(outputs: dict[str, Path], name: str, raw: Array) -> None:
    loaded, table = load_model(outputs[name]), customers(N, blobs=4)
    expected = loaded.predict(raw).tolist()
    frame = table.to_pandas()
    for other in (table, frame, frame[["spend", "orders", "recency"]], frame.astype(object)):
        assert loaded.predict(other).tolist() == expected
    assert loaded.predict(raw.tolist()).tolist() == expected
    chunks = pa.concat_tables([table.slice(0, 7), table.slice(7, 900), table.slice(907)])
    assert loaded.predict(chunks).tolist() == expected
    assert loaded.predict(raw[:0]).tolist() == []


def test_centers_are_assigned_to_their_segments(model: KMeansModel) -> None:
    assert model.predict(model.cluster_centers_).tolist() == [0, 1, 2]


def test_prediction_does_not_change_the_rows(model: KMeansModel, raw: Array) -> None:
    before = raw.copy()
    labels = model.predict(raw)
    assert np.array_equal(raw, before)
    assert np.array_equal(model.predict(np.asfortranarray(raw)[::-1]), labels[::-1])


def test_a_hierarchy_is_cut_again(outputs: dict[str, Path], raw: Array) -> None:
    loaded = load_model(outputs["hierarchical"])
    assert isinstance(loaded, HierarchicalModel)
    fine, coarse = loaded.predict(raw), loaded.cut(2).predict(raw)
    assert len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == 4
    for n_clusters in (41, 0, -1):
        with raises("n_clusters.out_of_range", parameter="n_clusters", value=n_clusters):
            loaded.cut(n_clusters)
    for other in ("2", 2.0, True, None):
        with raises("n_clusters.not_whole", ConfigError, parameter="n_clusters", value=other):
            loaded.cut(other)  # type: ignore[arg-type]
    assert loaded.cut(np.int64(2)).levels == (2,)


def test_memory_is_small_besides_rows_and_result(model: KMeansModel) -> None:
    x = np.zeros((1_000_000, 3), np.float32)
    model.predict(x[:100_000], n_threads=2)
    tracemalloc.start()
    model.predict(x, n_threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - 4 * len(x) < 2 * 65_536 * 3 * 4 * 4  # few copies of a block for each thread


# Rows that cannot be scored.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        ([[1.0, 2.0]], "array.wrong_number_of_columns", "recency, orders, spend"),
        ([1.0, 2.0, 3.0], "array.not_two_dimensional", r"(3,)"),
        ([["a", "b", "c"]], "array.not_numeric", "a"),
        ([[1.0, 2.0, float("nan")], [0.0] * 3], "rows.not_transformable", "1 row has"),
        ([[0.0] * 3, [1.0, float("inf"), 2.0]], "rows.not_transformable", "row 1"),
        ([[1e300, 0.0, 0.0]], "rows.not_transformable", "1 row has"),
        (pd.DataFrame({"recency": [1.0]}), "column.missing", "orders"),
        (customers(3).set_column(3, "spend", pa.array(["a"] * 3)), "column.not_numeric", "spend"),
    ],
)
def test_wrong_rows(model: KMeansModel, rows: Any, code: str, words: str) -> None:
    with raises(code, DataError) as caught:
        model.predict(rows)
    assert words in str(caught.value)


class BrokenArray:
    """Its conversion fails as that of a tensor does."""

    def __array__(self, *args: Any, **kwargs: Any) -> Array:
        raise RuntimeError("this tensor requires a gradient")


SERIES = pd.Series([1.0, 2.0, 3.0], FEATURES)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (SERIES, "array.not_two_dimensional"),
        (SERIES.to_frame().groupby(level=0), "array.not_numeric"),
        (pl.Series([1.0, 2.0, 3.0]), "frame.not_a_table"),
        (pa.chunked_array([[1.0, 2.0]]), "frame.not_a_table"),
        (pl.LazyFrame(dict(SERIES)), "frame.not_in_memory"),
        ([dict(SERIES)], "array.not_two_dimensional"),
        (dict(SERIES), "array.not_two_dimensional"),
        (None, "array.not_two_dimensional"),
        (3.0, "array.not_two_dimensional"),
        ([], "array.not_two_dimensional"),
        (np.zeros((2, 3, 3)), "array.not_two_dimensional"),
        ([[1.0, 2.0, 3.0], [1.0]], "array.not_numeric"),
        (np.zeros((2, 0)), "array.wrong_number_of_columns"),
        (np.zeros((2, 4)), "array.wrong_number_of_columns"),
        (scipy.sparse.csr_array(np.zeros((2, 3))), "array.sparse"),
        ([["1", "2", "3"]], "array.not_numeric"),
        (np.array([["1", 2.0, 3.0]], object), "array.not_numeric"),
        (np.array([[object(), 2.0, 3.0]], object), "array.not_numeric"),
        (np.zeros((2, 3), complex), "array.not_numeric"),
        (np.zeros((2, 3), "M8[D]"), "array.not_numeric"),
        ([[10**400, 2, 3]], "array.not_numeric"),
        (BrokenArray(), "array.not_numeric"),
        (np.ma.masked_less([[1.0, 2.0, 3.0]], 2), "rows.not_transformable"),
        (pd.DataFrame([[1.0, 2.0, 3.0]]), "column.missing"),
        (pd.DataFrame([[1.0, 2.0, 3.0]], columns=["spend"] * 3), "frame.duplicate_column"),
        (pd.DataFrame(), "column.missing"),
        (pd.DataFrame(dict(SERIES), [0]).assign(spend="a"), "column.not_numeric"),
        (pd.DataFrame(dict(SERIES), [0]).astype(complex), "column.mixed_types"),
    ],
)
def test_rows_of_other_types(model: KMeansModel, rows: Any, code: str) -> None:
    with raises(code, DataError, parameter="X"):
        model.predict(rows)


def test_rows_of_many_types(model: KMeansModel, raw: Array) -> None:
    rows = raw[:20]
    expected, frame = model.predict(rows).tolist(), pl.DataFrame(rows, list(FEATURES))
    table = frame.to_arrow()
    for other in (
        frame, table.to_batches()[0], table.to_reader(), table.to_struct_array(),
        frame.to_pandas().assign(other="x"), frame.to_pandas().convert_dtypes(),
        rows.astype(object), rows.astype(np.longdouble), np.ma.array(rows), np.asfortranarray(rows),
    ):  # fmt: skip
        assert model.predict(other).tolist() == expected
    for empty in (rows[:0], frame[:0], frame[:0].to_pandas().astype(object)):
        assert model.predict(empty).tolist() == []


def test_bad_rows_are_numbered_through_all_blocks(
    model: KMeansModel, raw: Array, small_steps: None
) -> None:
    raw[[1234, 2999], 1] = np.nan, np.inf
    with raises("rows.not_transformable") as caught:
        model.predict(raw)
    assert "2 rows" in str(caught.value) and "row 1234" in str(caught.value)


def test_unseen_categories_are_counted_through_all_blocks(
    tmp_path: Path, small_steps: None
) -> None:
    kinds = np.array(["a", "b"])[np.arange(1000) % 2]
    table = pa.table({"x": np.arange(1000.0), "kind": kinds})
    source = write_files(tmp_path / "in", [table])
    gpuseg.run({
        "input": {"path": str(source)},
        "prepare": {"categorical": {"kind": "onehot"}, "missing": "mean"},
        "segment": {"n_clusters": 2},
        "output": {"path": str(tmp_path / "out")},
    })  # fmt: skip
    frame = table.to_pandas()
    frame.loc[[600, 601, 990], "kind"] = ["new", "newer", "new"]
    loaded = load_model(tmp_path / "out")
    for X in (frame, frame.astype({"kind": object}), pa.Table.from_pandas(frame)):
        with pytest.warns(UserWarning) as caught:
            loaded.predict(X)
        (text,) = [str(warning.message) for warning in caught]
        assert "'kind'" in text and "3 rows" in text and "first 'new' in row 600" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.predict(table)


def test_wrong_parameters(model: KMeansModel, raw: Array) -> None:
    with raises("n_threads.invalid", parameter="n_threads"):
        model.predict(raw, n_threads=0)
    with pytest.raises(ValueError, match="gpu"):
        model.predict(raw, backend="gpu")


# Other processes.


@pytest.mark.parametrize("name", ALGORITHMS)
def test_models_are_pickled(outputs: dict[str, Path], name: str, raw: Array) -> None:
    loaded = load_model(outputs[name])
    fresh = pickle.loads(pickle.dumps(loaded))
    expected = loaded.predict(raw).tolist()
    used = pickle.loads(pickle.dumps(loaded))
    assert fresh.predict(raw).tolist() == used.predict(raw).tolist() == expected


def test_the_packed_centers_of_a_model_stay_in_its_process(
    model: KMeansModel, raw: Array, cuda: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each backend has those that it packed, also in copies; the centers cannot change then."""
    monkeypatch.setattr(gpus, "unavailable", lambda: None)
    expected = model.predict(raw).tolist()
    for copied in (model, pickle.loads(pickle.dumps(model)), deepcopy(model)):
        for backend in ("numpy", "numba", "cuda", "numpy"):
            assert copied.predict(raw, backend=backend).tolist() == expected
        assert set(copied._nearest._packed) == {"numpy", "numba", "cuda"}
        assert b"packed" not in pickle.dumps(copied).lower()
        with pytest.raises(ValueError, match="read-only"):
            copied.centers.values[:] = 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kmeans", "dbscan"] if THOROUGH else ["kmeans"])
def test_models_work_in_spawned_processes(
    outputs: dict[str, Path], name: str, raw: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outputs[name].parent)
    loaded = load_model(name)  # a relative path, and processes with another folder
    monkeypatch.chdir("/")
    expected = loaded.predict(raw).tolist()
    fresh = replace(loaded)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(fresh.predict, (raw,)).tolist() == expected


@pytest.mark.slow
def test_a_dbscan_model_works_under_joblib(outputs: dict[str, Path], raw: Array) -> None:
    loaded = load_model(outputs["dbscan"])
    calls = [joblib.delayed(loaded.predict)(part, n_threads=1) for part in np.split(raw, 3)]
    parts = joblib.Parallel(n_jobs=2)(calls)
    assert np.concatenate(parts).tolist() == loaded.predict(raw).tolist()


def test_the_model_of_a_run_is_pickled(tmp_path: Path, raw: Array) -> None:
    source = write_files(tmp_path / "in", [customers(N, blobs=4)])
    content = job(source, tmp_path / "out")
    result = gpuseg.run({**content, "segment": ALGORITHMS["dbscan"]})
    copy = pickle.loads(pickle.dumps(result.model))
    assert copy.predict(raw).tolist() == result.model.predict(raw).tolist()


# Loading.


@pytest.fixture
def in_memory(outputs: dict[str, Path]) -> str:
    """The URL of a folder of fsspec's file system in memory, with all outputs."""
    fs = fsspec.filesystem("memory")
    for name, folder in outputs.items():
        for path in (folder / "_model").iterdir():
            fs.pipe_file(f"/models/{name}/_model/{path.name}", path.read_bytes())
    return "memory://models"


@pytest.mark.parametrize("name", ["kmeans", "dbscan"])
def test_models_are_loaded_from_urls(
    outputs: dict[str, Path], in_memory: str, name: str, raw: Array
) -> None:
    expected = load_model(outputs[name]).predict(raw).tolist()
    for url in (f"{in_memory}/{name}", f"{in_memory}/{name}/_model", f"{in_memory}/{name}/"):
        assert load_model(url).predict(raw).tolist() == expected
    local = outputs[name]
    for path in (local, str(local), local / "_model", f"file://{local}"):
        assert load_model(path).predict(raw).tolist() == expected


def test_remote_files_are_read_once_and_not_before_their_size_is_known(
    in_memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, cat_file = [], MemoryFileSystem.cat_file

    def recorded(fs: MemoryFileSystem, path: str, **options: Any) -> bytes:
        fetched.append(path.rsplit("/", 1)[1])
        return cat_file(fs, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", recorded)
    load_model(f"{in_memory}/kmeans")
    assert fetched.count("model.safetensors") == 1
    fetched.clear()
    monkeypatch.setattr(model_folder, "_MAX_DESCRIPTION_BYTES", 10)
    with raises("model.damaged", DataError):
        load_model(f"{in_memory}/kmeans")
    monkeypatch.setattr(model_folder.psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    monkeypatch.setattr(model_folder, "_MAX_DESCRIPTION_BYTES", 10**9)
    with raises("model.no_memory", ResourceError) as caught:
        load_model(f"{in_memory}/kmeans")
    assert caught.value.problem.startswith(f"{in_memory}/kmeans: ")
    assert fetched == []


def test_no_model_there(tmp_path: Path, in_memory: str) -> None:
    for path in (tmp_path, tmp_path / "none", f"{in_memory}/none"):
        with raises("model.not_found", DataError, parameter="path") as caught:
            load_model(path)
        assert str(path) in str(caught.value)
    with pytest.raises(gpuseg.ConfigError, match="nowhere"):
        load_model("nowhere://x")
    for path in ("a\0b", "\ud800"):
        with raises("path.not_a_path", ConfigError, parameter="path", value=path):
            load_model(path)
    with raises("path.unreachable", ResourceError, parameter="path"):
        load_model("http://[")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.json", '{"format": 99}', "model.wrong_format"),
        ("model.json", '{"format": 2, "algorithm": "optics"}', "model.unknown_algorithm"),
        ("model.json", "{", "model.damaged"),
        ("model.json", '{"format": 2, "algorithm": "kmeans"}', "model.damaged"),
        ("model.safetensors", "x", "model.damaged"),
    ],
)
def test_damaged_models(
    tmp_path: Path, model: KMeansModel, name: str, content: str, code: str
) -> None:
    for file, data in model.to_files().items():
        (tmp_path / file).write_bytes(data)
    (tmp_path / name).write_text(content)
    with raises(code, DataError):
        load_model(tmp_path)


Changes = Mapping[str, Any]
"""New values by key of model.json or name of an array."""


def rewrite(folder: Path, output: Path, description: Changes, tensors: Changes) -> Path:
    """Copy the model of an output, and change some of its values."""
    shutil.copytree(output / "_model", folder, dirs_exist_ok=True)
    values = json.loads((folder / "model.json").read_text()) | description
    (folder / "model.json").write_text(json.dumps(values))
    arrays = load_file(folder / "model.safetensors") | tensors
    save_file(arrays, folder / "model.safetensors")
    return folder


ENCODER = {
    "column": "recency", "kind": "number", "value_type": "", "categories": [], "shares": [],
    "other": False, "missing": False, "keeps_missing": False,
}  # fmt: skip


def encoders(**changes: Any) -> dict[str, Any]:
    """Return the encoders of a model; those of its first column have other values."""
    others = [{**ENCODER, "column": name} for name in FEATURES[1:]]
    return {"encoders": [{**ENCODER, **changes}, *others]}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("kmeans", {"algorithm": ["kmeans"]}),
        ("kmeans", {"n_clusters": 4}),
        ("kmeans", {"n_clusters": True}),
        ("kmeans", {"more": 1}),
        ("kmeans", {"metric": "cosine"}),
        ("kmeans", {"unit_length": None}),
        ("kmeans", {"features": []}),
        ("kmeans", {"features": [*FEATURES[:2], "recency"]}),
        ("kmeans", {"features": [*FEATURES[:2], "other"]}),
        ("kmeans", {"transform": ["none"]}),
        ("kmeans", {"transform": ["none", "none", "sqrt"]}),
        ("kmeans", {"transform": ["none", "none", "yeo-johnson"]}),
        ("kmeans", {"encoders": [ENCODER]}),
        ("kmeans", {"encoders": 3 * [ENCODER]}),
        ("kmeans", encoders(kind="other")),
        ("kmeans", encoders(categories=["a"])),
        ("kmeans", encoders(kind="frequency", categories=["a", "b"], shares=[1.0])),
        ("kmeans", encoders(kind="frequency", categories=["a"], shares=[0.5, 1.5])),
        ("kmeans", encoders(kind="ordinal", categories=["a", "a"])),
        ("dbscan", {"eps": 0}),
        ("dbscan", {"eps": 10**400}),
        ("dbscan", {"min_samples": 2.5}),
        ("dbscan", {"metric": "hamming"}),
        ("dbscan", {"n_clusters": -1}),
        ("dbscan", {"n_clusters": 2**31}),
        ("dbscan", {"core_files": []}),
        *(("dbscan", {"core_files": [file]}) for file in (
            "../core-00000.sidecar", "/etc/passwd", "/dev/zero", "a/b", "..", "", "a\0b", 5,
        )),
        ("hierarchical", {"levels": []}),
        ("hierarchical", {"levels": [4, 2]}),
        ("hierarchical", {"levels": [2, 41]}),
    ],
)  # fmt: skip
def test_values_that_no_model_has(
    tmp_path: Path, outputs: dict[str, Path], name: str, changes: Changes
) -> None:
    with raises("model.damaged", DataError):
        load_model(rewrite(tmp_path, outputs[name], changes, {}))


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("kmeans", {"centers": np.zeros((3, 2))}),
        ("kmeans", {"centers": np.zeros(9)}),
        ("kmeans", {"centers": np.zeros((3, 3), np.float32)}),
        ("kmeans", {"centers": np.full((3, 3), np.nan)}),
        ("kmeans", {"center_shift": np.zeros(4, np.float32)}),
        ("kmeans", {"fill": np.full(3, np.inf, np.float32)}),
        ("kmeans", {"scale": np.array([1.0, 0.0, 1.0])}),
        ("kmeans", {"clip": np.zeros((3, 2), np.float32)}),
        ("kmeans", {"clip": np.array([[1] * 3, [0] * 3], np.float32)}),
        ("kmeans", {"pca_components": np.ones((1, 3))}),
        ("hierarchical", {"merges": np.zeros((38, 4))}),
        ("hierarchical", {"merges": np.zeros((39, 4))}),
    ],
)
def test_arrays_that_no_model_has(
    tmp_path: Path, outputs: dict[str, Path], name: str, tensors: Changes
) -> None:
    with raises("model.damaged", DataError):
        load_model(rewrite(tmp_path, outputs[name], {}, tensors))


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (0, 1, 40.0),  # itself
        (3, 1, 60.0),  # a later one
        (9, 0, -1.0),
        (9, 0, 0.5),
        (9, 1, np.nan),
        (9, 2, -1.0),
        (9, 3, 100.0),
        (38, 0, 76.0),  # twice the same
    ],
)
def test_merges_are_a_tree(
    tmp_path: Path, outputs: dict[str, Path], row: int, column: int, value: float
) -> None:
    merges = load_file(outputs["hierarchical"] / "_model" / "model.safetensors")["merges"].copy()
    merges[row, column] = value
    with raises("model.damaged", DataError):
        load_model(rewrite(tmp_path, outputs["hierarchical"], {}, {"merges": merges}))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(0, 0).drop_columns(["x2"]),
        lambda table: table.append_column("more", table.column("x2")),
        lambda table: table.set_column(1, "x0", pa.nulls(len(table), pa.float32())),
        lambda table: table.set_column(1, "x0", pa.array([np.inf] * len(table), pa.float32())),
        lambda table: table.set_column(0, "segment", pa.array([99] * len(table), pa.int32())),
        lambda table: table.set_column(0, "segment", pa.array([-1] * len(table), pa.int32())),
    ],
)
def test_core_rows_that_no_model_has(
    tmp_path: Path, outputs: dict[str, Path], change: Any, raw: Array
) -> None:
    folder = rewrite(tmp_path, outputs["dbscan"], {}, {})
    (path,) = folder.glob("core-*")
    pq.write_table(change(pq.read_table(pa.BufferReader(path.read_bytes()))), path)
    with raises("model.damaged_core_rows", DataError):
        load_model(folder).predict(raw)


def test_core_rows_of_a_footer_that_lies(
    tmp_path: Path, outputs: dict[str, Path], raw: Array
) -> None:
    folder = rewrite(tmp_path, outputs["dbscan"], {}, {})
    (path,) = folder.glob("core-*")
    pq.write_table(pq.read_table(pa.BufferReader(path.read_bytes())).slice(0, 100), path)
    assert load_model(folder).predict(raw).shape == (N,)
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:].replace(b"\xc8\x01", b"\xf0\x01")  # 100 in Thrift, and 120
    path.write_bytes(content[:start] + footer)
    assert pq.read_metadata(path).num_rows == 120
    with raises("model.damaged_core_rows", DataError):
        load_model(folder).predict(raw)


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "outside", "device", "huge"])
@pytest.mark.parametrize("pattern", ["model.json", "model.safetensors", "core-*"])
def test_files_that_are_no_files_of_the_folder(
    tmp_path: Path, outputs: dict[str, Path], pattern: str, kind: str, raw: Array
) -> None:
    folder = rewrite(tmp_path / "model", outputs["dbscan"], {}, {})
    (path,) = folder.glob(pattern)
    saved = path.rename(tmp_path / "saved")
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path.name)
        case "outside":
            path.symlink_to(saved)
        case "device":
            path.symlink_to("/dev/zero")
        case "huge":
            path.write_bytes(saved.read_bytes())
            os.truncate(path, 2**40)
    with pytest.raises(DataError):
        load_model(folder).predict(raw)


def test_links_inside_the_folder_are_followed(tmp_path: Path, output: Path, raw: Array) -> None:
    folder = rewrite(tmp_path / "model", output, {}, {})
    (folder / "model.json").rename(folder / "description.json")
    (folder / "model.json").symlink_to("description.json")
    (tmp_path / "link").symlink_to(folder)
    assert load_model(tmp_path / "link").predict(raw).shape == (N,)


def test_files_that_may_not_be_read_are_not_missing(
    tmp_path: Path, outputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, raw: Array
) -> None:
    open_file, refused = os.open, list[str]()

    def refuse(path: str, *args: Any, **kwargs: Any) -> int:
        if refused and refused[-1] in str(path):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    url = str(outputs["dbscan"])
    for name in ("model.json", "model.safetensors"):
        refused.append(name)
        with raises("path.unreachable", ResourceError, parameter="path", value=url):
            load_model(url)
    refused.append("core-")
    model = load_model(url)
    with raises("path.unreachable", ResourceError, parameter="path", value=url):
        model.predict(raw)
    refused.clear()
    assert model.predict(raw).shape == (N,)


def test_a_name_has_one_class_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_MODEL_CLASSES", dict(base._MODEL_CLASSES))
    assert register_model(KMeansModel) is KMeansModel

    class OtherModel(KMeansModel):
        pass

    with raises("model.name_taken", ConfigError, value="kmeans"):
        register_model(OtherModel)
    assert model_class("kmeans") is KMeansModel


def test_the_algorithm_of_a_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: KMeansModel, raw: Array
) -> None:
    """A model class needs no more than to be registered."""
    monkeypatch.setattr(base, "_MODEL_CLASSES", dict(base._MODEL_CLASSES))

    @register_model
    @dataclass(frozen=True)
    class ReversedModel(KMeansModel):
        name: ClassVar[str] = "reversed"

        def _assign(self, *args: Any) -> Any:
            segments, distance = super()._assign(*args)
            return self.n_clusters - 1 - segments, distance

    assert model_class("reversed") is ReversedModel
    plug_in = ReversedModel(model.pipeline, model.centers)
    for file, data in plug_in.to_files().items():
        (tmp_path / file).write_bytes(data)
    loaded: SegmentModel = load_model(tmp_path)
    assert isinstance(loaded, ReversedModel)
    assert loaded.predict(raw).tolist() == (2 - model.predict(raw)).tolist()


@pytest.mark.parametrize("error", [TypeError, AttributeError, IndexError, KeyError, ValueError])
def test_a_plug_in_that_does_not_check_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: KMeansModel, error: type[Exception]
) -> None:
    for file, data in model.to_files().items():
        (tmp_path / file).write_bytes(data)

    def fail(folder: ModelFolder) -> KMeansModel:
        raise error("spoilt")

    monkeypatch.setattr(KMeansModel, "from_files", fail)
    with raises("model.damaged", DataError):
        load_model(tmp_path)


def test_folders_are_values(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    folder = ModelFolder(Storage.from_url(str(tmp_path), {}, "path"), str(tmp_path))
    assert pickle.loads(pickle.dumps(folder)).read("a") == b"content"
