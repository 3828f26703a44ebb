"""Initial centers of a job are in the units of its input: those of a manifest, or of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.errors import raises
from support.helpers import read_parts, write_files

import gpuseg
from gpuseg.backends.feature_transform import FeatureTransform, Projection
from gpuseg.errors import ConfigError, DataError
from gpuseg.models.kmeans import KMeansModel
from gpuseg.segmentation.initial_centers import InitialCenters

N = 900

PREPARATIONS: dict[str, dict[str, Any]] = {
    "standard": {},
    "clip, log1p": {"clip": [0.02, 0.98], "transform": {"spend": "log1p"}, "scale": "minmax"},
    "yeo-johnson, robust": {"transform": "yeo-johnson", "scale": "robust"},
    "encoded": {
        "missing": "mean", "missing_indicator": True,
        "categorical": {"channel": "onehot", "tier": ["low", "mid", "high"]},
    },
    "frequency, dropped": {
        "missing": "zero", "categorical": {"channel": "frequency"}, "drop_correlated": 0.99,
    },
    "pca": {"missing": "median", "categorical": {"channel": "onehot"}, "pca": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Customers of four kinds, with amounts, categories and gaps."""
    rng = np.random.default_rng(3)
    place = rng.integers(4, size=N)
    spend = np.exp(place + rng.normal(0.0, 0.2, N))
    table = pa.table({
        "customer": np.arange(N),
        "spend": spend,
        "items": place * 2.0 + rng.normal(size=N) + 5,
        "twice": 2 * spend,
        "orders": pa.array(place % 2 * 9.0 + rng.normal(size=N) - 4, mask=place * 0 + spend < 0.8),
        "channel": np.array(["web", "shop", "app", "app"])[place],
        "tier": np.array(["low", "mid", "high"])[rng.integers(3, size=N)],
    })  # fmt: skip
    return write_files(tmp_path_factory.mktemp("init") / "in", [table], 300)


def run(source: Path, output: Path, prepare: Any, **segment: Any) -> gpuseg.RunResult:
    """Run k-means to its end, by default with four segments."""
    features = ["spend", "items", *prepare.get("categorical", {})]
    features += ["orders"] if "missing" in prepare else []
    features += ["twice"] if "drop_correlated" in prepare else []
    return gpuseg.run({
        "input": {"path": str(source), "id": "customer", "features": features},
        "prepare": prepare,
        "segment": {"n_clusters": 4, "tol": 0.0, **segment},
        "output": {"path": str(output)},
    })  # fmt: skip


def segments_of(output: Path) -> list[int]:
    return read_parts(output)["segment"].to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metric"),
    [*((name, "euclidean") for name in PREPARATIONS), ("standard", "cosine"), ("pca", "cosine")],
)
def test_customers_keep_their_segments(
    tmp_path: Path, source: Path, name: str, metric: str
) -> None:
    prepare = PREPARATIONS[name]
    first = run(source, tmp_path / "first", prepare, metric=metric, random_state=5)
    expected = segments_of(tmp_path / "first")
    centers = [segment["center"] for segment in first.manifest["segments"]]
    backwards = [dict(reversed(center.items())) for center in centers]
    lists = [list(center.values()) for center in centers]
    for i, init in enumerate((backwards, lists, str(tmp_path / "first"))):
        output = tmp_path / f"again-{i}"
        again = run(source, output, prepare, metric=metric, init=init, max_iter=1, random_state=1)
        assert segments_of(output) == expected
        assert again.manifest["job"]["segment"]["init"] == init
    assert isinstance(again.model, KMeansModel) and isinstance(first.model, KMeansModel)
    assert np.array_equal(again.model.centers.values, first.model.centers.values)


def test_centers_of_another_preparation(tmp_path: Path, source: Path) -> None:
    """A model gives its centers in the units of the input, whatever its own scale is."""
    first = run(source, tmp_path / "first", {"scale": "minmax"})
    again = run(source, tmp_path / "again", {"transform": {"items": "log1p"}}, n_clusters=1)
    assert isinstance(first.model, KMeansModel)
    pipeline = again.model.pipeline
    centers = InitialCenters.read(str(tmp_path / "first" / "_model")).prepared(pipeline)
    transform, raw = pipeline.feature_transform, first.model.cluster_centers_.copy()
    raw[:, 1] = np.log1p(raw[:, 1])
    assert np.allclose(centers, (raw - transform.shift) / transform.scale, rtol=1e-12)


@pytest.mark.parametrize(
    ("init", "code"),
    [
        ([{"spend": 1.0}] * 4, "init.other_features"),
        ([{"spend": 1.0, "items": 2.0, "orders": 1.0}] * 4, "init.other_features"),
        ([{"spend": 1.0, "items": 2.0}] * 3 + [{"spend": 1.0}], "init.other_features"),
        ([{"spend": 1.0, "items": 2.0}] * 3, "init.wrong_shape"),
        ([[1.0, 2.0, 3.0]] * 4, "init.wrong_shape"),
        ([[]] * 4, "init.wrong_shape"),
        ([[1.0, float("nan")]] * 4, "init.not_finite"),
        ([[-2.0, 1.0]] * 4, "init.outside_domain"),
    ],
)
def test_centers_that_the_job_cannot_have(
    tmp_path: Path, source: Path, init: Any, code: str
) -> None:
    with raises(code, ConfigError, parameter="init"):
        run(source, tmp_path / "out", {"transform": "log1p"}, init=init)
    assert not (tmp_path / "out").exists()


def test_centers_without_a_direction(tmp_path: Path, source: Path) -> None:
    with raises("init.no_direction", ConfigError, parameter="init"):
        run(source, tmp_path / "out", {"scale": "none"}, metric="cosine", init=[[0.0, 0.0]] * 4)


def test_paths_without_centers(tmp_path: Path, source: Path) -> None:
    with raises("model.not_found", DataError, parameter="init"):
        run(source, tmp_path / "out", {}, init=str(tmp_path / "none"))
    gpuseg.run({
        "input": {"path": str(source), "id": "customer", "features": ["spend", "items"]},
        "segment": {"algorithm": "dbscan", "eps": 0.5},
        "output": {"path": str(tmp_path / "dbscan")},
    })  # fmt: skip
    with raises("init.not_kmeans", ConfigError, parameter="init"):
        run(source, tmp_path / "out", {}, init=str(tmp_path / "dbscan"))
    run(source, tmp_path / "first", {}, n_clusters=2)
    with raises("init.wrong_shape", ConfigError, parameter="init"):
        run(source, tmp_path / "out", {}, init=str(tmp_path / "first"))
    with raises("init.other_features", ConfigError, parameter="init") as caught:
        run(
            source, tmp_path / "out", {"missing": "mean"}, n_clusters=2,
            init=str(tmp_path / "first"),
        )  # fmt: skip
    assert "'orders'" in str(caught.value)


@pytest.mark.parametrize(
    "init", ["", "kmeans", "Random", [], [1.0], [[True]], [["1"]], [[1.0], {"spend": 1.0}], 5, {}]
)
def test_values_of_other_types(tmp_path: Path, source: Path, init: Any) -> None:
    with raises("job.invalid_value", ConfigError, parameter="segment.init"):
        run(source, tmp_path / "out", {}, init=init)


def test_apply_reverses_inverse() -> None:
    transform = FeatureTransform(
        np.full(3, np.nan, np.float32), np.array([0, 1, 2]), np.array([1.0, 2.0, 3.0]),
        np.array([2.0, 0.5, 3.0]), power=np.array([1.0, 1.0, 0.3]),
        projection=Projection(np.array([0.1, 0.2, 0.3]), np.eye(3)[[2, 0, 1]]),
    )  # fmt: skip
    points = np.array([[5.0, 3.0, -2.0], [-7.0, 0.0, 4.0]])
    assert np.allclose(transform.inverse(transform.apply(points)), points, rtol=1e-12)
