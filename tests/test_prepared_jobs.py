"""Jobs with categories, powers and components: the same bits anyhow, and replayed to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import cut, manifest_of, read_parts, run, write_files

import gpuseg
from gpuseg import KMeans, Preparer
from gpuseg.jobs.forecast import MemoryPlan

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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime: dict[str, Any] = {"n_workers": 1, "backend": "numba"}
    if how == "refiled":
        source = write_files(tmp_path / "in", cut(shoppers(), 1, 3333, 17), 211)
    elif how == "two workers":
        runtime = {"cluster": "dask", "n_workers": 2}
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
    assert isinstance(model, gpuseg.Model)
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
    preparer = Preparer(**own)
    z = preparer.fit_transform(frame)
    model = gpuseg.load_model(plain)
    assert z.tobytes() == model.replay.rows(shoppers(), "numba").tobytes()
    assert preparer.features_ == list(model.features)
    labels = KMeans(4, random_state=0).fit_predict(z)
    assert labels.tolist() == read_parts(plain)["segment"].to_pylist()


def test_the_manifest_tells_what_was_done(plain: Path) -> None:
    facts = manifest_of(plain)
    done = facts["preparation"]
    assert [(own["column"], own["as"], len(own["features"])) for own in done["encoded"]] == [
        ("country", "onehot", 4), ("city", "frequency", 1), ("plan", "ordinal", 1),
        ("spend", "is missing", 1),
    ]  # fmt: skip
    assert done["dropped"].keys() == {"twice"}
    assert 0.9 <= done["pca"]["variance_kept"] < 1
    assert done["pca"]["components"] == len(done["pca"]["shares"]) < len(facts["features"])
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
