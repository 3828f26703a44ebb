"""Spherical k-means: only directions count, centers have length one, bits are reproducible."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from conftest import Place
from support.errors import raises
from support.helpers import (
    FEATURES,
    bits,
    customers,
    cut,
    manifest_of,
    matrix,
    read_parts,
    run,
    write_files,
)

from gpuseg import KMeans, load_model
from gpuseg.errors import DataError
from gpuseg.estimators._inputs.row_format import unit_rows
from gpuseg.runtime.executor import TaskContext

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def x() -> Array:
    """Rows in six directions, of lengths from 0.01 to 100."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(6, 5))[np.arange(1200) % 6]
    rows = directions + 0.1 * rng.normal(size=(1200, 5))
    return (rows * 10 ** rng.uniform(-2, 2, (1200, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def weight() -> Array:
    return np.random.default_rng(1).integers(0, 4, 1200) * 0.4


def model(**params: Any) -> KMeans:
    return KMeans(**{"n_clusters": 6, "random_state": 0, "metric": "cosine", **params})


def state(fitted: KMeans) -> tuple[bytes, bytes, float, int]:
    centers = fitted.cluster_centers_.tobytes()
    return centers, fitted.labels_.tobytes(), fitted.inertia_, fitted.n_iter_


def cosines(x: Array, centers: Array) -> Array:
    rows = x.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(centers, axis=1)
    return np.asarray(rows @ centers.T / lengths)


# The estimator.


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_go_where_the_cosine_is_largest(x: Array, weight: Array, weighted: bool) -> None:
    w = weight if weighted else np.ones(len(x))
    fitted = model().fit(x, sample_weight=weight if weighted else None)
    norms = np.linalg.norm(fitted.cluster_centers_, axis=1)
    np.testing.assert_allclose(norms, 1, rtol=0, atol=1e-14)
    cos = cosines(x, fitted.cluster_centers_)
    assert fitted.labels_.tolist() == cos.argmax(axis=1).tolist()
    assert fitted.inertia_ == pytest.approx((w * (2 - 2 * cos.max(axis=1))).sum(), rel=1e-6)
    if not weighted:
        directions = fitted.labels_[:6]
        assert len(set(directions)) == 6
        assert fitted.labels_.tolist() == np.tile(directions, 200).tolist()


@pytest.mark.parametrize("weighted", [False, True])
def test_centers_at_rest_point_where_their_rows_do_on_average(
    x: Array, weight: Array, weighted: bool
) -> None:
    w = weight if weighted else np.ones(len(x))
    noise = np.random.default_rng(2).normal(size=(len(x), 5)).astype(np.float32)
    fitted = model(tol=0.0).fit(noise, sample_weight=weight if weighted else None)
    units = noise / np.linalg.norm(noise.astype(np.float64), axis=1)[:, None]
    for k in range(6):
        members = fitted.labels_ == k
        total = (w[members, None] * units[members]).sum(axis=0)
        mean = total / np.linalg.norm(total)
        np.testing.assert_allclose(fitted.cluster_centers_[k], mean, atol=1e-6)


def test_is_euclidean_k_means_of_the_unit_rows_after_one_step(x: Array) -> None:
    """But for the length of the centers, which decides from the second step on."""
    start = x[:6].astype(np.float64)
    units = unit_rows(x, "numba", TaskContext())
    one = model(init=start, max_iter=1, tol=0.0).fit(x)
    unit_start = start / np.linalg.norm(start, axis=1)[:, None]
    other = model(init=unit_start, max_iter=1, tol=0.0, metric="euclidean").fit(units)
    means = other.cluster_centers_
    lengths = np.linalg.norm(means, axis=1)[:, None]
    assert lengths.max() < 1
    np.testing.assert_allclose(one.cluster_centers_, means / lengths, rtol=1e-14)
    assert state(model(init=start * 8).fit(x)) == state(model(init=start).fit(x))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_backends_and_threads_do_not_matter(
    x: Array, weight: Array, weighted: bool, init: str
) -> None:
    w = weight if weighted else None
    params = {"init": init, "n_init": 2, "tol": 0.0}
    expected = state(model(backend="numpy", n_threads=1, **params).fit(x, sample_weight=w))
    for threads in (1, 2):
        fitted = model(backend="numba", n_threads=threads, **params).fit(x, sample_weight=w)
        assert state(fitted) == expected


def test_length_of_rows_does_not_matter(x: Array) -> None:
    """Powers of two change no digit; and other factors none of the segments."""
    expected = model().fit(x)
    rng = np.random.default_rng(5)
    powers = np.exp2(rng.integers(-40, 40, (len(x), 1))).astype(np.float32)
    scaled = model().fit(x * powers)
    assert state(scaled) == state(expected)
    assert scaled.predict(x * powers[::-1]).tolist() == expected.labels_.tolist()
    factors = rng.uniform(0.1, 9, (len(x), 1)).astype(np.float32)
    assert expected.predict(x * factors).tolist() == expected.labels_.tolist()


def test_extreme_rows_keep_their_direction() -> None:
    rows = np.float32([[3e38, 3e38], [1e-38, -1e-38], [1e-44, 0], [2e38, 1e-44]])
    units = unit_rows(rows, "numba", TaskContext())
    half = np.sqrt(0.5)
    np.testing.assert_allclose(units, [[half, half], [half, -half], [1, 0], [1, 0]], rtol=1e-7)
    assert units.tobytes() == unit_rows(rows, "numpy", TaskContext()).tobytes()


def test_unit_rows_are_a_copy_of_length_one(x: Array) -> None:
    before = x.copy()
    units = unit_rows(x, "numba", TaskContext(2))
    assert units.dtype == np.float32
    assert not np.shares_memory(units, x)
    np.testing.assert_allclose(np.linalg.norm(units.astype(float), axis=1), 1, atol=1e-7)
    model().fit(x).predict(x)
    assert np.array_equal(x, before)


def test_methods_agree(x: Array, weight: Array) -> None:
    fitted = model().fit(x, sample_weight=weight)
    assert fitted.predict(x).tolist() == fitted.labels_.tolist()
    chords = np.sqrt(2 - 2 * cosines(x, fitted.cluster_centers_))
    distances = fitted.transform(x)
    np.testing.assert_allclose(distances, chords, atol=1e-6)
    assert distances.argmin(axis=1).tolist() == fitted.labels_.tolist()
    assert fitted.score(x, sample_weight=weight) == pytest.approx(-fitted.inertia_, rel=1e-12)
    assert fitted.score(x * 4, sample_weight=weight) == fitted.score(x, sample_weight=weight)
    loaded = pickle.loads(pickle.dumps(fitted))
    assert loaded.predict(x[:50]).tolist() == fitted.labels_[:50].tolist()
    assert model().fit_predict(x, sample_weight=weight).tolist() == fitted.labels_.tolist()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_rows_of_zeros_have_no_direction(x: Array, backend: str) -> None:
    spoiled = x.copy()
    spoiled[[7, 100]] = 0
    spoiled[100, 2] = -0.0
    fitted = model(backend=backend).fit(x)
    new = model(backend=backend)
    for call in (new.fit, new.partial_fit, fitted.partial_fit):
        with raises("features.no_direction"):
            call(spoiled)
    for call in (fitted.predict, fitted.transform, fitted.score):
        with pytest.raises(DataError, match=r"(?i)cosine.*zeros"):
            call(spoiled)
    with pytest.raises(DataError, match=r"X has 2 rows with .* first row 7: "):
        fitted.predict(spoiled)
    assert model(metric="euclidean").fit(spoiled).labels_.shape == (1200,)


def test_a_row_of_zeros_is_not_called_missing(x: Array) -> None:
    spoiled = x.copy()
    spoiled[7] = 0
    with raises("features.no_direction"):
        model().fit(spoiled)


def test_directions_that_cancel_leave_the_center_where_it_was() -> None:
    """Opposite rows have no mean direction."""
    rows = np.float32([[1, 0], [-1, 0], [0, 1], [0, 1]])
    start = [[1e-3, -1.0], [0.0, 1.0]]
    fitted = model(n_clusters=2, init=start, max_iter=1).fit(rows[[0, 1, 2, 3]])
    norms = np.linalg.norm(fitted.cluster_centers_, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-14)
    assert np.isfinite(fitted.cluster_centers_).all()


# Shards, as the engine has them.


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_shards_do_not_matter(
    x: Array, weight: Array, place: Place, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpuseg.algorithms.kmeans.fit import fit_kmeans
    from gpuseg.algorithms.kmeans.params import KMeansParams

    monkeypatch.setattr("gpuseg.sharding.shard.BLOCK_ROWS", 100)
    units = unit_rows(x, "numba", TaskContext())
    w = weight if weighted else None
    params = KMeansParams(n_clusters=6, metric="cosine", tol=0.0)
    results = set()
    for shards, threads, backend in ((1, 1, "numpy"), (1, 2, "numba"), (4, 2, "numba")):
        executor, loaded = place(units, w, shards, threads)
        fit = fit_kmeans(executor, params, backend)
        labels = np.concatenate([s.labels for s in loaded if s.labels is not None])
        results.add((fit.centers.values.tobytes(), fit.inertia.hex(), labels.tobytes()))
    expected = model(tol=0.0).fit(x, sample_weight=w)
    assert len(results) == 1
    assert next(iter(results))[0] == expected.cluster_centers_.tobytes()


# Jobs.


@pytest.mark.parametrize(
    "prepare",
    [
        {"scale": "none"},
        {"scale": "standard"},
        {"scale": "robust", "transform": {"spend": "log1p"}, "missing": "median"},
    ],
    ids=["as they are", "standard", "robust, log1p"],
)
def test_a_job_and_its_model(tmp_path: Path, prepare: dict[str, Any]) -> None:
    table = customers(900, blobs=5, seed=2)
    spend = np.exp(table["spend"].to_numpy() / 10)
    table = table.set_column(3, "spend", pa.array(spend, mask=np.arange(900) % 50 == 0))
    if "missing" not in prepare:
        table = table.set_column(3, "spend", pa.array(spend))
    source = write_files(tmp_path / "in", cut(table, 300))
    segment_params = {"metric": "cosine", "n_clusters": 5}
    run(source, tmp_path / "out", prepare=prepare, segment=segment_params)
    manifest, written = manifest_of(tmp_path / "out"), read_parts(tmp_path / "out")
    assert manifest["result"]["metric"] == "cosine"
    saved = json.loads((tmp_path / "out" / "_model" / "model.json").read_text())
    assert saved["metric"] == "cosine"
    loaded = load_model(tmp_path / "out")
    assert loaded.feature_transform.unit
    raw = np.stack([table[n].to_numpy(zero_copy_only=False) for n in FEATURES], axis=1)
    segment, distance = written["segment"].to_numpy(), written["distance"].to_numpy()
    assert loaded.predict(raw).tolist() == segment.tolist()
    assert loaded.predict(table.to_pandas()).tolist() == segment.tolist()
    p = loaded.feature_transform
    filled = np.where(np.isnan(raw), p.fill, raw)
    scaled = (
        np.where(p.transform == 1, np.log1p(filled * p.transform), filled) - p.shift
    ) / p.scale
    cos = cosines(scaled, loaded.centers.values)
    assert segment.tolist() == cos.argmax(axis=1).tolist()
    np.testing.assert_allclose(distance, np.sqrt(2 - 2 * cos.max(axis=1)), atol=1e-3)
    inertia = (2 - 2 * cos.max(axis=1)).sum()
    assert manifest["result"]["inertia"] == pytest.approx(inertia, rel=1e-5)
    np.testing.assert_allclose(np.linalg.norm(loaded.centers.values, axis=1), 1, atol=1e-14)


def test_a_job_of_plain_rows_is_the_estimator(tmp_path: Path, source: Path, table: Any) -> None:
    segment_params = {"metric": "cosine", "n_clusters": 4}
    result = run(source, tmp_path / "out", prepare={"scale": "none"}, segment=segment_params)
    fitted = KMeans(4, metric="cosine", random_state=0).fit(matrix(table))
    assert result.model.centers.values.tobytes() == fitted.cluster_centers_.tobytes()
    assert read_parts(tmp_path / "out")["segment"].to_pylist() == fitted.labels_.tolist()
    assert result.manifest["result"]["inertia"] == fitted.inertia_
    euclidean = run(source, tmp_path / "euclidean", segment={"n_clusters": 4})
    assert euclidean.manifest["result"]["metric"] == "euclidean"
    assert not load_model(tmp_path / "euclidean").feature_transform.unit


def test_jobs_have_the_same_bits_however_rows_are_filed(tmp_path: Path) -> None:
    table = customers(800, blobs=5, seed=6)
    segment_params = {"metric": "cosine", "n_clusters": 5}
    results = []
    for i, (sizes, backend, threads) in enumerate([((), "numpy", 1), ((1, 99, 450), "numba", 2)]):
        source = write_files(tmp_path / f"in{i}", cut(table, *sizes), row_group_size=70 * (i + 1))
        runtime = {"backend": backend, "threads_per_worker": threads}
        run(source, tmp_path / f"out{i}", segment=segment_params, runtime=runtime)
        results.append(bits(tmp_path / f"out{i}"))
    assert results[0] == results[1]


def test_a_loaded_model_refuses_zeros(tmp_path: Path, source: Path) -> None:
    segment_params = {"metric": "cosine"}
    result = run(source, tmp_path / "out", prepare={"scale": "none"}, segment=segment_params)
    for loaded in (result.model, load_model(tmp_path / "out")):
        with raises("rows.not_transformable", DataError, parameter="X"):
            loaded.predict([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
