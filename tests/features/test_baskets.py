"""Products bought together: against their definition, and as a job has them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import gpuseg
from gpuseg.profiling.association_rules import MIN_BASKETS, bought_together


def lines(n: int = 6000, seed: int = 0) -> pd.DataFrame:
    """Customers of two kinds; the first buys milk with tea, the second nails with a hammer."""
    rng = np.random.default_rng(seed)
    order = np.repeat(np.arange(n // 3), 3)
    customer = order // 8
    kind = customer % 2
    pair = rng.random(n // 3)[order] < 0.4
    first, second = np.where(kind, "nails", "tea"), np.where(kind, "hammer", "milk")
    place = np.arange(n) % 3
    other = rng.choice([f"thing {i}" for i in range(12)], n)
    product = np.where(pair & (place == 0), first, np.where(pair & (place == 1), second, other))
    return pd.DataFrame({
        "customer": [f"c{number:05d}" for number in customer],
        "order": order,
        "time": pd.Timestamp("2026-01-01") + pd.to_timedelta(order * 37 % 8000, unit="h"),
        "product": np.where(rng.random(n) < 0.02, None, product),
        "quantity": np.where(rng.random(n) < 0.05, -1, 1),
        "price": np.exp(kind * 3.0) * rng.uniform(1, 2, n),
    })  # fmt: skip


def job(path: Path, **more: Any) -> dict[str, Any]:
    roles = {name: name for name in ("customer", "time", "order", "product", "quantity", "price")}
    return {
        "transactions": {"path": str(path), **roles, "features": ["spend", "orders"]},
        "segment": {"n_clusters": 2},
        "output": {"path": str(path.parent / "out"), "overwrite": True},
    } | more


def rule_by_definition(baskets: list[set[str]], of: set[str], also: set[str]) -> tuple[float, ...]:
    both = sum(of | also <= item for item in baskets) / len(baskets)
    first = sum(of <= item for item in baskets) / len(baskets)
    other = sum(also <= item for item in baskets) / len(baskets)
    return both, both / first, both / first / other


def test_rules_are_their_definition() -> None:
    rng = np.random.default_rng(0)
    baskets = [{str(v) for v in rng.geometric(0.25, 6)} for _ in range(500)]
    for item in baskets[::5]:
        item |= {"a", "b"} | ({"c"} if len(item) % 2 else set())
    pairs = [(i, name) for i, item in enumerate(baskets) for name in sorted(item)]
    numbers = np.array([i for i, _ in pairs]) * 7 + 3
    actual = bought_together(numbers, np.array([name for _, name in pairs], object))
    assert actual is not None and actual["baskets"] == 500
    assert actual["rules"]
    for rule in actual["rules"]:
        expected = rule_by_definition(baskets, {*rule["of"]}, {*rule["also"]})
        text = (rule["support"], rule["confidence"], rule["lift"])
        np.testing.assert_allclose(text, expected)
        assert rule["support"] * 500 >= MIN_BASKETS
    lifts = [rule["lift"] for rule in actual["rules"]]
    assert lifts == sorted(lifts, reverse=True)


@pytest.mark.parametrize("n", [0, 1, 30])
def test_too_few_baskets_tell_nothing(n: int) -> None:
    products = np.array([f"p{i}" for i in range(n)], object)
    assert bought_together(np.arange(n) // 2, products) is None


@pytest.mark.parametrize("kind", ["parquet", "csv", "hashed"])
def test_each_segment_has_its_own(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    frame = lines()
    path = tmp_path / f"lines.{'csv' if kind == 'csv' else 'parquet'}"
    table = pa.Table.from_pandas(frame)
    if kind == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path, row_group_size=1000)
    asked = job(path)
    if kind == "hashed":
        monkeypatch.setenv("ID_KEY", "a secret that is long enough to be one")
        asked["transactions"]["id_hash_key_env"] = "ID_KEY"
    manifest = gpuseg.run(asked).manifest
    top = {}
    for segment in manifest["segments"]:
        rule = segment["together"]["rules"][0]
        top[frozenset((*rule["of"], *rule["also"]))] = segment["center"]["spend"]
    assert set(top) == {frozenset(("tea", "milk")), frozenset(("nails", "hammer"))}
    assert top[frozenset(("nails", "hammer"))] > top[frozenset(("tea", "milk"))]
    bought = frame[(frame["quantity"] > 0) & frame["product"].notna()]
    by_order = bought.groupby("order")["product"].agg(set)
    assert sum(item["together"]["baskets"] for item in manifest["segments"]) == len(by_order)
    page = (tmp_path / "out" / "_report.html").read_text()
    assert page.count("Bought together") == 2
    json.dumps(manifest)


def test_same_rules_on_any_number_of_workers(tmp_path: Path, two_workers: dict[str, Any]) -> None:
    path = tmp_path / "lines"
    path.mkdir()
    table = pa.Table.from_pandas(lines())
    for i in range(3):
        pq.write_table(table.slice(i * 2000, 2000), path / f"{i}.parquet", row_group_size=300)
    actual = []
    for runtime in ({}, two_workers):
        manifest = gpuseg.run(job(path, runtime=runtime)).manifest
        actual.append([segment["together"] for segment in manifest["segments"]])
    assert actual[0] == actual[1]


def test_lines_without_products_have_none(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(lines()), tmp_path / "lines.parquet")
    asked = job(tmp_path / "lines.parquet")
    del asked["transactions"]["product"]
    assert all("together" not in segment for segment in gpuseg.run(asked).manifest["segments"])
