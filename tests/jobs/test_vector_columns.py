"""Columns of vectors give the bits of the same numbers in columns of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import customers, manifest_of, opened, read_parts, run
from support.vector_columns import KINDS, as_numbers, names, rows

import gpuseg
from gpuseg.errors import DataError
from gpuseg.io.parquet.shard_plan import load_shard
from gpuseg.io.parquet.spilled_rows import spill_shard
from gpuseg.io.parquet.streamed_shard import open_stream
from gpuseg.preprocessing.encoding.vectors import as_matrix, first_shape
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.shard import Shard

ALL_STEPS = {
    "clip": [0.02, 0.98], "transform": {"v": "yeo-johnson"}, "drop_near_constant": True,
    "drop_correlated": 0.999, "pca": 4,
}  # fmt: skip


def same_bits(one: Path, other: Path) -> None:
    """Compare parts, models and manifests, apart from rules: vectors have none."""
    assert read_parts(one).equals(read_parts(other))
    models = [(path / "_model" / "model.safetensors").read_bytes() for path in (one, other)]
    assert models[0] == models[1]
    manifests = [manifest_of(path) for path in (one, other)]
    for manifest in manifests:
        for segment in manifest["segments"]:
            segment["rule"] = None
    for key in ("result", "segments", "features"):
        assert manifests[0][key] == manifests[1][key], key


def written(path: Path, table: pa.Table, n_rows: int = 50) -> Path:
    ids = pa.array(np.arange(table.num_rows))
    pq.write_table(table.append_column("customer", ids), path, row_group_size=n_rows)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_job(tmp_path: Path, kind: str) -> None:
    vectors, features = rows(), names(kind, "v")
    column = KINDS[kind](vectors)
    written(tmp_path / "vectors.parquet", pa.table({"v": column}))
    written(tmp_path / "numbers.parquet", as_numbers(vectors, features))
    prepare: dict[str, Any] = {"missing": "median"}
    result = run(tmp_path / "vectors.parquet", tmp_path / "a", input={"features": ["v"]},
                 prepare=prepare)  # fmt: skip
    run(tmp_path / "numbers.parquet", tmp_path / "b", input={"features": features}, prepare=prepare)
    same_bits(tmp_path / "a", tmp_path / "b")
    assert result.manifest["job"]["input"]["features"] == ["v"]
    assert list(result.manifest["features"]) == features

    model = gpuseg.load_model(tmp_path / "a")
    segments = read_parts(tmp_path / "a")["segment"].to_numpy()
    wide = np.stack([c.to_numpy() for c in as_numbers(vectors, features).columns], axis=1)
    assert (model.predict(pa.table({"v": column})) == segments).all()
    assert (model.predict(wide) == segments).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "on_workers"),
    [
        (ALL_STEPS, False),
        ({"missing": "drop", "scale": "robust"}, True),
    ],
    ids=["all steps", "drop, on workers"],
)
def test_preparation_and_workers(
    tmp_path: Path, prepare: dict[str, Any], on_workers: bool, request: pytest.FixtureRequest
) -> None:
    runtime = request.getfixturevalue("two_workers") if on_workers else {"backend": "numpy"}
    vectors = rows(with_missing="missing" in prepare)
    features = names("", "v")
    other = pa.array(np.random.default_rng(1).normal(size=len(vectors)))
    one = pa.table({"v": KINDS["large list"](vectors), "n": other})
    written(tmp_path / "vectors.parquet", one)
    written(tmp_path / "numbers.parquet", as_numbers(vectors, features).append_column("n", other))
    by_element = dict(prepare)
    if isinstance(prepare.get("transform"), dict):
        by_element["transform"] = dict.fromkeys(features, prepare["transform"]["v"])
    run(tmp_path / "vectors.parquet", tmp_path / "a", input={"features": ["v", "n"]},
        prepare=prepare, runtime=runtime)  # fmt: skip
    run(tmp_path / "numbers.parquet", tmp_path / "b", input={"features": [*features, "n"]},
        prepare=by_element, runtime=runtime)  # fmt: skip
    same_bits(tmp_path / "a", tmp_path / "b")


def test_vectors_of_spark_as_objects_of_pandas(tmp_path: Path) -> None:
    """Fields without any value have no type in Arrow, and sizes with gaps are floats."""
    column = KINDS["Spark"](rows(with_missing=False))
    written(tmp_path / "in.parquet", pa.table({"v": column}))
    run(tmp_path / "in.parquet", tmp_path / "out", input={"features": ["v"]})
    model, segment = gpuseg.load_model(tmp_path / "out"), read_parts(tmp_path / "out")["segment"]
    frame = pa.table({"v": column}).to_pandas()
    is_dense = frame["v"].map(lambda vector: vector["type"] == 1)
    np.testing.assert_array_equal(model.predict(frame), segment)
    np.testing.assert_array_equal(
        model.predict(frame[is_dense]), segment.filter(pa.array(is_dense))
    )


def test_sizes_of_sparse_vectors_may_be_floats(tmp_path: Path) -> None:
    """So pandas writes them where dense vectors have none."""
    column = KINDS["Spark"](rows())
    fields = [
        field.with_type(pa.float64()) if field.name == "size" else field for field in column.type
    ]
    is_sparse = [vector and vector["type"] == 0 for vector in column.to_pylist()]
    sparse_first = column[is_sparse.index(True) :]
    written(tmp_path / "int.parquet", pa.table({"v": sparse_first}))
    written(tmp_path / "float.parquet", pa.table({"v": sparse_first.cast(pa.struct(fields))}))
    for name in ("int", "float"):
        run(tmp_path / f"{name}.parquet", tmp_path / name, input={"features": ["v"]},
            prepare={"missing": "mean"})  # fmt: skip
    same_bits(tmp_path / "int", tmp_path / "float")
    wrong = {**sparse_first[0].as_py(), "size": 4.5}
    assert first_shape(pa.array([wrong], pa.struct(fields))) == (0,)


def test_values_of_vectors_of_spark_may_have_a_fixed_size(tmp_path: Path) -> None:
    dense = {"type": 1, "size": None, "indices": None, "values": [1.0, 2.0]}
    kind = pa.struct([
        ("type", pa.int8()), ("size", pa.int32()), ("indices", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float64(), 2)),
    ])  # fmt: skip
    matrix = as_matrix(pa.array([dense, None, dense], kind), (2,))
    np.testing.assert_array_equal(matrix, [[1.0, 2.0], [np.nan] * 2, [1.0, 2.0]])


@pytest.mark.parametrize("on_disk", [spill_shard, open_stream])
def test_rows_on_disk(tmp_path: Path, on_disk: Callable[..., Shard]) -> None:
    vectors = rows()
    path = written(tmp_path / "in.parquet", pa.table({"v": KINDS["list of float64"](vectors)}))
    (plan,) = opened(path, "v").plan_shards(1, drop_missing=True)
    blocks = list(on_disk(plan, TaskContext()).map_blocks(TaskContext(), lambda block: block.x))
    complete = [v for v in vectors if v and None not in v]
    assert np.array_equal(np.concatenate(blocks), np.array(complete, np.float32))


def test_far_from_zero(tmp_path: Path) -> None:
    """Each element is measured from an origin of its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)) + rng.integers(0, 2, (300, 1)) * 9 + np.array([1e9, 0.0, -3e10])
    column = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 3)
    numbers = pa.table({f"v[{f}]": x[:, f] for f in range(3)})
    written(tmp_path / "vectors.parquet", pa.table({"v": column}))
    written(tmp_path / "numbers.parquet", numbers)
    run(tmp_path / "vectors.parquet", tmp_path / "a", input={"features": ["v"]})
    run(tmp_path / "numbers.parquet", tmp_path / "b", input={"features": None})
    same_bits(tmp_path / "a", tmp_path / "b")
    model = gpuseg.load_model(tmp_path / "a")
    assert (model.predict(x) == read_parts(tmp_path / "a")["segment"].to_numpy()).all()


def test_flag_of_missing_vectors(tmp_path: Path) -> None:
    """A column has one flag, for vectors that are missing or have gaps."""
    vectors = rows()
    path = written(tmp_path / "in.parquet", pa.table({"v": KINDS["list of float32"](vectors)}))
    prepare = {"missing": "zero", "missing_indicator": True}
    result = run(path, tmp_path / "out", input={"features": ["v"]}, prepare=prepare)
    assert list(result.manifest["features"]) == [*names("", "v"), "v is missing"]
    assert result.manifest["features"]["v is missing"]["mean"] == pytest.approx(3 / len(vectors))
    model = gpuseg.load_model(tmp_path / "out")
    segments = read_parts(tmp_path / "out")["segment"].to_numpy()
    assert (model.predict(pa.table({"v": pa.array(vectors)})) == segments).all()


def test_default_features(tmp_path: Path) -> None:
    """Vectors are features by default where there are no numbers."""
    column = KINDS["fixed size"](rows())
    alone = written(
        tmp_path / "alone.parquet", pa.table({"v": column, "name": ["a"] * len(column)})
    )
    assert opened(alone, id="customer").features == ("v",)
    beside = written(tmp_path / "beside.parquet", pa.table({"v": column, "n": range(len(column))}))
    data = opened(beside, id="customer")
    assert (data.features, data.vectors_left_out) == (("n",), ("v",))


def test_files_with_several_types(tmp_path: Path) -> None:
    kinds = ["list of float32", "fixed size", "large list", "list of float64"]
    vectors = rows()
    (tmp_path / "in").mkdir()
    for i, kind in enumerate(kinds):
        part = pa.table({"v": KINDS[kind](vectors[i * 60 : (i + 1) * 60])})
        written(tmp_path / "in" / f"{i}.parquet", part)
    (plan,) = opened(tmp_path / "in", "v").plan_shards(1, drop_missing=False)
    expected = np.stack(as_numbers(vectors, names("", "v")).columns, axis=1).astype(np.float32)
    assert np.array_equal(load_shard(plan, TaskContext()).x, expected, equal_nan=True)


def test_numbers_are_described_before_elements(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    segment = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 120)) + segment[:, None] * 5
    column = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 120)
    table = pa.table({"v": column, "n": rng.normal(size=300)})
    path = written(tmp_path / "in.parquet", table)
    manifest = run(path, tmp_path / "out", input={"features": ["v", "n"]}).manifest
    assert (len(manifest["features"]), manifest["other_features"]) == (100, 21)
    assert "n" in manifest["features"]


@pytest.mark.parametrize(
    ("code", "column", "words"),
    [
        ("vector.wrong_shape", [[1.0, 2.0]] * 60 + [[3.0]], ["row 60 of in.parquet", "1 ", "2"]),
        ("vector.wrong_shape", [None, [[1.0], [2.0]], [[1.0], []]], ["row 2 of", "0 "]),
        ("vector.wrong_size", pa.array([[], [], None], pa.list_(pa.float32())), ["'v'"]),
        ("feature.all_missing", pa.nulls(3, pa.list_(pa.float32())), ["'v'", "3 rows"]),
        ("features.not_numeric", [["a"], ["b"]], ["'v'"]),
        ("features.not_numeric", [{"type": 1, "values": [1.0]}] * 2, ["'v'"]),
        ("feature.missing", [[1.0, 2.0], [1.0, None], None], ["v[0]", "row 2"]),
        ("feature.infinite", [[1.0, 2.0], [1.0, np.inf]], ["v[1]", "row 1"]),
        ("feature.beyond_float32", [[1.0, 2.0], [1.0, 1e300]], ["v[1]", "row 1"]),
    ],
)  # fmt: skip
def test_refused_vectors(tmp_path: Path, code: str, column: Any, words: list[str]) -> None:
    path = written(tmp_path / "in.parquet", pa.table({"v": column}), 20)
    with raises(code, DataError) as caught:
        run(path, tmp_path / "out", input={"features": ["v"]}, segment={"n_clusters": 2})
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("code", "sections"),
    [
        ("id.nested", {"input": {"id": "v"}}),
        ("weight.not_numeric", {"input": {"weight": "v"}}),
        ("categorical.nested", {"prepare": {"categorical": {"v": "onehot"}}}),
        ("audit_columns.nested", {"audit": {"columns": ["v"]}}),
    ],
)
@pytest.mark.parametrize("kind", ["list of float32", "tensor", "Spark"])
def test_other_roles_are_refused(
    tmp_path: Path, code: str, sections: dict[str, Any], kind: str
) -> None:
    table = customers(240).append_column("v", KINDS[kind](rows()))
    pq.write_table(table, tmp_path / "in.parquet")
    job = {
        "input": {"path": str(tmp_path / "in.parquet"), **sections.get("input", {})},
        "output": {"path": str(tmp_path / "out")}, "segment": {"n_clusters": 2},
        **{name: keys for name, keys in sections.items() if name != "input"},
    }  # fmt: skip
    with raises(code, DataError):
        gpuseg.run(job)
