"""The export to ONNX: onnxruntime gives the labels of gpuseg, from the same raw columns."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from onnx import helper
from support.errors import raises
from support.fitted_outputs import (
    CASES,
    CHOSEN,
    customers_of_all_types,
    fitted,
    job_labels,
    kept_rows,
    new_rows,
)
from support.helpers import THOROUGH, Array, call, customers, job, manifest_of, write_files

import gpuseg
from gpuseg import KMeansModel
from gpuseg.arrow import to_numpy
from gpuseg.backends.feature_transform import FeatureTransform, Projection
from gpuseg.backends.types import Centers
from gpuseg.errors import ConfigError, ResourceError
from gpuseg.exports.onnx import elementwise
from gpuseg.exports.onnx.graph import DOUBLE, Graph
from gpuseg.exports.onnx.onnx_model import IR_VERSION, OPSET, REFUSED, onnx_model
from gpuseg.models.described_model import DescribedModel
from gpuseg.numerics.log1p import log1p
from gpuseg.numerics.yeo_johnson import yeo_johnson
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.encoding.vectors import as_matrix
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import TaskContext

WITH_CENTERS = [name for name, case in CASES.items() if case.algorithm != "dbscan"]

POWERS = np.array([-1.5, -0.0, 0.0, 0.3, 1.0, 1.999, 2.0, 2.7])

NO_WARNINGS = pytest.mark.filterwarnings("ignore:column .* a category that was not in the data")


@dataclass(frozen=True)
class Exported:
    """A model in onnxruntime, and what the file says of its inputs."""

    content: bytes
    session: Any
    inputs: list[dict[str, Any]]

    def run(self, table: pa.Table) -> dict[str, Array]:
        """Return the outputs for rows of raw columns."""
        feeds = {column["input"]: self._fed(table, column) for column in self.inputs}
        return self.run_fed(feeds)

    def run_fed(self, feeds: dict[str, Array]) -> dict[str, Array]:
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, feeds), strict=True))

    def _fed(self, table: pa.Table, column: dict[str, Any]) -> Array:
        """Return a column as the metadata says that its input takes it."""
        values, kind = table[column["column"]].combine_chunks(), column["values"]
        if kind == "vectors":
            shape = next(i.shape for i in self.session.get_inputs() if i.name == column["input"])
            return as_matrix(values, (shape[1],)).astype(np.float64)
        if kind == "numbers":
            return to_numpy(values.cast(pa.float64()))[:, None]
        if kind != "text":
            values = values.cast(pa.int64())
        return to_numpy(values.fill_null(column["missing"]))[:, None]


def exported(output: Path) -> Exported:
    (content,) = gpuseg.export(output, "onnx").values()
    return in_onnxruntime(content)


def in_onnxruntime(content: bytes) -> Exported:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = json.loads(session.get_modelmeta().custom_metadata_map["inputs"])
    return Exported(content, session, inputs)


exported_case = cache(lambda name: exported(fitted(name)))


@pytest.mark.slow
@NO_WARNINGS
@pytest.mark.parametrize("name", WITH_CENTERS if THOROUGH else CHOSEN)
def test_all_rows_get_the_segment_and_the_distance_of_gpuseg(name: str) -> None:
    """Not only beyond the margin of the contract: every bit is the same."""
    result, labels = exported_case(name).run(kept_rows(name)), job_labels(name)
    assert result.pop("segment").tolist() == labels.segment.tolist()
    np.testing.assert_array_equal(result.pop("distance"), labels.distance)
    for column, segments in result.items():
        np.testing.assert_array_equal(segments, labels.levels[column], column)
    result, scores = (
        exported_case(name).run(new_rows(name)),
        gpuseg.load_model(fitted(name)).score(new_rows(name), with_next=False),
    )
    for column, values in scores.columns().items():
        np.testing.assert_array_equal(result[column], values, column)


@pytest.mark.slow
@NO_WARNINGS
@pytest.mark.parametrize("name", WITH_CENTERS if THOROUGH else ["all_steps"])
def test_many_rows_get_the_segment_of_gpuseg(name: str) -> None:
    n_rows, n_fed = (1_000_000, 20_000) if THOROUGH else (20_000, 20_000)
    case, model = CASES[name], gpuseg.load_model(fitted(name))
    has_gaps = case.prepare.get("missing", "error") not in ("error", "drop")
    for seed in range(n_rows // n_fed):
        rows = customers_of_all_types(
            n_fed, seed=2 + seed, has_unseen=case.has_unseen, has_gaps=has_gaps
        )
        segment, distance = model.predict(rows, return_distance=True)
        result = exported_case(name).run(rows)
        n_others = np.count_nonzero(result["segment"] != segment)
        assert n_others == 0, f"{n_others} of {n_fed} rows have another segment"
        np.testing.assert_array_equal(result["distance"], distance)


@pytest.mark.parametrize("name", ["all_steps", "hierarchy", "cosine"])
def test_the_file_follows_the_specification(name: str) -> None:
    proto = onnx.load_from_string(exported_case(name).content)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.op_type for node in proto.graph.node}.isdisjoint({"Gemm", "MatMul", "ReduceSum"})
    metadata = {item.key: item.value for item in proto.metadata_props}
    manifest = manifest_of(fitted(name))
    model, names = gpuseg.load_model(fitted(name)), json.loads(metadata["segment_names"])
    assert json.loads(metadata["features"]) == list(model.features)
    assert (metadata["gpuseg"], metadata["run_id"]) == (gpuseg.__version__, manifest["run_id"])
    assert metadata["refused_segment"] == str(REFUSED)
    named = {str(s["segment"]): s["name"] for s in manifest["segments"] if "name" in s}
    assert names == named


ODD_NUMBERS = (np.nan, np.inf, -np.inf, 1e300, -1e300, 3e38, -1.0, -2.5, 0.0, 1e-300)


@pytest.mark.parametrize(
    "name",
    ["plain", "clip_log1p", "median", "zero", "drop", "large_offsets_scaled", "pca_share",
     "cosine_standardized", "yeo_johnson_unscaled"],
)  # fmt: skip
def test_a_row_that_gpuseg_refuses_has_no_segment(name: str) -> None:
    model, rows = gpuseg.load_model(fitted(name)), new_rows(name)
    columns = {c: np.array(rows[c].to_pylist(), np.float64) for c in model.pipeline.columns}
    for i, values in enumerate(columns.values()):  # each odd number alone, and in all columns
        first = i * len(ODD_NUMBERS)
        values[first : first + len(ODD_NUMBERS)] = ODD_NUMBERS
        values[-len(ODD_NUMBERS) :] = ODD_NUMBERS
    table = pa.table(columns)
    refused = refused_rows(model, table)
    assert refused.any()
    result = exported_case(name).run(table)
    np.testing.assert_array_equal(result["segment"] == REFUSED, refused)
    np.testing.assert_array_equal(np.isnan(result["distance"]), refused)
    others = table.filter(pa.array(~refused))
    np.testing.assert_array_equal(result["segment"][~refused], model.predict(others))


def refused_rows(model: gpuseg.SegmentModel, table: pa.Table) -> Array:
    """Return which rows gpuseg refuses, bool (n,)."""
    raw = model.pipeline.open(table)
    raw.transform(slice(0, raw.n_rows), "numba", TaskContext())
    refused = np.zeros(raw.n_rows, bool)
    refused[raw.bad_rows()] = True
    return refused


def test_a_row_without_direction_has_no_segment() -> None:
    rows = np.zeros((2, 4))
    rows[1, 2] = 1.0
    result = exported_case("cosine").run_fed({"embedding": rows})
    assert (result["segment"] == REFUSED).tolist() == [True, False]


def test_what_is_neither_true_nor_false_has_no_segment() -> None:
    feeds = {"spend": np.ones((3, 1)), "is_member": np.array([[0], [1], [2]])}
    feeds["is_known"] = np.full((3, 1), np.iinfo(np.int64).min)
    result = exported_case("boolean_categories").run_fed(feeds)
    assert (result["segment"] == REFUSED).tolist() == [False, False, True]


def test_inputs_have_other_names_than_outputs(tmp_path: Path) -> None:
    names = ("segment", "distance", "input_segment")
    rows = customers().rename_columns(["customer", *names])
    source = write_files(tmp_path / "in", [rows])
    gpuseg.run(job(source, tmp_path / "out", input={"features": list(names)}))
    model = exported(tmp_path / "out")
    by_column = {column["column"]: column["input"] for column in model.inputs}
    assert by_column["input_segment"] == "input_segment"
    assert len({*by_column.values(), "segment", "distance"}) == 5
    expected = gpuseg.load_model(tmp_path / "out").predict(rows)
    np.testing.assert_array_equal(model.run(rows)["segment"], expected)


def test_a_category_may_look_as_the_sign_of_a_missing_one(tmp_path: Path) -> None:
    names = ["(missing)", "(missing)", None, "((missing))"] * 100
    rows = customers(400).append_column("group", pa.array(names))
    source = write_files(tmp_path / "in", [rows])
    prepare = {"categorical": {"group": "frequency"}, "missing": "mean"}
    gpuseg.run(job(source, tmp_path / "out", prepare=prepare))
    model = exported(tmp_path / "out")
    assert {column["missing"] for column in model.inputs} == {None, "(((missing)))"}
    expected = gpuseg.load_model(tmp_path / "out").predict(rows)
    np.testing.assert_array_equal(model.run(rows)["segment"], expected)


def encoded(categories: tuple[str, ...], value_type: str) -> DescribedModel:
    """Return a model of one column of categories, each a segment of its own."""
    encoder = Encoder("a", "ordinal", value_type, categories)
    pipeline = FeaturePipeline((encoder,), ("a",), FeatureTransform.identity(1))
    values = np.arange(len(categories), dtype=np.float64)[:, None]
    model = KMeansModel(pipeline, Centers(values, np.zeros(1, np.float32)))
    return DescribedModel(model)


def test_only_categories_that_a_number_can_have_are_looked_up() -> None:
    source = encoded(("01", "1", "-0", "0", "1_0", "x", str(2**63 - 1)), "whole numbers")
    fed = np.array([[1], [0], [10], [2**63 - 1], [7]])
    result = in_onnxruntime(onnx_model(source).SerializeToString()).run_fed({"a": fed})
    assert result["segment"].tolist() == [1, 3, REFUSED, 6, REFUSED]
    rows = pa.table({"a": fed[[0, 1, 3], 0]})
    assert source.model.predict(rows).tolist() == [1, 3, 6]
    for category in (str(2**63), str(-(2**63)), "1" * 10_000):
        with raises("export.unsupported_column", ConfigError, parameter="to"):
            onnx_model(encoded((category, "1"), "whole numbers"))


def test_what_the_format_cannot_express_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with raises("export.algorithm_without_centers", ConfigError, parameter="to", value="onnx"):
        gpuseg.export(fitted("dbscan"), "onnx")
    monkeypatch.setattr("gpuseg.exports.onnx.onnx_model.MAX_FEATURES", 2)
    with raises("export.too_many_features", ConfigError, parameter="to"):
        gpuseg.export(fitted("plain"), "onnx")


def test_a_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gpuseg.exports.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with raises("export.package_missing", ResourceError, parameter="to", value="onnx"):
        gpuseg.export(fitted("plain"), "onnx")


def test_a_binary_file_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    done = call(capfd, "export", fitted("plain"), "--to", "onnx")
    assert (done.code, done.out) == (2, "")
    assert "--output" in done.err


# The arithmetic.


@pytest.mark.parametrize("near_one", [1.0, 1 + 2e-8, 1 - 2e-8])
def test_a_factor_near_one_is_not_dropped(near_one: float) -> None:
    """The optimizer of onnxruntime takes it for 1."""
    identity = FeatureTransform.identity(2)
    projection = Projection(np.zeros(2), np.array([[near_one, 0.2]]))
    for transform, names in (
        (replace(identity.take(np.array([0])), scale=np.array([near_one])), ("a",)),
        (replace(identity, projection=projection), ("a", "b")),
    ):
        pipeline = FeaturePipeline(tuple(map(Encoder, names)), names, transform)
        centers = Centers(np.array([[0.0], [1e6]]), np.zeros(1, np.float32))
        model = KMeansModel(pipeline, centers)
        source = DescribedModel(model)
        x = np.random.default_rng(0).uniform(0, 1e6, (2000, len(names)))
        feeds = {name: x[:, [f]] for f, name in enumerate(names)}
        result = in_onnxruntime(onnx_model(source).SerializeToString()).run_fed(feeds)
        np.testing.assert_array_equal(result["distance"], model.predict(x, return_distance=True)[1])


def evaluated(build: Any, x: Array) -> Array:
    """Return what a graph of one input makes of x, float64."""
    graph = Graph(["x", "y"])
    value = build(graph, graph.add_input("x", DOUBLE, x.shape[1], ""))
    graph.add_output("y", graph("Reshape", value, np.array([-1])), DOUBLE, "")
    proto = helper.make_model(
        graph.finish("test"), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (y,) = session.run(None, {"x": x})
    return np.asarray(y).reshape(x.shape)


def all_magnitudes(n: int) -> Array:
    """Return float32 of every exponent and both signs, as float64, and special values."""
    bits = np.random.default_rng(0).integers(2**32, size=n, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[~np.isnan(x)]  # some NaN would warn as they are cast
    special = [0.0, -0.0, -1.0, np.nextafter(np.float32(-1), np.float32(0)), np.inf, np.nan, 1e-45]
    return np.concatenate([x, np.array(special)]).astype(np.float64)[:, None]


def test_log1p_has_the_same_bits() -> None:
    x = all_magnitudes(20_000)
    x = np.concatenate([x, np.random.default_rng(1).normal(size=(20_000, 1)).astype(np.float32)])
    with np.errstate(all="ignore"):
        expected = log1p(x)
    np.testing.assert_array_equal(evaluated(elementwise.log1p, x), expected)


def test_yeo_johnson_has_the_same_bits() -> None:
    x = all_magnitudes(4_000).repeat(len(POWERS), axis=1)
    x[::2] = np.random.default_rng(1).normal(size=x[::2].shape).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = np.stack([yeo_johnson(x[:, i], t) for i, t in enumerate(POWERS)], axis=1)
    result = evaluated(lambda graph, value: elementwise.yeo_johnson(graph, value, POWERS), x)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(result[finite], expected[finite])
    assert not np.isfinite(result[~finite]).any()
