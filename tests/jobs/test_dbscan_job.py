"""DBSCAN as a job: end to end, the same on workers, model and report, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.cluster import DBSCAN as SklearnDBSCAN
from sklearn.datasets import make_blobs
from sklearn.preprocessing import StandardScaler
from support.errors import raises
from support.helpers import cut, write_files

import gpuseg
from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.progress import PlainLines
from gpuseg.reporting.terminal_table import segment_table


def table(n: int = 3000) -> pa.Table:
    """Return blobs and noise with ids, in units far from scaled ones."""
    x, _ = make_blobs(n - n // 20, 3, centers=5, random_state=4, cluster_std=0.6)
    noise = np.random.default_rng(0).uniform(-12, 12, (n // 20, 3))
    x = np.random.default_rng(1).permutation(np.concatenate([x, noise])) * [1, 100, 0.01] + 5
    columns = {f"f{i}": x[:, i].astype(np.float32) for i in range(3)}
    return pa.table({"id": np.arange(n), **columns})


def job(tmp_path: Path, name: str = "out", runtime: Any = None, **segment: Any) -> dict[str, Any]:
    return {
        "input": {"path": str(tmp_path / "in"), "id": "id"},
        "segment": {"algorithm": "dbscan", "eps": 0.15, "min_samples": 8, **segment},
        "runtime": {"backend": "numba", **(runtime or {})},
        "output": {"path": str(tmp_path / name)},
    }


@pytest.fixture
def rows(tmp_path: Path) -> pa.Table:
    written = table()
    write_files(tmp_path / "in", cut(written, 700, 1900), 300)
    return written


def test_a_job_labels_as_scikit_learn_does(rows: pa.Table, tmp_path: Path) -> None:
    result = gpuseg.run(job(tmp_path))
    out = pq.read_table(tmp_path / "out").sort_by("id")
    x = np.column_stack([rows[f"f{i}"] for i in range(3)]).astype(np.float64)
    scaled = StandardScaler().fit_transform(x)
    expected = SklearnDBSCAN(eps=0.15, min_samples=8).fit(scaled)
    labels = out["segment"].to_numpy()
    assert (labels == expected.labels_).mean() > 0.999  # float32 after scaling
    facts = result.manifest["result"]
    assert facts["n_clusters"] == expected.labels_.max() + 1
    assert facts["noise"] == (labels == -1).sum() > 0
    assert facts["core"] + facts["border"] + facts["noise"] == len(rows)
    for segment in result.manifest["segments"]:
        members = labels == segment["segment"]
        assert segment["size"] == members.sum()
        center = [segment["center"][name] for name in ("f0", "f1", "f2")]
        assert center == pytest.approx(x[members].mean(axis=0), rel=1e-5, abs=1e-6)
    assert result.manifest["segments"][-1]["segment"] == -1
    near = out["distance"].to_numpy()
    assert ((near <= np.float32(0.15)) == (labels >= 0)).all()


@pytest.mark.slow
def test_the_same_on_workers_and_from_another_filing(
    rows: pa.Table, tmp_path: Path, two_workers: dict[str, Any]
) -> None:
    here = gpuseg.run(job(tmp_path))
    there = gpuseg.run(job(tmp_path, "dask", two_workers))
    assert pq.read_table(tmp_path / "out").equals(pq.read_table(tmp_path / "dask"))
    for key in ("segments", "features"):
        assert here.manifest[key] == there.manifest[key]
    held = there.manifest["result"]["peak_rows_per_shard"]
    assert len(held) == 2
    assert sum(there.manifest["result"]["rows_per_shard"]) == len(rows)
    assert max(held) < len(rows)
    assert (
        sum(there.manifest["result"]["distances_per_shard"])
        == there.manifest["result"]["distances"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "two workers"])
def test_progress_counts_each_row_once_a_sweep(
    rows: pa.Table,
    tmp_path: Path,
    cluster: str,
    two_workers: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    runtime = two_workers if cluster == "two workers" else {}
    gpuseg.run(job(tmp_path, runtime=runtime), progress=PlainLines())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fit ")]
    assert f"{4 * len(rows):,} rows swept" in lines[-1]


def test_the_model_scores_new_rows(rows: pa.Table, tmp_path: Path) -> None:
    result = gpuseg.run(job(tmp_path))
    model = gpuseg.load_model(tmp_path / "out")
    x = np.column_stack([rows[f"f{i}"] for i in range(3)])
    predicted = model.predict(x)
    labels = pq.read_table(tmp_path / "out").sort_by("id")["segment"].to_numpy()
    assert ((predicted >= 0) == (labels >= 0)).all()
    assert (predicted == labels).mean() > 0.99
    assert result.model.predict(x).tobytes() == predicted.tobytes()
    assert model.predict(x[:1] + np.array([1e6, 0, 0])).tolist() == [-1]


def test_models_with_core_rows_under_the_older_name_are_read(
    rows: pa.Table, tmp_path: Path
) -> None:
    x = np.column_stack([rows[f"f{i}"] for i in range(3)])
    expected = gpuseg.run(job(tmp_path)).model.predict(x)
    folder = tmp_path / "out" / "_model"
    (folder / "core-00000.sidecar").rename(folder / "core-00000.parquet")
    description = folder / "model.json"
    description.write_text(description.read_text().replace(".sidecar", ".parquet"))
    assert gpuseg.load_model(folder).predict(x).tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the job on these rows."""
    folder = tmp_path_factory.mktemp("dbscan")
    write_files(folder / "in", cut(table(), 700, 1900), 300)
    gpuseg.run(job(folder))
    return folder / "out"


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["missing", "cut", "changed", "other columns", "text", "one more"]
)
def test_damaged_core_rows_are_refused(output: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(output, tmp_path / "out")
    core = tmp_path / "out" / "_model" / "core-00000.sidecar"
    content = bytearray(core.read_bytes())
    if damage == "missing":
        core.unlink()
    elif damage == "cut":
        core.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        content[len(content) // 2] ^= 255
        core.write_bytes(content)
    elif damage == "text":
        table = pq.read_table(core)
        pq.write_table(table.set_column(1, "x0", table["x0"].cast(pa.string())), core)
    elif damage == "one more":
        table = pq.read_table(core)
        pq.write_table(table.append_column("x3", table["x0"]), core)
    else:
        pq.write_table(pa.table({"a": [1]}), core)
    with pytest.raises(DataError, match=r"core-00000.sidecar: core rows .* damaged"):
        gpuseg.load_model(tmp_path / "out").predict(np.zeros((2, 3)))


@pytest.mark.slow
def test_eps_is_estimated(rows: pa.Table, tmp_path: Path, two_workers: dict[str, Any]) -> None:
    result = gpuseg.run(job(tmp_path, eps="auto")).manifest["result"]
    chosen = next(choice for choice in result["eps_candidates"] if choice["eps"] == result["eps"])
    noise = result["noise"] / len(rows)
    assert noise == pytest.approx(chosen["noise_share"], abs=4 * chosen["noise_error"])
    assert 0.01 < noise < 0.1
    assert "the knee of the distances from" in result["eps_reason"]
    there = job(tmp_path, "dask", two_workers, eps="auto")
    assert gpuseg.run(there).manifest["result"]["eps"] == result["eps"]


def test_report_and_table_name_noise(rows: pa.Table, tmp_path: Path) -> None:
    result = gpuseg.run(job(tmp_path))
    page = (tmp_path / "out" / "_report.html").read_text()
    for text in ("DBSCAN", "Noise", "<dt>Eps</dt><dd>0.15</dd>"):
        assert text in page
    assert segment_table(result.record).row_count == result.manifest["result"]["n_clusters"] + 2


@pytest.mark.parametrize("change", [{"eps": 1e-4}, {"eps": 50.0}])
def test_far_too_small_or_large_an_eps_is_warned_of(
    rows: pa.Table, tmp_path: Path, change: dict[str, Any]
) -> None:
    result = gpuseg.run(job(tmp_path, **change))
    way = "larger" if change["eps"] < 1 else "smaller"
    assert any(f"try a {way} segment.eps" in text for text in result.manifest["warnings"])


@pytest.mark.parametrize(
    ("change", "code", "parameter"),
    [
        ({"eps": 0}, "job.invalid_value", "segment.eps"),
        ({"eps": float("nan")}, "job.invalid_value", "segment.eps"),
        ({"min_samples": 0}, "job.invalid_value", "segment.min_samples"),
        ({"metric": "l7"}, "job.invalid_value", "segment.metric"),
        ({"n_clusters": 3}, "job.unknown_key", "segment.n_clusters"),
        ({"algorithm": "optics"}, "algorithm.unknown", "segment.algorithm"),
        ({"metric": "haversine"}, "metric.haversine_features", "metric"),
    ],
    ids=str,
)
def test_bad_jobs(
    rows: pa.Table, tmp_path: Path, change: dict[str, Any], code: str, parameter: str
) -> None:
    with raises(code, ConfigError, parameter=parameter):
        gpuseg.run(job(tmp_path, **change))


def test_work_is_forecast_and_too_much_is_refused(rows: pa.Table, tmp_path: Path) -> None:
    facts = gpuseg.run(job(tmp_path)).manifest["result"]
    assert facts["distances"] / 2 < facts["cost_estimate"]["distances"] < 2 * facts["distances"]
    assert facts["cost_estimate"]["seconds"] > 0
    with raises("max_pairs.exceeded", ResourceError, value=1000.0):
        gpuseg.run(job(tmp_path, "refused", max_pairs=1000.0))
    assert not (tmp_path / "refused").exists()


def test_rows_must_fit_into_memory(rows: pa.Table, tmp_path: Path) -> None:
    small = {"cluster": "dask", "n_workers": 1, "memory_limit": "300MiB"}
    with raises("memory_limit.rows_must_be_resident", ResourceError):
        gpuseg.run(job(tmp_path, runtime=small))


def test_rows_of_zeros_have_no_direction(tmp_path: Path) -> None:
    zeros = pa.table({"id": [1, 2], "a": [0.0, 1.0], "b": [0.0, 1.0]})
    write_files(tmp_path / "in", [zeros])
    spec = job(tmp_path, metric="cosine")
    spec["prepare"] = {"scale": "none"}
    with raises("metric.row_of_zeros", DataError):
        gpuseg.run(spec)


@pytest.mark.slow
def test_haversine_takes_radians_as_they_are(tmp_path: Path) -> None:
    places = pa.table({"lat": [0.5, 0.5001, 1.2], "lon": [0.1, 0.1001, -2.0]})
    write_files(tmp_path / "in", [places])
    spec = job(tmp_path, metric="haversine", eps=0.001, min_samples=2)
    del spec["input"]["id"]
    with raises("metric.haversine_prepared", ConfigError, parameter="metric"):
        gpuseg.run(spec)
    spec["prepare"] = {"scale": "none"}
    gpuseg.run(spec)
    assert pq.read_table(tmp_path / "out")["segment"].to_pylist() == [0, 0, -1]


def test_eps_is_not_estimated_for_weighted_rows(rows: pa.Table, tmp_path: Path) -> None:
    spec = job(tmp_path, eps="auto")
    spec["input"]["weight"] = "f0"
    with raises("eps.auto_with_weights", ConfigError, parameter="eps"):
        gpuseg.run(spec)
