"""Select k: criteria are scikit-learn's, planted numbers are found, no structure is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from conftest import Place
from sklearn.datasets import load_iris, load_wine, make_blobs
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score
from sklearn.preprocessing import StandardScaler
from support.errors import raises
from support.helpers import THOROUGH, call, cut, manifest_of, read_parts, toml, write_files

import gpuseg
from gpuseg import KMeans, select_k
from gpuseg.algorithms.data_statistics import measure
from gpuseg.algorithms.kmeans.fit import sweep_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.model_selection.quality import ClusterQuality, measure_fits
from gpuseg.model_selection.select_k import fit_and_select
from gpuseg.sharding import row_passes as passes

Array = npt.NDArray[Any]


def planted(k: int, n: int = 6000) -> Array:
    """Clusters of unequal size and spread with heavy tails, and 3 % noise; standardized."""
    rng = np.random.default_rng(k)
    d, centers = int(rng.integers(3, 13)), np.empty((0, 0))
    while len(centers) < k:
        centers = rng.normal(size=(k, d)) * 6
        apart = np.linalg.norm(centers[:, None] - centers, axis=2) + 99 * np.eye(k)
        if apart.min() < 7:
            centers = centers[:0]
            d = min(d + 1, 12)
    share = np.maximum(rng.dirichlet(np.full(k, 3.0)), 0.03)
    label = rng.choice(k, n, p=share / share.sum())
    spread = rng.uniform(0.5, 0.9, k)[label, None]
    x = centers[label] + rng.standard_t(4, (n, d)) * spread
    noise = rng.random(n) < 0.03
    x[noise] = rng.uniform(x.min(axis=0) / 2, x.max(axis=0) / 2, (noise.sum(), d))
    return np.asarray(StandardScaler().fit_transform(x), np.float32)


def nothing(kind: str, n: int = 6000) -> Array:
    rng = np.random.default_rng(0)
    x = {
        "normal": rng.normal(size=(n, 6)),
        "uniform": rng.random((n, 2)),
        "lognormal": rng.lognormal(0, 1, (n, 5)),
        "oblong": rng.normal(size=(n, 6)) @ rng.normal(size=(6, 6)),
        "exponential": rng.exponential(size=(n, 4)),
        "line": rng.random((n, 1)),  # whose halves have a silhouette of 0.62
    }[kind]
    return np.asarray(StandardScaler().fit_transform(x), np.float32)


def measured(
    place: Place, backend: str, x: Array, ks: list[int], shards: int = 1, points: int = 400
) -> tuple[list[ClusterQuality], list[Array]]:
    executor, loaded = place(x, None, shards, threads=shards)
    executor.apply(passes.to_device, backend)
    facts = measure(executor, backend)
    models = [KMeansParams(n_clusters=k) for k in ks]
    fits = sweep_kmeans(executor, models, backend, statistics=facts, keep_all=True)
    labels = [
        np.concatenate([shard.labels_by_model[i] for shard in loaded]) for i in range(len(ks))
    ]
    return measure_fits(executor, backend, fits, facts, points), labels


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20 if THOROUGH else 3))
def test_criteria_are_scikit_learns(place: Place, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, d, k = int(rng.integers(60, 3000)), int(rng.integers(1, 20)), int(rng.integers(2, 7))
    x, _ = make_blobs(n, d, centers=k, cluster_std=rng.uniform(0.5, 6), random_state=seed)
    x = x.astype(np.float32)
    sampled, labels = measured(place, "numba", x, [2, k + 1])
    whole, _ = measured(place, "numba", x, [2, k + 1], points=n)
    for quality, exact, label in zip(sampled, whole, labels, strict=True):
        expected = silhouette_score(x.astype(np.float64), label)
        assert exact.silhouette == pytest.approx(expected, abs=1e-5)
        assert exact.silhouette_error == 0
        # One of forty intervals of 95 % would have missed it by a little.
        assert abs(quality.silhouette - expected) <= 1.3 * quality.silhouette_error + 1e-5
        assert quality.calinski_harabasz == pytest.approx(
            calinski_harabasz_score(x, label), rel=1e-3
        )
        assert quality.davies_bouldin == pytest.approx(davies_bouldin_score(x, label), rel=1e-2)
        assert quality.smallest_share == np.bincount(label).min() / n


@pytest.mark.slow
def test_criteria_have_the_same_bits_everywhere(place: Place, cuda: Any) -> None:
    x, _ = make_blobs(900, 5, centers=4, random_state=0)
    x = x.astype(np.float32)
    results = [
        measured(place, backend, x, [2, 3, 5], shards, points=300)[0]
        for backend, shards in (("numpy", 1), ("numba", 1), ("numba", 3), ("cuda", 2))
    ]
    assert all(result == results[0] for result in results)


def test_simplified_silhouette_is_that_of_the_centers(place: Place) -> None:
    x, _ = make_blobs(500, 3, centers=3, random_state=1)
    x = x.astype(np.float32)
    (quality,), (label,) = measured(place, "numba", x, [4])
    model = KMeans(4, random_state=0).fit(x)
    distances = np.sort(model.transform(x), axis=1)
    assert (model.labels_ == label).all()
    expected = (distances[:, 1] - distances[:, 0]) / distances[:, 1]
    assert quality.simplified_silhouette == pytest.approx(expected.mean(), rel=1e-9)
    assert quality.ambiguous_share == (expected < 0.1).mean() > 0


@pytest.mark.slow
@pytest.mark.parametrize("k", range(3, 13) if THOROUGH else (3, 7))
def test_planted_numbers_are_selected(k: int) -> None:
    choice = select_k(planted(k), range(2, 15), random_state=0)
    assert choice.n_clusters == k, str(choice)
    assert choice.well_separated, str(choice)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["normal", "lognormal", "line", *["uniform", "oblong", "exponential"] * THOROUGH],
)
def test_data_without_clusters_is_not_well_separated(kind: str) -> None:
    choice = select_k(nothing(kind), range(2, 10), random_state=0)
    assert not choice.well_separated
    assert choice.reason.startswith("no well-separated segments")


@pytest.mark.slow
def test_clusters_in_many_dimensions_are_well_separated() -> None:
    """All distances are similar there, so that silhouettes are small."""
    x, _ = make_blobs(8000, 16, centers=6, cluster_std=3.0, random_state=0)
    choice = select_k(x.astype(np.float32), range(2, 10), random_state=0)
    assert (choice.n_clusters, choice.well_separated) == (6, True)
    assert choice.criteria[4].silhouette < 0.5


@pytest.mark.slow
def test_on_iris_and_wine() -> None:
    """Two of iris's three species overlap: two clusters are separate. Wine's three are not."""
    iris = select_k(StandardScaler().fit_transform(load_iris().data), range(2, 8), random_state=0)
    assert (iris.n_clusters, iris.well_separated) == (2, True)
    wine = select_k(StandardScaler().fit_transform(load_wine().data), range(2, 8), random_state=0)
    assert (wine.n_clusters, wine.well_separated) == (3, False)
    assert "runner-up 2: stability" in wine.reason
    text = str(wine)
    assert len(text.splitlines()) == 8 and "*          3" in text
    assert [row["n_clusters"] for row in wine.table] == list(range(2, 8))
    assert wine.elbow == 3


def test_few_rows_and_few_distinct_ones(place: Place) -> None:
    x = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    executor, _ = place(x)
    models = [KMeansParams(n_clusters=k) for k in range(2, 6)]
    fits, choice = fit_and_select(executor, "numba", models, measure(executor, "numba"))
    assert [len(fit.sizes) for fit in fits] == [2, 3]
    assert choice.n_clusters == 3 and choice.criteria[1].silhouette == 1


@pytest.mark.parametrize("n_clusters", [5, [3], [1, 2, 3], []])
def test_refuses(n_clusters: Any) -> None:
    with pytest.raises(gpuseg.ConfigError, match="must be two or more numbers from 2 on, such as"):
        select_k(np.zeros((50, 2)), n_clusters)


@pytest.mark.slow
def test_auto_in_a_job(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], two_workers: dict[str, Any]
) -> None:
    x = planted(5)
    table = pa.table({"id": np.arange(len(x)), **{f"f{i}": column for i, column in enumerate(x.T)}})
    source = write_files(tmp_path / "in", cut(table, 2500), 700)
    job = {
        "input": {"path": str(source), "id": "id"},
        "segment": {"n_clusters": "auto", "max_clusters": 7},
        "output": {"path": str(tmp_path / "out")},
    }
    (tmp_path / "job.toml").write_text(toml(job))
    outcome = call(capfd, "run", tmp_path / "job.toml")
    assert outcome.code == 0, outcome.err
    assert "5 clusters" in outcome.err
    facts = manifest_of(tmp_path / "out")
    assert facts["result"]["n_clusters"] == len(facts["segments"]) == 5
    choice = facts["result"]["selection"]
    assert choice["well_separated"] and len(choice["table"]) == len(facts["sweep"]) == 6
    labels = read_parts(tmp_path / "out")["segment"].to_numpy()
    assert gpuseg.load_model(tmp_path / "out").predict(x).tolist() == labels.tolist()
    assert gpuseg.load_model(tmp_path / "out" / "_models" / "7").n_clusters == 7
    report = (tmp_path / "out" / "_report.html").read_text()
    assert "How many segments" in report and "<strong>5&nbsp;✓</strong>" in report
    again = {**job, "runtime": two_workers, "output": {"path": str(tmp_path / "again")}}
    other = gpuseg.run(again).manifest
    assert other["result"] == facts["result"] and other["segments"] == facts["segments"]
    one = {**job, "segment": {"n_clusters": 5}, "output": {"path": str(tmp_path / "five")}}
    gpuseg.run(one)
    assert read_parts(tmp_path / "five").equals(read_parts(tmp_path / "out"))


@pytest.mark.slow
def test_auto_warns_when_segments_are_not_well_separated(tmp_path: Path) -> None:
    x = nothing("normal", 2000)
    table = pa.table({f"f{i}": column for i, column in enumerate(x.T)})
    result = gpuseg.run({
        "input": {"path": str(write_files(tmp_path / "in", [table]))},
        "segment": {"n_clusters": "auto", "max_clusters": 5},
        "output": {"path": str(tmp_path / "out")},
    })  # fmt: skip
    assert any("no well-separated segments" in text for text in result.manifest["warnings"])


def job_on(folder: Path, table: pa.Table, name: str = "out", **sections: Any) -> dict[str, Any]:
    source = write_files(folder / f"{name}-in", [table])
    return {
        "input": {"path": str(source), **sections.pop("input", {})},
        "segment": {"n_clusters": "auto", **sections.pop("segment", {})},
        "output": {"path": str(folder / name)}, **sections,
    }  # fmt: skip


@pytest.mark.slow
def test_few_different_rows_and_few_rows(tmp_path: Path) -> None:
    """No inertia is left, no stability can be measured, and 15 clusters are too many."""
    five = pa.table({"a": np.tile([1.0, 2, 3, 5, 8], 100)})
    gpuseg.run(job_on(tmp_path, five))
    facts = manifest_of(tmp_path / "out")["result"]
    assert facts["n_clusters"] == 5
    assert facts["selection"]["table"][-1]["calinski_harabasz"] is None
    six = pa.table({"a": [0.0, 0.1, 0.2, 9.0, 9.1, 9.2]})
    result = gpuseg.run(job_on(tmp_path, six, "six")).manifest["result"]
    assert result["n_clusters"] == 2 and "stability not measured" in result["selection"]["reason"]
    with raises("n_clusters.too_few_distinct_rows", parameter="n_clusters"):
        select_k(np.ones((50, 2)))


def test_stability_of_one_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(0)
    x = (np.repeat(np.eye(3) * 20, 9, axis=0) + rng.normal(size=(27, 3))).astype(np.float32)
    for end in (5, 15):
        choice = select_k(x, range(2, end), random_state=0)
        assert (choice.n_clusters, choice.well_separated) == (3, True), str(choice)


@pytest.mark.slow
def test_weights_of_any_size_and_no_names_with_them(tmp_path: Path) -> None:
    x = planted(4, 2000)
    whole = select_k(x, range(2, 6), random_state=0)
    small = select_k(x, range(2, 6), sample_weight=np.full(2000, 1 / 2000), random_state=0)
    for one, other in zip(whole.criteria, small.criteria, strict=True):
        assert other.calinski_harabasz == pytest.approx(one.calinski_harabasz, rel=1e-6)
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "w": np.arange(2000.0)})
    for name, more in (
        ("weighted", {"input": {"weight": "w"}}),
        ("cosine", {"segment": {"metric": "cosine"}, "prepare": {"scale": "none"}}),
        ("plain", {}),
    ):
        facts = gpuseg.run(job_on(tmp_path, table, name, **more)).manifest
        assert all(("name" in segment) == (name == "plain") for segment in facts["segments"])


@pytest.mark.slow
def test_cells_are_summed_a_few_at_a_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    x = nothing("normal", 3000)
    expected = measured(place, "numba", x, [2, 5, 9], points=64)[0]
    for constant, few in (("DEVICE_ROWS", 100), ("MAX_CELLS", 7)):
        monkeypatch.setattr(f"gpuseg.model_selection.quality.{constant}", few)
        assert measured(place, "numba", x, [2, 5, 9], points=64)[0] == expected
