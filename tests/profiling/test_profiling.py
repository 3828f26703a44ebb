"""Profiles of segments: quantiles, intervals, rules in words and SQL, map, examples."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import THOROUGH

import gpuseg
from gpuseg.manifest import MAP_COLUMNS, MAP_LINES
from gpuseg.model_selection.confidence import confidences
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.profiling.pca_map import segment_map
from gpuseg.profiling.rules.rule_language import rule_features, sql_name, sql_number
from gpuseg.profiling.rules.rules import segment_rules
from gpuseg.profiling.rules.surrogate_tree import (
    Bound,
    Leaf,
    fit_tree,
    paths,
    predict,
    roundest,
)
from gpuseg.profiling.sample import ProfilingSample
from gpuseg.profiling.statistics import PROBABILITIES, deviation_intervals, quantiles

duckdb = pytest.importorskip("duckdb")

UGLY = 'a "quoted"\n<script>alert(1)</script>'


def customers(n: int = 6000, seed: int = 0) -> pa.Table:
    """Three kinds of customers, with gaps, NaN, categories of all sorts and ugly names."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    spend = rng.lognormal(kind * 1.5, 0.4)
    orders = rng.poisson(1 + 4 * kind)
    country = np.where(kind == 0, "DE", rng.choice(["FR", "O'Brien", "US", "x"], n)).astype(object)
    country[rng.random(n) < 0.05] = None
    gappy = np.where(rng.random(n) < 0.1, np.nan, rng.normal(kind, 0.5))
    nulls = [None if rng.random() < 0.1 else int(v) for v in rng.integers(0, 9, n)]
    return pa.table({
        "id": pa.array([f"id'{i}\n\"" for i in range(n)]),
        UGLY: spend,
        "orders": pa.array(orders, pa.int32()),
        "country": pa.array(country.tolist(), pa.string()),
        "city": pa.array([f"c{int(v)}" for v in rng.geometric(0.3, n)]),
        "plan": pa.array([["basic", "plus", "pro"][k] for k in kind]),
        "level": pa.array((kind + 10).tolist(), pa.int64()),
        "member": pa.array((kind == 2).tolist(), pa.bool_()),
        "gappy": gappy,
        "nulls": pa.array(nulls, pa.int16()),
    })  # fmt: skip


def job(folder: Path, table: pa.Table, prepare: dict[str, Any], **segment: Any) -> dict[str, Any]:
    pq.write_table(table, folder / "in.parquet", row_group_size=1000)
    return {
        "input": {"path": str(folder / "in.parquet"), "id": "id"},
        "prepare": prepare,
        "segment": {"n_clusters": 3} | segment,
        "output": {"path": str(folder / "out")},
    }


def examples_of(folder: Path) -> list[dict[str, Any]]:
    examples: list[dict[str, Any]] = json.loads((folder / "out" / "_examples.json").read_text())
    return examples


CATEGORIES = {
    "country": "onehot",
    "city": "frequency",
    "plan": ["basic", "plus", "pro"],
    "level": "onehot",
    "member": "onehot",
}

PREPARATIONS: dict[str, dict[str, Any]] = {
    "median": {"missing": "median", "categorical": CATEGORIES},
    "flags": {"missing": "zero", "missing_indicator": True, "categorical": CATEGORIES},
    "drop": {"missing": "drop", "categorical": CATEGORIES, "max_categories": 3},
    "bent": {"missing": "mean", "transform": "yeo-johnson", "clip": [0.01, 0.99]}
    | {"categorical": CATEGORIES, "max_categories": 2},
    "pca": {"missing": "median", "categorical": CATEGORIES, "pca": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PREPARATIONS)
def test_rules_in_duckdb_agree_with_the_tree(name: str, tmp_path: Path) -> None:
    """The share of customers for whom the SQL names the segment written is the fidelity."""
    spec = job(tmp_path, customers(), PREPARATIONS[name])
    manifest = gpuseg.run(spec).manifest
    rules = manifest["profile"]["rules"]
    source, segments = spec["input"]["path"], f"{spec['output']['path']}/part-*.parquet"
    with duckdb.connect() as db:
        query = f"""
            SELECT avg(CASE WHEN ({rules["sql"]}) = s.segment THEN 1.0 ELSE 0.0 END), count(*)
            FROM '{source}' AS c JOIN '{segments}' AS s USING (id)"""
        right, rows = db.execute(query).fetchall()[0]
        assert rows == manifest["input"]["rows"]
        assert right == pytest.approx(rules["fidelity"], abs=1e-12)
        for segment in manifest["segments"]:
            rule = segment["rule"]
            query = f"""
                SELECT count(*) FILTER (r), count(*) FILTER (m), count(*) FILTER (r AND m)
                FROM (SELECT ({rule["sql"]}) AS r, s.segment = {segment["segment"]} AS m
                      FROM '{source}' AS c JOIN '{segments}' AS s USING (id))"""
            matching, members, both = db.execute(query).fetchall()[0]
            assert both / matching == pytest.approx(rule["precision"], abs=1e-12)
            assert both / members == pytest.approx(rule["coverage"], abs=1e-12)
    assert rules["fidelity"] > 0.9
    assert rules["sample"] == "all customers"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20 if THOROUGH else 7))
def test_tree_is_the_same_in_sql_and_here(seed: int) -> None:
    """Doubles next to a threshold, and values that float32 rounds, are on the same side."""
    rng = np.random.default_rng(seed)
    raw = rng.choice([rng.normal(size=200), rng.normal(size=200) * 1e-3 + 7], 2)[0]
    doubles = rng.choice(raw, (500, 3)) + rng.normal(size=(500, 3)) * 1e-9
    x = doubles.astype(np.float32)
    label = ((x[:, 0] > np.median(x[:, 0])) + 2 * (x[:, 1] > x[:, 2])).astype(np.int32)
    sample = sample_of(x, label)
    rules = segment_rules(
        sample, [Encoder(name) for name in sample.features], np.full(3, np.nan, np.float32)
    )
    assert rules is not None
    tree = fit_tree(x, label)
    bounds = [bound for _, path in paths(tree) for bound in path]
    cuts = [c for bound in bounds for c in (bound.low, bound.high) if np.isfinite(c)]
    neighbors = [np.nextafter(c, s) for c in cuts for s in (-np.inf, np.inf)] + cuts
    doubles = np.concatenate([doubles, rng.choice(neighbors, (300, 3))])
    frame = pa.table({name: doubles[:, f] for f, name in enumerate(sample.features)})
    with duckdb.connect() as db:
        db.register("frame", frame)
        sql = db.execute(f"SELECT {rules.surrogate.sql} AS s FROM frame").fetchnumpy()["s"]
    np.testing.assert_array_equal(sql, predict(tree, doubles.astype(np.float32)))


def sample_of(x: np.ndarray, label: np.ndarray, total: int | None = None) -> ProfilingSample:
    x = x.astype(np.float32)
    names = [f"f{i}" for i in range(x.shape[1])]
    zeros = np.zeros(len(x), np.float32)
    return ProfilingSample(
        np.arange(len(x)), x, x, x, label.astype(np.int32), zeros, names, total or len(x)
    )


@pytest.mark.parametrize("missing", ["zero", "median"])
def test_gaps_and_nans_are_the_same_in_sql(missing: str, tmp_path: Path) -> None:
    """Statistics of Parquet files know no NaN: a database that trusts them finds none."""
    rng = np.random.default_rng(3)
    n = 3000
    kind = rng.integers(0, 3, n)
    level = np.where(kind == 2, np.nan, rng.choice([1.0, 2.0, 3.0, 4.0], n))
    share = np.where(rng.random(n) < 0.3, np.nan, kind + 10.0)
    table = pa.table({
        "id": np.arange(n),
        "a": np.where(kind == 0, np.nan, rng.normal(50 + 10 * kind, 1)),
        "level": level,
        "share": share,
        "text": pa.array(np.where(kind == 1, "nan", "x").tolist()),
        "order": np.where(kind == 1, np.nan, np.round(kind + 11.0)),
    })  # fmt: skip
    how = {"level": "onehot", "share": "frequency", "text": "onehot", "order": [11, 12, 13]}
    spec = job(tmp_path, table, {"missing": missing, "categorical": how, "max_categories": 3})
    rules = gpuseg.run(spec).manifest["profile"]["rules"]
    with duckdb.connect() as db:
        query = f"""SELECT avg((({rules["sql"]}) = s.segment)::INT)
            FROM '{spec["input"]["path"]}' JOIN '{tmp_path}/out/part-*.parquet' AS s USING (id)"""
        right = db.execute(query).fetchall()[0][0]
    assert right == pytest.approx(rules["fidelity"], abs=1e-12)


def test_words_say_that_a_value_may_be_missing() -> None:
    encoders = [
        Encoder("what is it", "onehot", "text", ("z",)),
        Encoder("plan", "ordinal", "text", ("s", "l")),
        Encoder("spend"),
        *(Encoder("A"), Encoder("a"), Encoder("ID"), Encoder(""), Encoder("b"), Encoder("B\0c")),
        Encoder("city", "onehot", "text", ("x", "y\0")),
    ]
    names = [name for encoder in encoders for name in encoder.feature_names()]
    features = rule_features(encoders, {"plan": 0.5, "spend": 7.0}, names, ["id", "spend"])
    flag, plan, spend = (features[name] for name in ("what is it=z", "plan", "spend"))
    assert flag.in_words(Bound(0, high=0.5)) == "what is it is not z"
    assert plan.in_words(Bound(0, low=0.0, high=0.9)) == "plan is missing"
    assert plan.in_words(Bound(0, low=0.2)) == "plan is l or missing"
    assert spend.in_words(Bound(0, high=7.0)) == "spend at most 7 or missing"
    assert spend.in_words(Bound(0, low=7.0)) == "spend above 7"
    assert set(features) == {"what is it=z", "plan", "spend"}  # what SQL can name and tell apart


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (pa.array(["a", "b", "c"], pa.string_view()), "a"),
        (pa.array([b"\x00\xff", b"b", b"c"]), "00ff"),
        (pa.array([b"\x00\xff", b"b", b"c"], pa.binary_view()), "00ff"),
    ],
)
def test_ids_of_any_type_are_in_the_examples(ids: pa.Array, shown: str, tmp_path: Path) -> None:
    table = pa.table({"id": ids, "x": [0.0, 1.0, 9.0]})
    gpuseg.run(job(tmp_path, table, {}, n_clusters=1))
    examples = examples_of(tmp_path)
    assert shown in [example["id"] for example in examples]
    # With a single segment nobody is ambiguous.
    assert {example["kind"] for example in examples} == {"typical"}


@pytest.mark.slow
def test_fidelity_of_a_sample_holds_for_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n = 200_000
    x = rng.normal(size=(n, 3)) + rng.integers(0, 3, n)[:, None] * 2
    table = pa.table({"id": np.arange(n), "a": x[:, 0], "b": x[:, 1], "c": x[:, 2]})
    spec = job(tmp_path, table, {})
    rules = gpuseg.run(spec).manifest["profile"]["rules"]
    with duckdb.connect() as db:
        query = f"""SELECT avg((({rules["sql"]}) = s.segment)::INT)
            FROM '{spec["input"]["path"]}' JOIN '{spec["output"]["path"]}/part-*.parquet' AS s
            USING (id)"""
        right = db.execute(query).fetchall()[0][0]
    assert 0 < rules["fidelity_error"] < 0.01
    assert abs(right - rules["fidelity"]) < 2 * rules["fidelity_error"]
    assert re.search(r" 6[56],\d{3} of 200,000 customers", rules["sample"])


def test_cuts_are_round_and_part_the_same_rows() -> None:
    assert roundest(119.87, 121.3) == 120
    assert roundest(2.0, 3.0) == 2
    assert roundest(-0.35, -0.21) == -0.3
    assert roundest(1.0, float(np.nextafter(1.0, 2.0))) == 1.0
    for low, high in np.sort(np.random.default_rng(0).normal(size=(200, 2)) * 1e5, axis=1):
        cut = roundest(low, high)
        assert low <= cut < high
        assert len(repr(cut)) <= len(repr((low + high) / 2))


def test_names_and_numbers_in_sql() -> None:
    assert sql_name('a"b') == '"a""b"'
    assert [sql_number(v) for v in (120.0, 0.1, 1e-9, -3.5)] == [
        "120e0",
        "0.1e0",
        "1e-09",
        "-3.5e0",
    ]


def test_tree_of_one_kind_of_leaf_is_a_leaf() -> None:
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    label = np.zeros(50, np.int32)
    label[0] = 1
    assert fit_tree(x, label) == Leaf(0) or predict(fit_tree(x, label), x).max() == 1


def test_quantiles_are_numpys_and_leave_gaps_out() -> None:
    rng = np.random.default_rng(0)
    x = rng.lognormal(size=(301, 2)).astype(np.float32)
    x[::3, 0] = np.nan
    sample = sample_of(x, rng.integers(0, 2, 301))
    rows = sample.label == 1
    result = quantiles(sample, rows)
    expected = np.nanquantile(x[rows].astype(np.float64), PROBABILITIES, axis=0)
    np.testing.assert_allclose(np.array([result["f0"], result["f1"]]).T, expected, rtol=1e-12)
    x[rows, 0] = np.nan
    assert "f0" not in quantiles(sample_of(x, sample.label), rows)


def test_intervals_hold_the_true_deviation() -> None:
    """In repeated draws, 95 of 100 intervals contain the deviation of the population."""
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        x = rng.exponential(size=(200, 1)) + 0.5
        sample = sample_of(x, np.zeros(200))
        deviation = {"f0": float(x.mean())}
        interval = deviation_intervals(sample, np.ones(200, bool), deviation, 200, np.ones(1))
        low, high = interval["f0"]
        hits.append(low <= 1.5 <= high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_map_counts_every_customer_of_the_sample() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(-1, 3, 2000)
    x = rng.normal(size=(2000, 4)) + 8 * label[:, None] * np.array([1, 0, 0, 0])
    result = segment_map(sample_of(x, label), [0, 1, 2, -1])
    assert result is not None
    assert sum(cell.customers for cell in result.cells) == 2000
    for cell in result.cells:
        assert 0 <= cell.column < MAP_COLUMNS and 0 <= cell.line < MAP_LINES
    assert result.axes[0] == ("+f0",)
    across = [result.centers[str(s)][0] for s in (-1, 0, 1, 2)]
    assert across == sorted(across)
    assert result.explained_variance_ratio[0] > 0.9
    assert segment_map(sample_of(x[:, :1], label), [0]) is None
    assert segment_map(sample_of(np.ones((9, 2)), np.zeros(9)), [0]) is None


def test_confidence_is_one_at_a_center_and_zero_between_two() -> None:
    x = np.float32([[0.0], [2.0], [1.0], [6.0]])
    centers = np.array([[0.0], [4.0], [9.0]])
    np.testing.assert_array_equal(
        confidences(x, "numpy", centers, None), np.float32([1, 0, 2 / 3, 1 / 3])
    )
    np.testing.assert_array_equal(confidences(x, "numpy", centers[:1], None), np.zeros(4))
    twins = np.zeros((2, 1))
    np.testing.assert_array_equal(confidences(x[:1], "numpy", twins, None), [0.0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["median", "drop"])
def test_examples_are_those_of_the_data(name: str, tmp_path: Path) -> None:
    table = customers()
    result = gpuseg.run(job(tmp_path, table, PREPARATIONS[name]))
    shown = examples_of(tmp_path)
    written = pq.read_table(sorted((tmp_path / "out").glob("part-*"))).to_pandas().set_index("id")
    raw = table.to_pandas().set_index("id")
    assert len(shown) == 3 * 10
    model = gpuseg.load_model(str(tmp_path / "out"))
    for row in shown:
        assert written.loc[row["id"], "segment"] == row["segment"]
        assert written.loc[row["id"], "distance"] == row["distance"]
        assert raw.loc[row["id"], UGLY] == pytest.approx(row["features"][UGLY], rel=1e-6)
    frame = pd.DataFrame(shown)
    kinds = frame.groupby("kind")
    assert kinds["confidence"].max()["ambiguous"] < kinds["confidence"].min()["typical"]
    nearest = written.groupby("segment")["distance"].min()
    typical = frame.query("kind == 'typical' and rank == 0").set_index("segment")
    assert (typical["distance"] < nearest + 0.2 * (1 + nearest)).all()
    assert model.n_clusters == len(result.manifest["segments"])


def test_ids_in_examples_are_hashed_like_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough to be one")
    spec = job(tmp_path, customers(500), PREPARATIONS["median"])
    spec["input"]["id_hash_key_env"] = "ID_KEY"
    gpuseg.run(spec)
    shown = examples_of(tmp_path)
    written = pq.read_table(sorted((tmp_path / "out").glob("part-*")))["id"].to_pylist()
    assert {example["id"] for example in shown} <= set(written)
    assert all(len(example["id"]) == 64 for example in shown)


@pytest.mark.slow
def test_profile_does_not_depend_on_filing_and_workers(tmp_path: Path) -> None:
    """Files, row groups, threads and streaming change neither rules nor map nor examples."""
    table = customers(9000)
    outcomes = []
    for size, runtime in ((9000, {}), (700, {"n_workers": 3, "threads_per_worker": 1})):
        folder = tmp_path / str(size)
        folder.mkdir()
        spec = job(folder, table, PREPARATIONS["median"])
        pq.write_table(table, folder / "in.parquet", row_group_size=size)
        manifest = gpuseg.run({**spec, "runtime": runtime}).manifest
        outcomes.append((manifest["profile"], manifest["segments"], examples_of(folder)))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][1] == outcomes[1][1]
    assert outcomes[0][2] == outcomes[1][2]


def test_dbscan_has_a_profile(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(400, 2)) * 0.2 + c for c in ([0, 0], [4, 4])])
    x = np.concatenate([x, rng.uniform(-20, 20, (60, 2))])
    table = pa.table({"id": np.arange(len(x)), "a": x[:, 0], "b": x[:, 1]})
    spec = job(tmp_path, table, {"scale": "none"})
    spec["segment"] = {"algorithm": "dbscan", "eps": 0.5, "min_samples": 10}
    segments = gpuseg.run(spec).manifest["segments"]
    assert [segment["segment"] for segment in segments] == [0, 1, -1]
    assert all(segment["rule"] is not None for segment in segments)
    examples = examples_of(tmp_path)
    assert {example["segment"] for example in examples} == {0, 1}
    assert {example["kind"] for example in examples} == {"typical"}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["kmeans", "hierarchical"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_confidence_of_every_customer(algorithm: str, backend: str, tmp_path: Path) -> None:
    """It is that of the distances: 1 - a/b, with b to the nearest center of another segment."""
    table = customers(1000)
    spec = job(tmp_path, table, {"missing": "median"}, algorithm=algorithm)
    spec["input"]["features"] = ["orders", "gappy", UGLY]
    spec["output"]["confidence"] = True
    spec["runtime"] = {"backend": backend}
    gpuseg.run(spec)
    written = pq.read_table(sorted((tmp_path / "out").glob("part-*")))
    assert written.column_names == ["id", "segment", "distance", "confidence"]
    model = gpuseg.load_model(str(tmp_path / "out"))
    micro = model.micro if algorithm == "hierarchical" else model
    segment = model.labels if algorithm == "hierarchical" else np.arange(3)
    rows = micro.pipeline.transform(table, "numpy").astype(np.float64)
    distance = np.sqrt(((rows[:, None] - micro.centers.values) ** 2).sum(axis=2))
    assigned = written["segment"].to_numpy()
    other = np.where(segment == assigned[:, None], np.inf, distance).min(axis=1)
    expected = 1 - distance.min(axis=1) / other
    np.testing.assert_allclose(written["confidence"], expected, atol=1e-5)


def test_confidence_of_dbscan_is_refused(tmp_path: Path) -> None:
    spec = job(tmp_path, customers(50), {})
    spec["segment"] = {"algorithm": "dbscan", "eps": 1.0}
    spec["output"]["confidence"] = True
    with raises("confidence.not_available", gpuseg.ConfigError):
        gpuseg.run(spec)
