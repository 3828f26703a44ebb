"""Segmentations as models of MLflow: the labels of the job by pyfunc, in Spark, from a registry."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from one_answer.spark_doors import by_map_in_arrow, by_spark_udf
from support.errors import raises
from support.fitted_outputs import CASES, fitted, job_labels, kept_rows, new_rows
from support.helpers import THOROUGH, call, manifest_of

import gpuseg
from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.mlflow.load import PyfuncModel
from gpuseg.models.example_row import columns_with_optional_values, example_row
from gpuseg.models.loading import load_output

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its modules for language models
    pyfunc = pytest.importorskip("mlflow.pyfunc")

import mlflow
from mlflow.exceptions import MlflowException

SOME_CASES = [
    "types_of_numbers", "odd_names", "ordinal", "boolean_categories", "drop", "hierarchy", "dbscan",
    "all_steps",
]  # fmt: skip

TRIED_CASES = list(CASES) if THOROUGH else SOME_CASES

pytestmark = [
    pytest.mark.filterwarnings("ignore:column .* that was not in the data of the fit"),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),  # MLflow of pandas
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that returns the folder of MLflow's model of a case."""

    @cache
    def folder(case: str) -> Path:
        path = tmp_path_factory.mktemp("mlflow") / case
        gpuseg.mlflow.save_model(fitted(case), path)
        return path

    return folder


def as_pandas(rows: pa.Table) -> pd.DataFrame:
    """Return rows as pandas has them; vectors of Spark ML, which it has not, become lists."""
    for i, name in enumerate(rows.column_names):
        if pa.types.is_struct(rows.schema.types[i]):
            values = [None if v is None else v["values"] for v in rows[name].to_pylist()]
            rows = rows.set_column(i, name, pa.array(values))
    return rows.to_pandas()


@pytest.mark.parametrize("case", TRIED_CASES)
def test_pyfunc_gives_the_labels_of_the_job(saved: Any, case: str) -> None:
    model = pyfunc.load_model(str(saved(case)))
    frame = as_pandas(kept_rows(case)).iloc[::-1]
    scored = model.predict(frame).iloc[::-1]
    labels = job_labels(case)
    assert scored.index.equals(frame.index[::-1])
    assert scored.dtypes[["segment", "distance"]].tolist() == [np.int32, np.float32]
    np.testing.assert_array_equal(scored["segment"], labels.segment)
    np.testing.assert_array_equal(scored["distance"], labels.distance)
    names = load_output(fitted(case)).model.level_columns()
    assert list(scored) == ["segment", "distance", *names]
    for name in names:
        np.testing.assert_array_equal(scored[name], labels.levels[name])


@pytest.mark.parametrize("case", TRIED_CASES)
def test_pyfunc_gives_the_scores_of_the_model_for_new_rows(saved: Any, case: str) -> None:
    params = {} if case.startswith("dbscan") else {"next": True, "confidence": True}
    scored = pyfunc.load_model(str(saved(case))).predict(as_pandas(new_rows(case)), params=params)
    expected = gpuseg.load_model(fitted(case)).predict_frame(new_rows(case)).to_pandas()
    pd.testing.assert_frame_equal(scored, expected, check_exact=True)


@pytest.mark.parametrize("case", TRIED_CASES)
def test_the_example_is_a_row_that_the_model_scores(case: str) -> None:
    model = gpuseg.load_model(fitted(case))
    row = example_row(model.pipeline)
    assert tuple(row) == model.pipeline.columns
    assert len(model.score(pa.Table.from_pylist([row])).segment) == 1
    for name in model.pipeline.columns:
        gap = pa.table({n: pa.nulls(1) if n == name else pa.array([v]) for n, v in row.items()})
        if name in columns_with_optional_values(model.pipeline):
            model.score(gap)
        else:
            with raises("rows.not_transformable"):
                model.score(gap)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_the_only_column_is_needed_for_a_direction(fill: float) -> None:
    pipeline = gpuseg.load_model(fitted("cosine")).pipeline
    transform = pipeline.feature_transform
    filled = replace(transform, fill=np.full_like(transform.fill, fill))
    optional = columns_with_optional_values(replace(pipeline, feature_transform=filled))
    assert optional == frozenset(["embedding"] * bool(fill))


def test_the_folder_describes_itself_and_has_no_customers(saved: Any) -> None:
    folder = saved("all_steps")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {path for path in files if path.startswith("data/")} == {
        "data/segments/_manifest.json",
        "data/segments/_model/drift.safetensors",
        "data/segments/_model/model.json",
        "data/segments/_model/model.safetensors",
    }
    assert not any(path.endswith((".pkl", ".py", ".parquet")) for path in files)
    described = mlflow.models.Model.load(str(folder))
    assert described.flavors["python_function"]["loader_module"] == "gpuseg.mlflow"
    assert described.metadata["gpuseg_run_id"] == manifest_of(fitted("all_steps"))["run_id"]
    assert f"gpuseg[mlflow]=={gpuseg.__version__}" in (folder / "requirements.txt").read_text()
    served = json.loads((folder / "serving_input_example.json").read_text())["dataframe_split"]
    assert served["columns"] == described.signature.inputs.input_names()
    model = gpuseg.mlflow.load_model(str(folder))
    assert model.to_files() == gpuseg.load_model(fitted("all_steps")).to_files()


@pytest.mark.parametrize("is_file", [False, True])
def test_more_requirements_stand_beside_those_of_the_model(tmp_path: Path, is_file: bool) -> None:
    (tmp_path / "more.txt").write_text("duckdb>=1\n")
    extra = str(tmp_path / "more.txt") if is_file else ["duckdb>=1"]
    gpuseg.mlflow.save_model(fitted("plain"), tmp_path / "model", extra_pip_requirements=extra)
    lines = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert lines[::2] == [f"gpuseg[mlflow]=={gpuseg.__version__}", "duckdb>=1"]


def test_the_signature_has_the_columns(saved: Any) -> None:
    signature = mlflow.models.Model.load(str(saved("one_hot_of_all"))).signature
    inputs = [(spec["name"], spec["type"], spec["required"]) for spec in signature.inputs.to_dict()]
    assert inputs == [("spend", "any", True), ("country", "string", True), ("store", "long", True)]
    signature = mlflow.models.Model.load(str(saved("ordinal"))).signature
    assert signature.inputs.required_input_names() == []
    assert signature.outputs.input_names() == ["segment", "distance"]
    assert [spec.name for spec in signature.params] == ["next", "confidence"]
    assert mlflow.models.Model.load(str(saved("dbscan"))).signature.params is None


def test_no_column_may_be_absent(saved: Any) -> None:
    """MLflow lets a column without required values be absent; gpuseg does not."""
    frame = as_pandas(new_rows("ordinal"))
    with raises("column.missing", DataError):
        pyfunc.load_model(str(saved("ordinal"))).predict(frame.rename(columns={"level": "levle"}))
    with pytest.raises(MlflowException, match="spend"):
        pyfunc.load_model(str(saved("one_hot_of_all"))).predict(frame.drop(columns=["spend"]))


@pytest.mark.parametrize("kind", ["int64", "int32", "float32", "Int64", "decimal", "string"])
def test_columns_of_other_types(saved: Any, kind: str) -> None:
    model = pyfunc.load_model(str(saved("plain")))
    frame = as_pandas(kept_rows("plain")).round()
    values = frame.map(Decimal) if kind == "decimal" else frame.astype(kind)
    if kind == "string":
        with raises("column.not_numeric", DataError):
            model.predict(values)
    else:
        pd.testing.assert_frame_equal(model.predict(values), model.predict(frame))


def test_columns_may_be_declared_as_floats(tmp_path: Path) -> None:
    gpuseg.mlflow.save_model(fitted("all_steps"), tmp_path / "model", number_type="double")
    model = pyfunc.load_model(str(tmp_path / "model"))
    frame = as_pandas(kept_rows("all_steps"))
    with pytest.raises(MlflowException, match="orders"):
        model.predict(frame)
    scored = model.predict(frame.astype({"orders": float, "signup": float}))
    np.testing.assert_array_equal(scored["segment"], job_labels("all_steps").segment)
    np.testing.assert_array_equal(scored["distance"], job_labels("all_steps").distance)
    with raises("mlflow.unknown_number_type", ConfigError, parameter="number_type"):
        gpuseg.mlflow.save_model(fitted("plain"), tmp_path / "other", number_type="long")
    assert not (tmp_path / "other").exists()


def test_parameters_that_do_not_exist_are_refused() -> None:
    model = PyfuncModel(load_output(fitted("dbscan")))
    with raises("mlflow.unknown_param", ConfigError, parameter="params"):
        model.predict(as_pandas(new_rows("dbscan")), {"next": True})
    model = PyfuncModel(load_output(fitted("plain")))
    for params in ({"level": True}, {"next": "yes"}):
        with raises("mlflow.unknown_param", ConfigError):
            model.predict(as_pandas(new_rows("plain")), params)


@pytest.mark.parametrize("version", ["2.22.1", "3.16.1"])
def test_versions_of_mlflow_that_mix_up_rows_are_refused(
    saved: Any, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    folder = str(saved("all_steps"))
    monkeypatch.setattr(mlflow, "__version__", version)
    with raises("mlflow.too_old", ResourceError):
        pyfunc.load_model(folder)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store of runs and models in files, which needs no database."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    mlflow.set_registry_uri((tmp_path / "store").as_uri())
    yield
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_registry_of_mlflow(store: None) -> None:
    for case in ("plain", "dbscan"):
        model = gpuseg.load_model(fitted(case))
        info = gpuseg.mlflow.log_model(model, "segments", registered_model_name="shop")
    assert "gpuseg_run_id" not in info.metadata  # of a model without its output
    mlflow.MlflowClient().set_registered_model_alias("shop", "champion", "1")
    champion = gpuseg.mlflow.load_model("models:/shop@champion")
    assert champion.to_files() == gpuseg.load_model(fitted("plain")).to_files()
    scored = pyfunc.load_model("models:/shop/2").predict(as_pandas(kept_rows(case)))
    np.testing.assert_array_equal(scored["segment"], job_labels(case).segment)


def test_what_is_no_model_of_gpuseg_is_refused(tmp_path: Path) -> None:
    other = mlflow.models.Model(flavors={"other": {}})
    (tmp_path / "other").mkdir()
    other.save(str(tmp_path / "other" / "MLmodel"))
    with raises("mlflow.other_flavor", DataError):
        gpuseg.mlflow.load_model(str(tmp_path / "other"))
    with raises("model.not_found", DataError):
        gpuseg.mlflow.save_model(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_mlflow_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with raises("mlflow.missing", ResourceError):
        gpuseg.mlflow.save_model(fitted("plain"), tmp_path / "new")


def test_the_command_exports_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "exported"
    assert call(capfd, "export", fitted("plain"), "--to", "mlflow", "-o", target).code == 0
    assert call(capfd, "export", fitted("plain"), "--to", "mlflow", "-o", target).code == 2
    again = call(
        capfd, "export", fitted("hierarchy"), "--to", "mlflow", "-o", target, "--overwrite"
    )
    assert again.code == 0
    loaded = gpuseg.mlflow.load_model(str(target))
    assert loaded.to_files() == gpuseg.load_model(fitted("hierarchy")).to_files()
    assert call(capfd, "export", fitted("plain"), "--to", "mlflow").code == 2


# Spark.


def spark_frame(spark: Any, case: str, folder: Path) -> Any:
    """Return the rows of a case as a frame of Spark, in the order of the job's output."""
    pq.write_table(kept_rows(case), folder / "rows.parquet")
    return spark.read.parquet(str(folder / "rows.parquet"))


def assert_labels_of_job(scored: pa.Table, case: str) -> None:
    labels = job_labels(case)
    assert scored["id"].to_pylist() == labels.ids
    np.testing.assert_array_equal(scored["segment"], labels.segment)
    np.testing.assert_array_equal(scored["distance"], labels.distance)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["all_steps", *["hierarchy", "dbscan"] * THOROUGH])
def test_map_in_arrow_gives_the_labels_of_the_job(spark: Any, tmp_path: Path, case: str) -> None:
    frame = spark_frame(spark, case, tmp_path)
    assert_labels_of_job(by_map_in_arrow(fitted(case), frame, "customer"), case)


@pytest.mark.slow
@pytest.mark.skipif(not THOROUGH, reason="takes 10 s: --thorough")
@pytest.mark.parametrize("case", ["all_steps", "hierarchy", "dbscan"])
def test_spark_udf_gives_the_labels_of_the_job(
    spark: Any, saved: Any, tmp_path: Path, case: str
) -> None:
    frame = spark_frame(spark, case, tmp_path)
    assert_labels_of_job(by_spark_udf(saved(case), frame, "customer"), case)
