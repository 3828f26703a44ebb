"""Jobs with categories, powers and components: same bits for any run, and for saved models."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.errors import raises
from support.helpers import THOROUGH, cut, manifest_of, read_parts, run, write_files

import gpuseg
from gpuseg import KMeans, Preprocessor
from gpuseg.jobs.memory_plan import MemoryPlan

PREPARE = {
    "missing": "median",
    "transform": {"spend": "yeo-johnson", "orders": "log1p", "twice": "log1p"},
    "categorical": {"country": "onehot", "city": "frequency", "plan": ["basic", "plus", "pro"]},
    "max_categories": 3,
    "missing_indicator": True,
    "drop_correlated": 0.95,
    "pca": 0.9,
}
INPUT = {"id": "id", "features": None}
SEGMENT = {"n_clusters": 4, "random_state": 0}


def shoppers(n: int = 5000) -> pa.Table:
    rng = np.random.default_rng(n)
    spend = rng.lognormal(3, 1, n)
    orders = rng.poisson(3, n)
    return pa.table({
        "id": np.arange(n),
        "spend": pa.array(spend, mask=rng.random(n) < 0.1),
        "orders": orders,
        "country": pa.array(rng.choice(["DE", "FR", "IT", "PT"], n, p=[0.5, 0.3, 0.15, 0.05]),
                            mask=rng.random(n) < 0.02),
        "city": pa.array(rng.integers(0, 40, n)).cast(pa.string()).dictionary_encode(),
        "plan": rng.choice(["basic", "plus", "pro"], n),
        "twice": orders * 2,
        "note": ["no feature"] * n,
    })  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("in") / "a", [shoppers()], 700)


@pytest.fixture(scope="module")
def plain(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "plain"
    run(source, out, input=INPUT, prepare=PREPARE, segment=SEGMENT)
    return out


def results_of(folder: Path) -> tuple[Any, ...]:
    parts, model = read_parts(folder), gpuseg.load_model(folder)
    manifest = manifest_of(folder)
    tensors = {name: a.tobytes() for name, a in model.pipeline.tensors().items()}
    return (
        parts["id"].to_pylist(), parts["segment"].to_pylist(), parts["distance"].to_pylist(),
        tensors, model.centers.values.tobytes(), manifest["preparation"], manifest["segments"],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant", ["refiled", "two workers", "numpy", "spilled", *["three threads"] * THOROUGH]
)
def test_same_bits(
    variant: str,
    source: Path,
    plain: Path,
    tmp_path: Path,
    two_workers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime: dict[str, Any] = {"n_workers": 1, "backend": "numba"}
    if variant == "refiled":
        source = write_files(tmp_path / "in", cut(shoppers(), 1, 3333, 17), 211)
        runtime["threads_per_worker"] = 3
    elif variant == "two workers":
        runtime = two_workers
    elif variant == "three threads":
        runtime["threads_per_worker"] = 3
    elif variant == "numpy":
        runtime["backend"] = variant
    else:
        spilled = MemoryPlan("spilled", "asked for", 0, 0, 1)
        monkeypatch.setattr("gpuseg.jobs.plan.plan_memory", lambda *_: spilled)
    out = tmp_path / "out"
    run(source, out, input=INPUT, prepare=PREPARE, segment=SEGMENT, runtime=runtime)
    for result, expected in zip(results_of(out), results_of(plain), strict=True):
        assert result == expected


def test_the_saved_model_gives_training_rows_the_same_labels(plain: Path) -> None:
    model, labels = gpuseg.load_model(plain), read_parts(plain)["segment"].to_pylist()
    table = shoppers()
    assert isinstance(model, gpuseg.KMeansModel)
    assert model.pipeline.columns == ("spend", "orders", "country", "city", "plan")
    for X in (table, table.to_pandas(), table.drop_columns(["note", "twice", "id"])):
        assert model.predict(X).tolist() == labels
    x = model.pipeline.transform(table, "numba")
    square = ((x.astype(np.float64) - model.centers.values[labels]) ** 2).sum(axis=1)
    distance = read_parts(plain)["distance"].to_numpy()
    np.testing.assert_allclose(np.sqrt(square), distance, rtol=1e-6)
    with raises("column.missing", gpuseg.DataError, parameter="X"):
        model.predict(table.drop_columns(["plan"]))
    with raises("array.has_categories", gpuseg.DataError, parameter="X"):
        model.predict(np.zeros((2, 5)))


def test_the_estimator_does_the_same(plain: Path) -> None:
    frame = shoppers().drop_columns(["id", "note"]).to_pandas()
    frame["city"] = frame["city"].astype(str)
    params = {("transforms" if key == "transform" else key): v for key, v in PREPARE.items()}
    preprocessor = Preprocessor(**params)
    z = preprocessor.fit_transform(frame)
    model = gpuseg.load_model(plain)
    assert z.tobytes() == model.pipeline.transform(shoppers(), "numba").tobytes()
    assert preprocessor.features_ == list(model.features)
    labels = KMeans(4, random_state=0).fit_predict(z)
    assert labels.tolist() == read_parts(plain)["segment"].to_pylist()


def test_the_manifest_describes_the_preprocessing(plain: Path) -> None:
    facts = manifest_of(plain)
    preparation = facts["preparation"]
    assert [(e["column"], e["encoding"], len(e["features"])) for e in preparation["encoded"]] == [
        ("country", "onehot", 4), ("city", "frequency", 1), ("plan", "ordinal", 1),
        ("spend", "is missing", 1),
    ]  # fmt: skip
    assert preparation["dropped"].keys() == {"twice"}
    pca = preparation["pca"]
    assert 0.9 <= pca["variance_kept"] < 1
    ratios = pca["explained_variance_ratio"]
    assert pca["n_components"] == len(ratios) < len(facts["features"])
    features = facts["features"]
    table = shoppers().to_pandas()
    share = (table.country == "DE").mean()
    assert features["country=DE"]["mean"] == pytest.approx(share)
    assert features["country=(other)"]["mean"] == pytest.approx(
        table.country.isin(["IT", "PT"]).mean()
    )
    assert features["spend"]["transform"] == "yeo-johnson"
    assert features["spend"]["outliers"] < 0.01
    assert -1 < features["spend"]["power"] < 1
    for segment in facts["segments"]:  # a projection loses information, but keeps the order
        assert segment["center"].keys() == features.keys()
    labels = read_parts(plain)["segment"].to_numpy()
    centers = [segment["center"]["orders"] for segment in facts["segments"]]
    exact = pd.Series(np.log1p(table.orders.to_numpy())).groupby(labels).mean()
    assert np.argsort(centers).tolist()[-1] == int(exact.argmax())


def test_missing_categories_are_refused_or_dropped(source: Path, tmp_path: Path) -> None:
    columns: dict[str, Any] = {"id": "id", "features": ["orders"]}
    prepare = {"categorical": {"country": "onehot"}}
    with raises("category.missing", gpuseg.DataError, parameter="missing") as caught:
        run(source, tmp_path / "out", input=columns, prepare=prepare)
    assert "'country'" in caught.value.problem
    run(source, tmp_path / "out", input=columns, prepare={**prepare, "missing": "drop"})
    n_missing = shoppers()["country"].null_count
    assert manifest_of(tmp_path / "out")["input"]["rows_dropped"] == n_missing


def test_dbscan_on_components(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    gpuseg.run({
        "input": {"path": str(source), "id": "id"},
        "prepare": {**PREPARE, "pca": 2},
        "segment": {"algorithm": "dbscan", "eps": 0.3, "min_samples": 10},
        "output": {"path": str(out)},
    })  # fmt: skip
    model = gpuseg.load_model(out)
    labels = read_parts(out)["segment"].to_numpy()
    core = model.predict(shoppers())
    assert (core[labels >= 0] >= 0).all() and len(set(labels)) > 1


@pytest.mark.parametrize(("prepare", "code", "parameter"), [
    ({"categorical": {"note": "onehot"}}, "feature.constant_category", "scale"),
    ({"categorical": {"plan": ["pro", "basic"]}}, "category.not_in_order", "categorical"),
    ({"transform": {"country": "log1p"}, "categorical": {"country": "onehot"}},
     "transform.unknown_feature", "transform"),
    ({"pca": 9}, "pca.too_many_components", "pca"),
])  # fmt: skip
def test_refuses_what_the_data_does_not_allow(
    source: Path, tmp_path: Path, prepare: dict[str, Any], code: str, parameter: str
) -> None:
    prepare = {"missing": "mean", **prepare}
    with raises(code, parameter=parameter):
        run(source, tmp_path / "out", input=INPUT, prepare=prepare, segment=SEGMENT)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("prepare", "message"), [
    ({"categorical": {"nowhere": "onehot"}}, "'nowhere'"),
    ({"missing": "error", "missing_indicator": True}, "missing_indicator"),
    ({"max_categories": 1}, "prepare.max_categories = 1"),
    ({"pca": 0}, "prepare.pca = 0"),
    ({"drop_correlated": 2.0}, "prepare.drop_correlated = 2.0"),
])  # fmt: skip
def test_refuses_parameters(
    source: Path, tmp_path: Path, prepare: dict[str, Any], message: str
) -> None:
    prepare = {"missing": "mean", **prepare}
    with pytest.raises(ValueError) as error:
        run(source, tmp_path / "out", input=INPUT, prepare=prepare, segment=SEGMENT)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def documented_block() -> dict[str, Any]:
    """The example of [prepare] in the docs, unchanged."""
    text = (Path(__file__).parents[2] / "docs" / "guide" / "preprocessing.md").read_text()
    (block,) = re.findall(r"```toml\n(\[prepare\]\nduplicates[^`]*)```", text)
    return tomllib.loads(block)["prepare"]


def test_the_documented_example_runs(source: Path, tmp_path: Path) -> None:
    prepare = documented_block()
    run(source, tmp_path / "out", input=INPUT, prepare=prepare, segment=SEGMENT)
    features = manifest_of(tmp_path / "out")["features"]
    assert len(features["orders"]["clip"]) == 2 and "clip" not in features["country=DE"]
    model = gpuseg.load_model(tmp_path / "out")
    labels = read_parts(tmp_path / "out")["segment"].to_pylist()
    assert model.predict(shoppers()).tolist() == labels


def test_centers_beyond_the_range_of_a_power_are_finite(tmp_path: Path) -> None:
    """With few components, a center may be outside the range of a bounded transform."""
    rng = np.random.default_rng(0)
    orders = rng.poisson(2, 500).astype(float)
    orders[:5] = 3000
    table = pa.table({"orders": orders, "age": rng.normal(40, 9, 500), "spend": orders * 5 + 1})
    prepare = {"transform": {"orders": "yeo-johnson"}, "pca": 1}
    source = write_files(tmp_path / "in", [table])
    for k in (3, 8):
        out = tmp_path / f"out{k}"
        run(source, out, input={"id": None, "features": None}, prepare=prepare,
            segment={"n_clusters": k})  # fmt: skip
        for segment in manifest_of(out)["segments"]:
            assert 0 <= segment["center"]["orders"] <= 3000.001
        model = gpuseg.load_model(out)
        assert isinstance(model, gpuseg.KMeansModel) and np.isfinite(model.cluster_centers_).all()


@pytest.mark.parametrize(("columns", "prepare", "name"), [
    ({"c": ["a", "b"] * 20, "c=a": range(40)}, {"categorical": {"c": "onehot"}}, "c=a"),
    ({"x": [None, 1.0] * 20, "x is missing": range(40)}, {"missing_indicator": True},
     "x is missing"),
    ({"c": ["a", "(missing)", None, "b"] * 10}, {"categorical": {"c": "onehot"}}, "c=(missing)"),
    ({"c": ["a", "a", "(other)", "(other)", "b", "d"] * 7},
     {"categorical": {"c": "onehot"}, "max_categories": 3}, "c=(other)"),
])  # fmt: skip
def test_duplicate_feature_names_are_refused(
    tmp_path: Path, columns: dict[str, Any], prepare: dict[str, Any], name: str
) -> None:
    source = write_files(tmp_path / "in", [pa.table({k: list(v) for k, v in columns.items()})])
    with raises("feature.duplicate_name", gpuseg.DataError, parameter="features") as caught:
        run(source, tmp_path / "out", input={"id": None, "features": None},
            prepare={"missing": "mean", **prepare})  # fmt: skip
    assert f"'{name}'" in caught.value.problem


def test_ids_cannot_be_categories(source: Path, tmp_path: Path) -> None:
    prepare = {"categorical": {"id": "frequency"}}
    with raises("categorical.has_id", gpuseg.ConfigError, parameter="categorical"):
        run(source, tmp_path / "out", input=INPUT, prepare=prepare)


def test_a_nearly_constant_category_is_dropped_completely(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.choice(["a", "b", "c"], 3000, p=[0.98, 0.01, 0.01])
    table = pa.table({"x": rng.normal(size=3000), "kind": kinds, "one": ["same"] * 3000})
    prepare = {"categorical": {"kind": "onehot", "one": "onehot"}, "drop_near_constant": True}
    out = tmp_path / "out"
    run(write_files(tmp_path / "in", [table]), out, input={"id": None, "features": None},
        prepare=prepare)  # fmt: skip
    assert gpuseg.load_model(out).features == ("x",)
    reasons = manifest_of(out)["preparation"]["dropped"]
    assert reasons["one=same"].startswith("100.0% ")
