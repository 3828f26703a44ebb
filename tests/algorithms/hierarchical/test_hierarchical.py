"""Ward's hierarchy: against SciPy, with weights, cut at levels, as a job."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.cluster.hierarchy import fcluster, is_valid_linkage, leaves_list, linkage
from sklearn.metrics import adjusted_rand_score
from support.errors import raises

import gpuseg
from gpuseg.algorithms.hierarchical.ward import ward
from gpuseg.errors import ConfigError, DataError


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 7, 33])
@pytest.mark.parametrize("n", [2, 31, 257])
def test_merges_are_scipys(n: int, d: int) -> None:
    x = np.random.default_rng(n + d).normal(size=(n, d)) * np.linspace(1, 3, d)
    expected = linkage(x, "ward")
    hierarchy = ward(x, np.ones(n))
    np.testing.assert_array_equal(hierarchy.merges[:, [0, 1, 3]], expected[:, [0, 1, 3]])
    np.testing.assert_allclose(hierarchy.merges[:, 2], expected[:, 2], rtol=1e-11)
    np.testing.assert_array_equal(hierarchy.leaves(), leaves_list(expected))
    for k in {1, 2, n // 2, n} - {0}:
        flat = fcluster(expected, k, "maxclust")
        assert adjusted_rand_score(hierarchy.cut(k), flat) == 1


@pytest.mark.parametrize("seed", range(10))
def test_a_weight_is_a_repeated_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(90, 3)), rng.integers(1, 6, 90)
    hierarchy = ward(x, weight.astype(float))
    merges = hierarchy.merges
    expected = linkage(np.repeat(x, weight, axis=0), "ward")
    assert np.abs(expected[:-89, 2]).max(initial=0) < 1e-7
    np.testing.assert_allclose(merges[:, 2], expected[-89:, 2], rtol=1e-11)
    assert is_valid_linkage(merges)
    for k in (2, 9, 40):
        flat = fcluster(expected, k, "maxclust")
        assert adjusted_rand_score(np.repeat(hierarchy.cut(k), weight), flat) == 1


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_ties_and_offsets_make_a_valid_hierarchy(offset: float) -> None:
    """On a grid many merges have the same height; heights are those of SciPy."""
    x = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0)), -1).reshape(-1, 2) + offset
    hierarchy = ward(x, np.ones(len(x)))
    assert is_valid_linkage(hierarchy.merges)
    assert (np.diff(hierarchy.merges[:, 2]) >= 0).all()
    assert hierarchy.merges[-1, 3] == len(x)
    assert [len(np.unique(hierarchy.cut(k))) for k in range(1, 31)] == list(range(1, 31))


def test_cuts_are_nested_and_numbered_from_the_left() -> None:
    x = np.random.default_rng(0).normal(size=(200, 4))
    hierarchy = ward(x, np.ones(200))
    coarse, fine = hierarchy.cut(4), hierarchy.cut(15)
    parent = [np.unique(coarse[fine == k]) for k in range(15)]
    assert all(len(labels) == 1 for labels in parent)
    groups = [labels[0] for labels in parent]
    assert groups == sorted(groups)
    above = hierarchy.above(15)
    assert is_valid_linkage(above)
    np.testing.assert_array_equal(above[:, 2], hierarchy.merges[-14:, 2])
    assert above[-1, 3] == 15
    four = fcluster(above, 4, "maxclust")
    assert adjusted_rand_score(four, groups) == 1


def test_one_point_and_equal_points() -> None:
    assert ward(np.ones((1, 2)), np.ones(1)).cut(1).tolist() == [0]
    equal = ward(np.ones((5, 2)), np.ones(5))
    assert equal.merges[:, 2].tolist() == [0.0] * 4
    assert sorted(equal.cut(3).tolist()) == [0, 0, 0, 1, 2] or len(set(equal.cut(3))) == 3


# As a job.


def blobs(n: int, seed: int = 0) -> np.ndarray:
    """Three groups, the first of two parts, the second of three."""
    rng = np.random.default_rng(seed)
    centers = np.array([[0, 0], [2, 0], [20, 0], [22, 0], [21, 2], [0, 30]])
    return rng.normal(size=(n, 2)) * 0.2 + centers[rng.integers(0, 6, n)]


def job(folder: Path, x: np.ndarray, rows: int = 10**6, **segment: Any) -> dict[str, Any]:
    table = pa.table({"id": np.arange(len(x)), "a": x[:, 0], "b": x[:, 1]})
    pq.write_table(table, folder / "in.parquet", row_group_size=rows)
    return {
        "input": {"path": str(folder / "in.parquet"), "id": "id"},
        "prepare": {"scale": "none"},
        "segment": {"algorithm": "hierarchical", **segment},
        "output": {"path": str(folder / "out")},
    }


def segments(folder: Path) -> pa.Table:
    return pq.read_table(sorted((folder / "out").glob("part-*"))).sort_by("id")


@pytest.mark.slow
@pytest.mark.parametrize("n", [400, 20_000])
def test_levels_are_nested_columns(n: int, tmp_path: Path) -> None:
    """Each of a few rows is a micro segment; for many rows k-means finds them."""
    x = blobs(n)
    manifest = gpuseg.run(job(tmp_path, x, levels=[1, 3, 6])).manifest
    output = segments(tmp_path).to_pandas()
    assert list(output) == ["id", "segment", "distance", "segment_1", "segment_3", "segment_6"]
    assert (output["segment"] == output["segment_6"]).all()
    assert (output.groupby("segment_6")["segment_3"].nunique() == 1).all()
    assert output["segment_6"].nunique() == 6
    expected = linkage(x.astype(np.float32), "ward") if n == 400 else None
    if expected is not None:
        for k in (3, 6):
            flat = fcluster(expected, k, "maxclust")
            assert adjusted_rand_score(output[f"segment_{k}"], flat) == 1
    by_three = np.array([0, 0, 1, 1, 1, 2])
    assert adjusted_rand_score(output["segment_3"], _truth(n, by_three)) == 1
    assert manifest["result"]["levels"] == [1, 3, 6]
    parents = manifest["result"]["parents"]["3"]
    assert parents == output.groupby("segment_6")["segment_3"].first().tolist()
    means = output.assign(a=x[:, 0]).groupby("segment")["a"].mean()
    for segment in manifest["segments"]:
        assert segment["center"]["a"] == pytest.approx(
            means[segment["segment"]], rel=1e-6, abs=1e-6
        )
        assert segment["size"] == (output["segment"] == segment["segment"]).sum()


def _truth(n: int, groups: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    rng.normal(size=(n, 2))
    return groups[rng.integers(0, 6, n)]


def test_weights_are_repeated_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, weight = blobs(150), rng.integers(1, 5, 150)
    outcomes = []
    for name, rows, weights in (("w", x, weight), ("r", np.repeat(x, weight, axis=0), None)):
        folder = tmp_path / name
        folder.mkdir()
        config = job(folder, rows, n_clusters=9)
        if weights is not None:
            table = pq.read_table(folder / "in.parquet").append_column("w", [weights])
            pq.write_table(table, folder / "in.parquet")
            config["input"]["weight"] = "w"
        outcomes.append(gpuseg.run(config).manifest["result"]["merges"])
    np.testing.assert_allclose(outcomes[0], outcomes[1], rtol=1e-9)


def test_model_is_cut_at_any_level_without_a_fit(tmp_path: Path) -> None:
    x = blobs(3000)
    gpuseg.run(job(tmp_path, x, levels=[3, 6], micro_segments=50))
    model = gpuseg.load_model(str(tmp_path / "out"))
    output = segments(tmp_path)
    np.testing.assert_array_equal(model.predict(x), output["segment"])
    np.testing.assert_array_equal(model.cut(3).predict(x), output["segment_3"])
    assert len(np.unique(model.cut(4).predict(x))) == 4
    assert is_valid_linkage(model.hierarchy.merges)
    with pytest.raises(DataError, match="must be from 1 to 50"):
        model.cut(51)


@pytest.mark.slow
def test_same_bits_however_filed_and_on_any_backend(tmp_path: Path) -> None:
    x = blobs(5000)
    results = []
    for name, rows, runtime in (
        ("a", 5000, {}),
        ("b", 300, {"n_workers": 3, "threads_per_worker": 1}),
        ("c", 1000, {"backend": "numpy"}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        config = job(folder, x, rows, levels=[2, 5], micro_segments=40)
        manifest = gpuseg.run({**config, "runtime": runtime}).manifest
        files = [(folder / "out" / "_model" / "model.safetensors").read_bytes()]
        results.append((segments(folder), manifest["segments"], manifest["result"], files))
    for other in results[1:]:
        assert other[0].equals(results[0][0])
        assert other[1:] == results[0][1:]


@pytest.mark.parametrize(
    ("segment", "code", "key", "value"),
    [
        ({"levels": [8, 3]}, "levels.not_increasing", "levels", [8, 3]),
        ({"levels": []}, "levels.not_increasing", "levels", []),
        ({"levels": [3, 8], "n_clusters": 8}, "n_clusters.with_levels", "n_clusters", 8),
        ({"n_clusters": 30, "micro_segments": 20}, "micro_segments.too_few", "micro_segments", 20),
        ({"n_clusters": 2000}, "micro_segments.too_few", "micro_segments", 1000),
    ],
)
def test_broken_rules(
    segment: dict[str, Any], code: str, key: str, value: Any, tmp_path: Path
) -> None:
    with raises(code, ConfigError, parameter=f"segment.{key}", value=value):
        gpuseg.run(job(tmp_path, blobs(50), **segment))


@pytest.mark.parametrize("key", ["n_cluster", "metric"])
def test_unknown_parameters(key: str, tmp_path: Path) -> None:
    with raises("job.unknown_key", ConfigError, parameter=f"segment.{key}"):
        gpuseg.run(job(tmp_path, blobs(50), **{key: 3}))


def test_more_segments_than_distinct_rows(tmp_path: Path) -> None:
    with raises("n_clusters.too_few_distinct_rows", value=3):
        gpuseg.run(job(tmp_path, np.repeat([[0.0, 1.0], [5.0, 2.0]], 20, axis=0), n_clusters=3))


def test_level_columns_are_reserved(tmp_path: Path) -> None:
    config = job(tmp_path, blobs(50), levels=[2, 3])
    config["input"]["id"] = "segment_2"
    with pytest.raises(ConfigError, match="has a column of that name itself"):
        gpuseg.run(config)
