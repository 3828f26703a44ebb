"""Columns far from zero keep their digits, in every way by which rows reach gpuseg."""

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client
from sklearn.metrics import adjusted_rand_score
from support.helpers import bits

import gpuseg
from gpuseg.numerics.origin import ColumnRanges, subtract_origin

ROWS = 400
CENTERS = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
FAR = [1e8, 1e10, -1e12]
KINDS = {
    "array": lambda x: x,
    "Fortran order": np.asfortranarray,
    "list": lambda x: x.tolist(),
    "pandas": lambda x: pd.DataFrame(x, columns=["a", "b"]),
    "Polars": lambda x: pl.DataFrame({"a": x[:, 0], "b": x[:, 1]}),
    "Arrow": lambda x: pa.table({"a": x[:, 0], "b": x[:, 1]}),
}


def blobs() -> tuple[Any, Any]:
    """Return four blobs in steps of 1/64, which each offset here leaves exact, and their labels."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(CENTERS), ROWS)
    noise = np.rint(rng.normal(0, 0.3, (ROWS, 2)) * 64) / 64
    return CENTERS[label] + noise, label


def test_ranges_of_parts_are_those_of_the_whole() -> None:
    x = np.array([[1e10, 2000, np.nan, -1.0], [1e10 + 5, 2024, np.nan, 1.0], [1e10, 2001, 7, 0.1]])
    whole = ColumnRanges.of(x)
    merged = ColumnRanges.of(x[:1]).merge(ColumnRanges.of(x[1:]))
    for name in ("low", "high", "is_exact"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(merged, name))
    np.testing.assert_array_equal(whole.are_far(), [True, True, True, False])
    np.testing.assert_array_equal(whole.is_exact, [False, True, True, False])
    np.testing.assert_array_equal(whole.origins(), [1e10 + 2.5, 0, 0, 0])  # 2000 to 2024 are exact


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (0.0, 5.1), (1.0, 1.2), (-np.inf, np.inf)])
def test_columns_near_zero_keep_their_values(low: float, high: float) -> None:
    assert ColumnRanges.of(np.array([[low], [high]])).origins() == [0.0]


@pytest.mark.parametrize("low", [1.7e308, -1.7e308, 1e-300])
def test_extreme_ranges_do_not_overflow(low: float) -> None:
    ranges = ColumnRanges.of(np.array([[low], [low * (1 + 1e-9)]]))
    origin = ranges.origins()
    assert min(ranges.low, ranges.high) <= origin <= max(ranges.low, ranges.high)


def test_the_difference_is_rounded_once() -> None:
    x = 1e10 + blobs()[0]
    np.testing.assert_array_equal(subtract_origin(x, np.array([1e10, 1e10])), blobs()[0])


@pytest.mark.parametrize("offset", FAR)
@pytest.mark.parametrize("kind", KINDS)
def test_estimators_see_blobs_far_from_zero(kind: str, offset: float) -> None:
    x, label = blobs()
    X = KINDS[kind](x + offset)
    model = gpuseg.KMeans(4, random_state=0).fit(X)
    near = gpuseg.KMeans(4, init=model.cluster_centers_ - offset).fit(x)
    np.testing.assert_array_equal(model.labels_, near.labels_)
    assert adjusted_rand_score(label, model.labels_) == 1
    np.testing.assert_allclose(model.cluster_centers_, near.cluster_centers_ + offset, rtol=1e-15)
    assert model.inertia_ == pytest.approx(near.inertia_, rel=1e-6)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert -model.score(X) == pytest.approx(model.inertia_)
    assert adjusted_rand_score(label, gpuseg.DBSCAN(1.0).fit_predict(X)) == 1


def test_initial_centers_are_in_the_units_of_x() -> None:
    x, label = blobs()
    model = gpuseg.KMeans(4, init=CENTERS + 1e10, max_iter=1).fit(x + 1e10)
    np.testing.assert_array_equal(model.labels_, label)


def test_batches_of_a_stream_are_measured_from_the_first() -> None:
    x, label = blobs()
    model = gpuseg.KMeans(4, init=CENTERS + 1e10)
    for batch in np.split(x + 1e10, 4):
        model = model.partial_fit(batch)
    np.testing.assert_array_equal(model.predict(x + 1e10), label)


def test_partitions_of_a_dask_array_have_one_origin(two_workers: dict[str, Any]) -> None:
    x, label = blobs()
    order = np.argsort(x[:, 0])  # so that the partitions have different ranges
    with Client(two_workers["cluster"]) as client:
        X = da.from_array(x[order] + 1e10, chunks=(100, 2))
        model = gpuseg.KMeans(4, init=CENTERS + 1e10).fit(X, client=client)
        np.testing.assert_array_equal(model.labels_.compute(), label[order])
    whole = gpuseg.KMeans(4, init=CENTERS + 1e10).fit(x[order] + 1e10)
    np.testing.assert_array_equal(model.cluster_centers_, whole.cluster_centers_)


@pytest.mark.parametrize("scale", ["standard", "robust", "minmax"])
def test_a_preprocessor_is_inverted_far_from_zero(scale: str) -> None:
    x = blobs()[0]
    near = gpuseg.Preprocessor(scale=scale).fit(x)
    far = gpuseg.Preprocessor(scale=scale).fit(x + 1e10)
    z = far.transform(x + 1e10)
    np.testing.assert_allclose(z, near.transform(x), atol=1e-6)
    np.testing.assert_allclose(far.inverse_transform(z) - 1e10, x, atol=1e-5)
    np.testing.assert_allclose(far.shift_ - 1e10, near.shift_, atol=1e-5)
    kept = gpuseg.Preprocessor(scale="none").fit_transform(x + 1e10)
    np.testing.assert_array_equal(kept, (x + 1e10).astype(np.float32))


def write(folder: Path, x: Any, statistics: bool) -> Path:
    """Write customers in two files, so that a worker sees a part of them."""
    folder.mkdir()
    columns = {"id": pa.array(range(ROWS)), "a": x[:, 0], "b": x[:, 1]}
    for number, rows in enumerate((slice(0, 150), slice(150, ROWS))):
        part = {name: values[rows] for name, values in columns.items()}
        pq.write_table(pa.table(part), folder / f"{number}.parquet", write_statistics=statistics)
    return folder


def run(source: Path, target: Path, **sections: dict[str, Any]) -> gpuseg.RunResult:
    """Run a job over the columns `a` and `b`."""
    return gpuseg.run(
        {"input": {"path": str(source), "id": "id"}, "output": {"path": str(target)}, **sections}
    )


ALGORITHMS = {
    "kmeans": {"n_clusters": 4},
    "dbscan": {"algorithm": "dbscan", "eps": 0.5},
    "hierarchical": {"algorithm": "hierarchical", "n_clusters": 4},
}


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jobs_see_blobs_far_from_zero(tmp_path: Path, algorithm: str, statistics: bool) -> None:
    x, label = blobs()
    order = np.lexsort(x.T)
    source = write(tmp_path / "in", x[order] + 1e10, statistics)
    result = run(source, tmp_path / "out", segment=ALGORITHMS[algorithm])
    segments = pd.read_parquet(tmp_path / "out").sort_values("id")["segment"].to_numpy()
    assert adjusted_rand_score(label[order], segments) > 0.99  # DBSCAN may have a row of noise
    frame = pd.read_parquet(source)
    np.testing.assert_array_equal(gpuseg.load_model(result.path).predict(frame), segments)
    for segment in result.record.segments:
        rows = frame[segments == segment.segment]
        if segment.segment >= 0:
            np.testing.assert_allclose(
                [segment.center["a"] - 1e10, segment.center["b"] - 1e10],
                [(rows["a"] - 1e10).mean(), (rows["b"] - 1e10).mean()],
                atol=1e-5,
            )
            assert rows["a"].min() <= segment.quantiles["a"].median <= rows["a"].max()


def test_centers_of_a_manifest_start_the_next_job(tmp_path: Path) -> None:
    source = write(tmp_path / "in", blobs()[0] + 1e10, statistics=True)
    result = run(source, tmp_path / "out", segment={"n_clusters": 4})
    centers = [segment.center for segment in result.record.segments]
    run(source, tmp_path / "next", segment={"n_clusters": 4, "init": centers, "max_iter": 1})
    before, after = (pd.read_parquet(tmp_path / name) for name in ("out", "next"))
    assert before["segment"].equals(after["segment"])


def test_workers_have_the_same_bits(tmp_path: Path, two_workers: dict[str, Any]) -> None:
    x = blobs()[0]
    source = write(tmp_path / "in", x[np.lexsort(x.T)] + 1e10, statistics=True)
    for name, runtime in (("local", {}), ("dask", two_workers)):
        run(source, tmp_path / name, segment={"n_clusters": 4}, runtime=runtime)
    assert bits(tmp_path / "dask") == bits(tmp_path / "local")


def test_rules_and_fills_are_in_the_units_of_the_columns(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    x = blobs()[0] + 1e10
    x[0, 0] = np.nan
    source = write(tmp_path / "in", x, statistics=True)
    result = run(
        source, tmp_path / "out", segment={"n_clusters": 4},
        prepare={"missing": "median", "clip": [0.01, 0.99]},
    )  # fmt: skip
    feature = result.record.features["a"]
    assert feature.fill == pytest.approx(np.nanmedian(x[:, 0]), abs=1)
    assert feature.clip is not None and 1e10 - 2 < feature.clip.low < feature.clip.high < 1e10 + 7
    rules = result.record.profile.rules
    assert rules is not None
    same = duckdb.sql(
        f"SELECT count(*) FROM (SELECT *, {rules.sql} AS rule FROM '{source}/*.parquet') i "
        f"JOIN '{tmp_path}/out/part-*.parquet' o ON i.id = o.id WHERE i.rule = o.segment"
    ).fetchall()
    assert same == [(ROWS,)]


@pytest.mark.parametrize("prepare, segment", [
    ({"transform": "log1p"}, {}),
    ({"scale": "none"}, {"metric": "cosine"}),
])  # fmt: skip
def test_values_that_matter_themselves_are_kept(
    tmp_path: Path, prepare: dict[str, Any], segment: dict[str, Any]
) -> None:
    rng = np.random.default_rng(0)
    source = write(tmp_path / "in", rng.integers(1_600_000_001, 1_700_000_001, (ROWS, 2)), True)
    result = run(
        source, tmp_path / "out", prepare=prepare,
        segment={"n_clusters": 2, **segment},
    )  # fmt: skip
    pipeline = gpuseg.load_model(result.path).pipeline
    assert pipeline.feature_transform.origin is None
