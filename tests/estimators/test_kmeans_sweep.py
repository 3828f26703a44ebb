"""Several numbers of clusters at once: each model has the bits of a single fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.exceptions import ConvergenceWarning
from support.errors import raises
from support.helpers import (
    FEATURES,
    bits,
    call,
    customers,
    cut,
    job,
    listing,
    manifest_of,
    matrix,
    read_parts,
    run,
    toml,
    write_files,
)

from gpuseg import KMeans, KMeansSweep, kmeans_sweep, load_model
from gpuseg.errors import ConfigError, DataError

Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def quick_seeding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuseg.algorithms.kmeans.sampling.SAMPLE_ROWS", 512)


@pytest.fixture(scope="module")
def x() -> Array:
    """Blobs that overlap, so that each number of clusters iterates differently."""
    rng = np.random.default_rng(4)
    centers = rng.uniform(-5, 5, (6, 3))
    return (centers[np.arange(900) % 6] + rng.normal(size=(900, 3))).astype(np.float32)


def state(fitted: KMeans) -> tuple[bytes, bytes, float, int]:
    centers = fitted.cluster_centers_.tobytes()
    return centers, fitted.labels_.tobytes(), fitted.inertia_, fitted.n_iter_


# The function.


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_init": 3},
        {"init": "random", "n_init": 2, "tol": 0.0},
        {"metric": "cosine"},
        {"max_iter": 2, "backend": "numpy"},
        {"random_state": 11, "n_threads": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_each_model_equals_a_single_fit(x: Array, params: dict[str, Any], weighted: bool) -> None:
    weight = np.arange(900) % 4 * 0.7 if weighted else None
    params = {"random_state": 0, **params}
    swept = kmeans_sweep(x, [9, 2, 5, 1], sample_weight=weight, **params)
    assert isinstance(swept, KMeansSweep)
    assert list(swept.models) == list(swept.seconds) == list(swept.inertia) == [1, 2, 5, 9]
    for k, fitted in swept.models.items():
        assert isinstance(fitted, KMeans)
        assert fitted.get_params() == KMeans(k, **params).get_params()
        assert state(fitted) == state(KMeans(k, **params).fit(x, sample_weight=weight))
        assert fitted.predict(x).tolist() == fitted.labels_.tolist()
        assert fitted.inertia_ == swept.inertia[k]
        assert fitted.n_features_in_ == 3
        assert fitted.backend_ == params.get("backend", "numba")


def test_seconds_are_measured(x: Array) -> None:
    swept = kmeans_sweep(x, range(2, 6), random_state=0, n_threads=1)
    assert all(seconds > 0 for seconds in swept.seconds.values())
    assert sum(swept.seconds.values()) < swept.total_seconds < 60


@pytest.mark.slow
def test_default_numbers(x: Array) -> None:
    assert list(kmeans_sweep(x[:100], random_state=0).models) == list(range(2, 21))


def test_more_clusters_have_less_inertia(x: Array) -> None:
    inertia = list(kmeans_sweep(x, range(1, 10), n_init=12, random_state=0).inertia.values())
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[0] == pytest.approx(((x - x.mean(axis=0, dtype=float)) ** 2).sum(), rel=1e-9)


def test_one_seed_serves_all(x: Array) -> None:
    fresh = [kmeans_sweep(x, [5, 8], n_init=1, max_iter=1) for _ in range(2)]
    seeds = [{fitted.random_state for fitted in swept.models.values()} for swept in fresh]
    assert [len(seed) for seed in seeds] == [1, 1]
    assert seeds[0] != seeds[1]
    for swept in fresh:
        for fitted in swept.models.values():
            assert state(KMeans(**fitted.get_params()).fit(x)) == state(fitted)
    legacy = [kmeans_sweep(x, [3, 4], random_state=np.random.RandomState(1)) for _ in range(2)]
    assert legacy[0].inertia == legacy[1].inertia


def test_names_and_tables(x: Array) -> None:
    names = ["a", "b", "c"]
    expected = kmeans_sweep(x, [2, 3], random_state=0)
    reader = pa.table(dict(zip(names, x.T.copy(), strict=True))).to_reader()
    for table in (pd.DataFrame(x, columns=names), reader):
        swept = kmeans_sweep(table, np.arange(2, 4), random_state=0)
        for k in (2, 3):
            assert swept.models[k].feature_names_in_.tolist() == names
            assert state(swept.models[k]) == state(expected.models[k])


def test_models_are_independent(x: Array) -> None:
    swept = kmeans_sweep(x, [2, 3], random_state=0)
    before = state(swept.models[2])
    swept.models[3].fit(x[:50])
    swept.models[3].partial_fit(x)
    assert state(swept.models[2]) == before


def test_few_distinct_rows_warn() -> None:
    rows = np.float32([[0, 1], [2, 3], [0, 1], [5, 5], [2, 3]])
    with pytest.warns(ConvergenceWarning, match="n_clusters = 4, but X has only 3 distinct rows"):
        swept = kmeans_sweep(rows, [2, 3, 4], random_state=0)
    assert [swept.inertia[k] for k in (3, 4)] == [0, 0]


@pytest.mark.parametrize(
    ("counts", "params", "code", "parameter"),
    [
        ([], {}, "n_clusters.not_several", "n_clusters"),
        (5, {}, "n_clusters.not_several", "n_clusters"),
        ([2, 3], {"init": np.zeros((2, 3))}, "init.several_n_clusters", "init"),
        ([2, 3], {"init": [[0.0] * 3] * 2}, "init.several_n_clusters", "init"),
    ],
)
def test_counts_and_centers_that_make_no_sweep(
    x: Array, counts: Any, params: dict[str, Any], code: str, parameter: str
) -> None:
    with raises(code, ConfigError, parameter=parameter):
        kmeans_sweep(x, counts, **params)


@pytest.mark.parametrize(
    ("counts", "params", "error", "words"),
    [
        ([0, 2], {}, ConfigError, r"n_clusters = \[0, 2\]: "),
        ([2, 2.5], {}, ConfigError, r"n_clusters = 2\.5: "),
        ([2, 901], {}, DataError, "n_clusters = 901"),
        ([2], {"metric": "l1"}, ConfigError, "metric = 'l1': "),
        ([2], {"random_state": -1}, ConfigError, "random_state = -1: "),
        ([2], {"clusters": 3}, TypeError, "no parameter 'clusters'"),
    ],
)
def test_refused(
    x: Array, counts: list[Any], params: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        kmeans_sweep(x, counts, **params)


# Jobs.

PLAIN: dict[str, Any] = {"prepare": {"scale": "none"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("written", "counts"), [([2, 5], [2, 3, 4, 5]), ([2, 3, 7], [2, 3, 7])], ids=["range", "list"]
)
def test_a_job_fits_several_models(
    tmp_path: Path, source: Path, table: pa.Table, written: list[int], counts: list[int]
) -> None:
    result = run(source, tmp_path / "out", segment={"n_clusters": written}, **PLAIN)
    manifest, x = manifest_of(tmp_path / "out"), matrix(table)
    assert manifest == result.manifest
    assert [line["n_clusters"] for line in manifest["sweep"]] == counts
    assert [model.n_clusters for model in result.models.values()] == list(result.models) == counts
    folders = sorted(path.name for path in (tmp_path / "out" / "_models").iterdir())
    assert folders == sorted(map(str, counts))
    for line in manifest["sweep"]:
        k = line["n_clusters"]
        single = KMeans(k, random_state=0).fit(x)
        model = load_model(tmp_path / "out" / "_models" / str(k))
        assert model.features == FEATURES
        assert model.centers.values.tobytes() == single.cluster_centers_.tobytes()
        assert model.predict(x).tolist() == single.labels_.tolist()
        assert (line["inertia"], line["n_iter"]) == (single.inertia_, single.n_iter_)
        assert line["converged"] is True
        assert line["smallest"] == np.bincount(single.labels_).min()
        assert line["thread_seconds"] >= 0
    largest = counts[-1]
    run(source, tmp_path / "single", segment={"n_clusters": largest}, **PLAIN)
    assert bits(tmp_path / "out") == bits(tmp_path / "single")
    assert (tmp_path / "out" / "_model" / "model.json").read_bytes() == (
        tmp_path / "out" / "_models" / str(largest) / "model.json"
    ).read_bytes()
    assert manifest["result"]["n_clusters"] == largest
    assert manifest["job"]["segment"]["n_clusters"] == written
    segment = read_parts(tmp_path / "out")["segment"].to_numpy()
    assert segment.max() == largest - 1
    assert load_model(tmp_path / "out").predict(x).tolist() == segment.tolist()
    report = (tmp_path / "out" / "_report.html").read_text()
    assert "inertia by number of segments: 2: " in report
    assert f", {largest}: " in report


def test_a_job_of_one_model_has_no_sweep(tmp_path: Path, source: Path) -> None:
    result = run(source, tmp_path / "out")
    assert result.manifest["sweep"] == []
    assert list(result.models.values()) == [result.model]
    assert not (tmp_path / "out" / "_models").exists()
    assert "inertia by number of segments" not in (tmp_path / "out" / "_report.html").read_text()


def test_models_of_an_older_sweep_are_replaced(tmp_path: Path, source: Path) -> None:
    run(source, tmp_path / "out", segment={"n_clusters": [2, 4]})
    run(source, tmp_path / "out", segment={"n_clusters": [3, 5]}, output={"overwrite": True})
    assert sorted(p.name for p in (tmp_path / "out" / "_models").iterdir()) == ["3", "4", "5"]


def test_models_that_do_not_converge_are_named(tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", [customers(900, blobs=40)])
    params = {"n_clusters": [1, 6, 7], "max_iter": 1, "tol": 0.0}
    manifest = run(source, tmp_path / "out", segment=params).manifest
    lines = [line["n_clusters"] for line in manifest["sweep"] if not line["converged"]]
    assert lines[-2:] == [6, 7]
    warned = [text for text in manifest["warnings"] if "not converged after 1 iteration;" in text]
    assert [text.split(":")[0] for text in warned] == [f"n_clusters = {k}" for k in lines]


@pytest.mark.slow
def test_on_the_command_line(
    tmp_path: Path, source: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.toml"
    file.write_text(toml(job(source, tmp_path / "out")))
    before = listing(tmp_path)
    dry = call(capfd, "run", file, "--dry-run", "--set", "segment.n_clusters=[2,4]")
    assert (dry.code, listing(tmp_path)) == (0, before)
    assert "n_clusters = [2, 4]" in dry.out
    outcome = call(capfd, "run", file, "--set", "segment.n_clusters=[2,4]")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("600 customers in 4 segments")
    assert "n_clusters = 4" in outcome.err and "_models" in outcome.err
    again = call(capfd, "run", file, "--json", "--overwrite", "--set", "segment.n_clusters=[2,4]")
    assert [line["n_clusters"] for line in json.loads(again.out)["sweep"]] == [2, 3, 4]
    for bad in ("[]", "[4,2]", "[2]", "[2,2,3]"):
        refused = call(capfd, "run", file, "--overwrite", "--set", f"segment.n_clusters={bad}")
        assert refused.code == 2
        assert "segment.n_clusters = [" in refused.err
        assert "the [first, last] of a range, or a list of at least three" in refused.err


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_sweep_has_the_same_bits_however_rows_are_filed(tmp_path: Path, metric: str) -> None:
    table = customers(700, blobs=5, seed=3)
    params = {"n_clusters": [2, 5], "metric": metric}
    outputs = []
    for i, (sizes, group, threads) in enumerate([((), 700, 1), ((1, 99, 400), 30, 2)]):
        source = write_files(tmp_path / f"in{i}", cut(table, *sizes), row_group_size=group)
        out = tmp_path / f"out{i}"
        runtime = {"threads_per_worker": threads, "backend": ["numpy", "numba"][i]}
        run(source, out, segment=params, runtime=runtime)
        models = {p.parent.name: p.read_bytes() for p in out.glob("_models/*/model.safetensors")}
        lines = [{**line, "thread_seconds": 0} for line in manifest_of(out)["sweep"]]
        outputs.append((bits(out), models, lines))
    assert outputs[0] == outputs[1]
