"""Jobs with categories, powers and components: the same bits anyhow, and replayed to the bit."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.helpers import cut, manifest_of, read_parts, run, write_files

import gpuseg
from gpuseg import KMeans, Preprocessor
from gpuseg.jobs.plan import MemoryPlan

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


def outcome(folder: Path) -> tuple[Any, ...]:
    parts, model = read_parts(folder), gpuseg.load_model(folder)
    manifest = manifest_of(folder)
    tensors = {name: a.tobytes() for name, a in model.replay.tensors().items()}
    return (
        parts["id"].to_pylist(), parts["segment"].to_pylist(), parts["distance"].to_pylist(),
        tensors, model.centers.values.tobytes(), manifest["preparation"], manifest["segments"],
    )  # fmt: skip


@pytest.mark.parametrize("how", ["refiled", "two workers", "three threads", "numpy", "streamed"])
def test_same_bits(
    how: str,
    source: Path,
    plain: Path,
    tmp_path: Path,
    two_workers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime: dict[str, Any] = {"n_workers": 1, "backend": "numba"}
    if how == "refiled":
        source = write_files(tmp_path / "in", cut(shoppers(), 1, 3333, 17), 211)
    elif how == "two workers":
        runtime = two_workers
    elif how == "three threads":
        runtime["threads_per_worker"] = 3
    elif how == "numpy":
        runtime["backend"] = how
    else:
        streamed = MemoryPlan("streamed", "asked for", 0, 0, 1)
        monkeypatch.setattr("gpuseg.jobs.run.plan_memory", lambda *_: streamed)
    out = tmp_path / "out"
    run(source, out, input=INPUT, prepare=PREPARE, segment=SEGMENT, runtime=runtime)
    for one, other in zip(outcome(out), outcome(plain), strict=True):
        assert one == other


def test_training_rows_read_again_get_what_the_fit_gave_them(plain: Path) -> None:
    model, labels = gpuseg.load_model(plain), read_parts(plain)["segment"].to_pylist()
    table = shoppers()
    assert isinstance(model, gpuseg.KMeansModel)
    assert model.replay.columns == ("spend", "orders", "country", "city", "plan")
    for X in (table, table.to_pandas(), table.drop_columns(["note", "twice", "id"])):
        assert model.predict(X).tolist() == labels
    x = model.replay.rows(table, "numba")
    square = ((x.astype(np.float64) - model.centers.values[labels]) ** 2).sum(axis=1)
    distance = read_parts(plain)["distance"].to_numpy()
    np.testing.assert_allclose(np.sqrt(square), distance, rtol=1e-6)
    with pytest.raises(gpuseg.DataError, match="X has no column 'plan': must have spend, orders"):
        model.predict(table.drop_columns(["plan"]))
    with pytest.raises(gpuseg.DataError, match="'country' holds categories: must be a data frame"):
        model.predict(np.zeros((2, 5)))


def test_the_estimator_does_the_same(plain: Path) -> None:
    frame = shoppers().drop_columns(["id", "note"]).to_pandas()
    frame["city"] = frame["city"].astype(str)
    own = {("transforms" if name == "transform" else name): how for name, how in PREPARE.items()}
    preparer = Preprocessor(**own)
    z = preparer.fit_transform(frame)
    model = gpuseg.load_model(plain)
    assert z.tobytes() == model.replay.rows(shoppers(), "numba").tobytes()
    assert preparer.features_ == list(model.features)
    labels = KMeans(4, random_state=0).fit_predict(z)
    assert labels.tolist() == read_parts(plain)["segment"].to_pylist()


def test_the_manifest_tells_what_was_done(plain: Path) -> None:
    facts = manifest_of(plain)
    done = facts["preparation"]
    assert [(own["column"], own["encoding"], len(own["features"])) for own in done["encoded"]] == [
        ("country", "onehot", 4), ("city", "frequency", 1), ("plan", "ordinal", 1),
        ("spend", "is missing", 1),
    ]  # fmt: skip
    assert done["dropped"].keys() == {"twice"}
    assert 0.9 <= done["pca"]["variance_kept"] < 1
    assert (
        done["pca"]["n_components"]
        == len(done["pca"]["explained_variance_ratio"])
        < len(facts["features"])
    )
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
    for segment in facts["segments"]:  # a projection loses some, but not the order
        assert segment["center"].keys() == features.keys()
    labels = read_parts(plain)["segment"].to_numpy()
    found = [segment["center"]["orders"] for segment in facts["segments"]]
    exact = pd.Series(np.log1p(table.orders.to_numpy())).groupby(labels).mean()
    assert np.argsort(found).tolist()[-1] == int(exact.argmax())


def test_a_gap_among_categories_is_refused_where_none_may_be(source: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"id": "id", "features": ["orders"]}
    prepare = {"categorical": {"country": "onehot"}}
    with pytest.raises(gpuseg.DataError, match="feature 'country=DE': "):
        run(source, tmp_path / "out", input=given, prepare=prepare)
    run(source, tmp_path / "out", input=given, prepare={**prepare, "missing": "drop"})
    gaps = shoppers()["country"].null_count
    assert manifest_of(tmp_path / "out")["input"]["rows_dropped"] == gaps


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


@pytest.mark.parametrize(("prepare", "message"), [
    ({"categorical": {"note": "onehot"}}, "feature 'note=no feature': the same for all rows"),
    ({"categorical": {"nowhere": "onehot"}}, "prepare.categorical: no column 'nowhere' in"),
    ({"categorical": {"plan": ["pro", "basic"]}}, "prepare.categorical.plan: 1,7"),
    ({"transform": {"country": "log1p"}, "categorical": {"country": "onehot"}}, "not a feature"),
    ({"missing": "error", "missing_indicator": True}, "no row with a gap stays with"),
    ({"max_categories": 1}, "prepare.max_categories = 1: must be greater than or equal to 2"),
    ({"pca": 0}, "prepare.pca = 0: must be a share of the variance"),
    ({"missing": "mean", "pca": 9}, "pca = 9: must be at most the number of columns that are left"),
    ({"drop_correlated": 2.0}, "prepare.drop_correlated = 2.0"),
])  # fmt: skip
def test_refuses(source: Path, tmp_path: Path, prepare: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        run(
            source,
            tmp_path / "out",
            input=INPUT,
            prepare={"missing": "mean", **prepare},
            segment=SEGMENT,
        )
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


def test_centres_beyond_what_a_power_reaches_are_numbers(tmp_path: Path) -> None:
    """With few components a centre maps back to where a bounded transform has no value."""
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
def test_features_of_one_name_are_refused(
    tmp_path: Path, columns: dict[str, Any], prepare: dict[str, Any], name: str
) -> None:
    source = write_files(tmp_path / "in", [pa.table({k: list(v) for k, v in columns.items()})])
    with pytest.raises(gpuseg.DataError) as error:
        run(source, tmp_path / "out", input={"id": None, "features": None},
            prepare={"missing": "mean", **prepare})  # fmt: skip
    assert f"two features would be called '{name}'" in str(error.value)


def test_ids_are_no_categories(source: Path, tmp_path: Path) -> None:
    prepare = {"categorical": {"id": "frequency"}}
    with pytest.raises(gpuseg.ConfigError, match="categorical holds 'id', which is the id"):
        run(source, tmp_path / "out", input=INPUT, prepare=prepare)


def test_a_category_that_is_nearly_constant_is_left_out_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.choice(["a", "b", "c"], 3000, p=[0.98, 0.01, 0.01])
    table = pa.table({"x": rng.normal(size=3000), "kind": kinds, "one": ["same"] * 3000})
    prepare = {"categorical": {"kind": "onehot", "one": "onehot"}, "drop_near_constant": True}
    out = tmp_path / "out"
    run(write_files(tmp_path / "in", [table]), out, input={"id": None, "features": None},
        prepare=prepare)  # fmt: skip
    assert gpuseg.load_model(out).features == ("x",)
    why = manifest_of(out)["preparation"]["dropped"]
    assert why["one=same"] == "100.0% of the rows are of one category"
