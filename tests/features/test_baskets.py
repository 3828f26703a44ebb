"""Association rules: against their definition, against mlxtend, and in a job."""

import itertools
import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.helpers import THOROUGH

import gpuseg
from gpuseg.profiling import association_rules as mining
from gpuseg.profiling.association_rules import MIN_BASKETS, association_rules


def lines(n: int = 6000, seed: int = 0) -> pd.DataFrame:
    """Customers of two kinds; the first buys milk with tea, the second nails with a hammer."""
    rng = np.random.default_rng(seed)
    order = np.repeat(np.arange(n // 3), 3)
    customer = order // 8
    kind = customer % 2
    pair = rng.random(n // 3)[order] < 0.4
    first, second = np.where(kind, "nails", "tea"), np.where(kind, "hammer", "milk")
    line = np.arange(n) % 3
    other = rng.choice([f"thing {i}" for i in range(12)], n)
    product = np.where(pair & (line == 0), first, np.where(pair & (line == 1), second, other))
    return pd.DataFrame({
        "customer": [f"c{number:05d}" for number in customer],
        "order": order,
        "time": pd.Timestamp("2026-01-01") + pd.to_timedelta(order * 37 % 8000, unit="h"),
        "product": np.where(rng.random(n) < 0.02, None, product),
        "quantity": np.where(rng.random(n) < 0.05, -1, 1),
        "price": np.exp(kind * 3.0) * rng.uniform(1, 2, n),
    })  # fmt: skip


def job(path: Path, **extra: Any) -> dict[str, Any]:
    roles = {name: name for name in ("customer", "time", "order", "product", "quantity", "price")}
    return {
        "transactions": {"path": str(path), **roles, "features": ["spend", "orders"]},
        "segment": {"n_clusters": 2},
        "output": {"path": str(path.parent / "out"), "overwrite": True},
    } | extra


Rule = tuple[frozenset[str], str, float, float, float]


def baskets_of(seed: int, n: int = 500) -> list[set[str]]:
    """Baskets with products of all frequencies, and with pairs and triples that go together."""
    rng = np.random.default_rng(seed)
    baskets = [{str(v) for v in rng.geometric(0.25, 6)} for _ in range(n)]
    for basket in baskets[:: rng.integers(2, 6)]:
        basket |= {"a", "b"} | ({"c"} if len(basket) % 2 else set())
    for basket in baskets[:: rng.integers(3, 8)]:
        basket |= {"d", "e"} if rng.random() < 0.7 else {"d"}
    return baskets


def mined(baskets: list[set[str]]) -> Any:
    pairs = [(i, name) for i, basket in enumerate(baskets) for name in sorted(basket)]
    numbers = np.array([i for i, _ in pairs]) * 7 + 3
    return association_rules(numbers, np.array([name for _, name in pairs], object))


def all_rules(baskets: list[set[str]]) -> list[Rule]:
    """Return every rule with enough support, confidence and lift, by definition."""
    n, names = len(baskets), sorted(set().union(*baskets))
    min_count = max(MIN_BASKETS, int(np.ceil(mining.MIN_SUPPORT * n)))

    def count(items: Collection[str]) -> int:
        return sum(basket.issuperset(items) for basket in baskets)

    rules = []
    for size in (2, 3):
        for items in itertools.combinations(names, size):
            if count(items) < min_count:
                continue
            for consequent in items:
                antecedents = frozenset(items) - {consequent}
                confidence = (count(items) / n) / (count(antecedents) / n)
                lift = confidence / (count([consequent]) / n)
                if confidence >= mining.MIN_CONFIDENCE and lift >= mining.MIN_LIFT:
                    support = count(items) / n
                    rules.append((antecedents, consequent, support, confidence, lift))
    return rules


def selected(rules: list[Rule]) -> list[Rule]:
    """Return the rules of the highest lift: antecedents contribute, products occur once."""
    single = {(first, c): conf for a, c, _, conf, _ in rules if len(a) == 1 for first in a}
    rules = [
        (a, c, support, confidence, lift)
        for a, c, support, confidence, lift in rules
        if len(a) == 1
        or confidence >= mining.MIN_GAIN * max(single.get((item, c), 0.0) for item in a)
    ]
    seen: set[str] = set()
    kept = []
    for rule in sorted(rules, key=lambda r: (-r[4], -r[2], sorted(r[0]), r[1])):
        if seen.isdisjoint(rule[0] | {rule[1]}):
            kept.append(rule)
            seen |= rule[0] | {rule[1]}
    return kept[: mining.MAX_RULES]


def as_rules(result: Any) -> list[Rule]:
    return [
        (frozenset(r.antecedents), r.consequents[0], r.support, r.confidence, r.lift)
        for r in result.rules
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6 if THOROUGH else 3))
def test_rules_are_their_definition(seed: int) -> None:
    baskets = baskets_of(seed)
    result = mined(baskets)
    assert result.n_baskets == 500
    assert as_rules(result) == selected(all_rules(baskets)) != []  # numbers to the bit
    assert all(rule.support * 500 >= MIN_BASKETS for rule in result.rules)


@pytest.mark.parametrize("seed", range(3))
def test_rules_are_those_of_mlxtend(seed: int) -> None:
    patterns = pytest.importorskip("mlxtend.frequent_patterns")
    baskets = baskets_of(seed)
    names = sorted(set().union(*baskets))
    frame = pd.DataFrame([[name in basket for name in names] for basket in baskets], columns=names)
    sets = patterns.fpgrowth(frame, (MIN_BASKETS - 0.5) / 500, use_colnames=True, max_len=3)
    table = patterns.association_rules(sets, min_threshold=mining.MIN_CONFIDENCE)
    rules = [
        (row.antecedents, next(iter(row.consequents)), row.support, row.confidence, row.lift)
        for row in table.itertuples()
        if row.lift >= mining.MIN_LIFT and len(row.consequents) == 1
    ]
    assert as_rules(mined(baskets)) == selected(rules) != []


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_itemsets_are_counted_in_bits(n: int) -> None:
    table = np.random.default_rng(n).random((5, n)) < 0.7
    bits = np.stack([mining._bits(np.flatnonzero(row), n) for row in table])
    counts = dict(mining.frequent_itemsets(bits, 0))
    for size in (1, 2, 3):
        for items in itertools.combinations(range(5), size):
            assert counts.pop(items) == table[list(items)].all(axis=0).sum()
    assert counts == {}


@pytest.mark.parametrize("n", [0, 1, 30])
def test_too_few_baskets_have_no_rules(n: int) -> None:
    products = np.array([f"p{i}" for i in range(n)], object)
    assert association_rules(np.arange(n) // 2, products) is None


NEEDS_NEITHER = """
import sys

class Absent:
    def find_spec(self, name, path, target=None):
        if name in ("pandas", "mlxtend"):
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Absent())
import gpuseg

result = gpuseg.run({job!r})
assert all(segment["baskets"]["rules"] for segment in result.manifest["segments"])
"""


@pytest.mark.slow
def test_a_job_needs_neither_pandas_nor_mlxtend(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(lines()), tmp_path / "lines.parquet")
    code = NEEDS_NEITHER.format(job=job(tmp_path / "lines.parquet"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "csv", "hashed"])
def test_each_segment_has_different_rules(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    frame = lines()
    path = tmp_path / f"lines.{'csv' if kind == 'csv' else 'parquet'}"
    table = pa.Table.from_pandas(frame)
    if kind == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path, row_group_size=1000)
    spec = job(path)
    if kind == "hashed":
        monkeypatch.setenv("ID_KEY", "a secret that is long enough to be one")
        spec["transactions"]["id_hash_key_env"] = "ID_KEY"
    manifest = gpuseg.run(spec).manifest
    assert ("period" in manifest["transactions"]) == (kind != "hashed")
    top = {}
    for segment in manifest["segments"]:
        rule = segment["baskets"]["rules"][0]
        top[frozenset((*rule["antecedents"], *rule["consequents"]))] = segment["center"]["spend"]
    assert set(top) == {frozenset(("tea", "milk")), frozenset(("nails", "hammer"))}
    assert top[frozenset(("nails", "hammer"))] > top[frozenset(("tea", "milk"))]
    bought = frame[(frame["quantity"] > 0) & frame["product"].notna()]
    by_order = bought.groupby("order")["product"].agg(set)
    assert sum(segment["baskets"]["n_baskets"] for segment in manifest["segments"]) == len(by_order)
    page = (tmp_path / "out" / "_report.html").read_text()
    assert page.count("Bought together") == 2
    json.dumps(manifest)


@pytest.mark.slow
def test_same_rules_on_any_number_of_workers(tmp_path: Path, two_workers: dict[str, Any]) -> None:
    path = tmp_path / "lines"
    path.mkdir()
    table = pa.Table.from_pandas(lines())
    for i in range(3):
        pq.write_table(table.slice(i * 2000, 2000), path / f"{i}.parquet", row_group_size=300)
    baskets = []
    for runtime in ({}, two_workers):
        manifest = gpuseg.run(job(path, runtime=runtime)).manifest
        baskets.append([segment["baskets"] for segment in manifest["segments"]])
    assert baskets[0] == baskets[1]


@pytest.mark.slow
def test_lines_without_products_have_none(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(lines()), tmp_path / "lines.parquet")
    spec = job(tmp_path / "lines.parquet")
    del spec["transactions"]["product"]
    assert all("baskets" not in segment for segment in gpuseg.run(spec).manifest["segments"])
