"""Scores of recency, frequency and money: quintiles with exact ties, and the names of cells."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import manifest_of, read_parts

import gpuseg
from gpuseg.features import from_transactions
from gpuseg.features.aggregate import FeaturePart
from gpuseg.features.definitions import RFM
from gpuseg.features.line_quality import LineCounts
from gpuseg.features.rfm import SCORED, SEGMENTS, borders_of, with_scores
from gpuseg.features.rfm_parts import score_parts
from gpuseg.io.output.base import Staging
from gpuseg.io.storage import Storage
from gpuseg.jobs.run_features import run_features
from gpuseg.numerics.sort_keys import float64_from_keys, float64_keys
from gpuseg.runtime.executor import LocalExecutor

ROLES: dict[str, Any] = {"customer": "who", "time": "at", "amount": "paid"}
NAMES = [feature.name for feature in RFM]


def lines(n: int = 3000, customers: int = 211, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    at = np.datetime64("2024-03-01", "us") + rng.integers(0, 500 * 24, n) * np.timedelta64(1, "h")
    who = (customers * rng.random(n) ** 2).astype(int)
    return pa.table({"who": who, "at": at, "paid": np.round(rng.lognormal(2, 1.5, n), 2)})


LINES = lines()
EXPECTED = from_transactions(LINES, **ROLES, rfm=True)


def test_every_cell_has_one_name() -> None:
    cells = [cell for cells in SEGMENTS.values() for cell in cells]
    expected = [f"{r}{f}" for r, f in itertools.product("12345", repeat=2)]
    assert sorted(cells) == expected
    names = {cell: name for name, cells in SEGMENTS.items() for cell in cells}
    scores = np.array(list(itertools.product(range(1, 6), repeat=3)), float)
    table = pa.table({
        "recency_days": 6 - scores[:, 0], "orders": scores[:, 1].astype(int), "spend": scores[:, 2],
    })  # fmt: skip
    borders = dict.fromkeys(SCORED.values(), (1.0, 2.0, 3.0, 4.0))
    scored = with_scores(table, borders)
    codes = ["".join(code) for code in itertools.product("12345", repeat=3)]
    assert scored["rfm_score"].to_pylist() == codes
    assert scored["rfm_segment"].to_pylist() == [names[code[:2]] for code in codes]


def test_scores_are_the_quintiles_of_pandas() -> None:
    frame = EXPECTED.to_pandas()
    for score, feature in SCORED.items():
        borders = frame[feature].quantile([0.2, 0.4, 0.6, 0.8])
        labels = [5, 4, 3, 2, 1] if score == "recency_score" else [1, 2, 3, 4, 5]
        assert borders.is_unique
        assert frame[score].tolist() == pd.qcut(frame[feature], 5, labels=labels).tolist()
    texts = frame[list(SCORED)].astype(str).agg("".join, axis=1)
    assert frame["rfm_score"].tolist() == texts.tolist()


@pytest.mark.parametrize("n", [1, 2, 4, 5, 6, 11, 36, 100, 1001])
@pytest.mark.parametrize("n_distinct", [1, 3, 10**6])
def test_equal_values_have_equal_scores(n: int, n_distinct: int) -> None:
    values = np.random.default_rng(n).integers(0, n_distinct, n).astype(float)
    borders = borders_of(values)
    scores = np.searchsorted(np.array(borders), values) + 1
    ordered = sorted(map(Fraction, values))
    for value, score in zip(values, scores, strict=True):
        exact = 1
        for i in range(1, 5):
            rank = Fraction(i * (n - 1), 5)
            below, above = ordered[int(rank)], ordered[-int(-rank // 1)]
            exact += below + (rank - int(rank)) * (above - below) < Fraction(value)
        assert score == exact


def test_keys_have_the_order_of_their_values() -> None:
    values = np.array([-np.inf, -1e300, -2.5, -5e-324, 0, 5e-324, 1, 1 + 2**-52, 1e300, np.inf])
    keys = float64_keys(values)
    assert (np.diff(keys.astype(object)) > 0).all()
    assert np.array_equal(float64_from_keys(keys), values)
    assert float64_keys(np.array([-0.0]))[0] == float64_keys(np.array([0.0]))[0]


def features_of(n: int, rng: np.random.Generator) -> pa.Table:
    """Features of customers whose values are far apart, near, and equal."""
    spend = rng.choice([1e-9, 1.0, 1e12], n) * rng.choice([1.0, 1 + 2**-52, 3.5], n)
    orders: npt.NDArray[np.int64] = rng.geometric(0.5, n)
    return pa.table({"recency_days": rng.random(n) * 300, "orders": orders, "spend": spend})


@pytest.mark.parametrize("sizes", [[1], [3, 1], [700, 300, 1], [40] * 9])
def test_borders_of_files_are_those_of_one_table(tmp_path: Path, sizes: list[int]) -> None:
    table = features_of(sum(sizes), np.random.default_rng(len(sizes)))
    staging = Staging(Storage.from_url(str(tmp_path), {}, "folder"), str(tmp_path), "")
    parts, start = [], 0
    for i, size in enumerate(sizes):
        name = f"part-{i}.parquet"
        pq.write_table(table.slice(start, size), staging.path(name))
        parts.append(FeaturePart(name, size, 0, LineCounts(), [], [], []))
        start += size
    executor = LocalExecutor(2)
    executor.load(lambda shard, context: shard, [None])
    scored, borders = score_parts(executor, staging, parts)
    assert borders == {
        name: borders_of(table[name].to_numpy().astype(float)) for name in SCORED.values()
    }
    written = pa.concat_tables([pq.read_table(staging.path(part.name)) for part in scored])
    assert written.equals(with_scores(table, borders))
    assert [part.bytes for part in scored] == [
        Path(staging.path(part.name)).stat().st_size for part in scored
    ]


def job(tmp_path: Path, table: pa.Table = LINES, **keys: Any) -> dict[str, Any]:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), folder / f"{i}.parquet")
    return {
        "transactions": {"path": str(folder), **ROLES, **keys},
        "segment": {"n_clusters": 3},
        "output": {"path": str(tmp_path / "out")},
    }


def test_files_have_the_scores_of_a_table(tmp_path: Path) -> None:
    spec = job(tmp_path, rfm=True)
    path = spec["transactions"]["path"]
    assert from_transactions(path, **ROLES, rfm=True).equals(EXPECTED)
    result = run_features(spec)
    parts = [pq.read_table(tmp_path / "out" / part.name) for part in result.record.parts]
    assert pa.concat_tables(parts).equals(EXPECTED)
    assert [feature.name for feature in result.record.features][-5:] == NAMES
    borders = result.record.transactions.rfm
    assert borders is not None
    for name in SCORED.values():
        assert getattr(borders, name) == borders_of(EXPECTED[name].to_numpy().astype(float))


def test_segments_of_a_job_have_the_cells(tmp_path: Path) -> None:
    gpuseg.run(job(tmp_path, rfm=True))
    written = read_parts(tmp_path / "out")
    names = ["customer_id", "rfm_score", "rfm_segment"]
    assert written.select(names).equals(EXPECTED.select(names))
    manifest = manifest_of(tmp_path / "out")
    assert len(manifest["transactions"]["rfm"]["orders"]) == 4
    audit = manifest["audit"]["rfm_segment"]
    assert audit["n_hidden"] == 0
    frame = written.to_pandas()
    for group, total in zip(audit["groups"], audit["everyone"], strict=True):
        assert total == (frame.rfm_segment == group).sum()
    for segment, row in audit["segments"].items():
        cells = frame[frame.segment == int(segment)].rfm_segment
        assert row["counts"] == [int((cells == group).sum()) for group in audit["groups"]]
    assert "recency and frequency" in (tmp_path / "out" / "_report.html").read_text()


@pytest.mark.parametrize("on_workers", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_dropped_customers_move_no_cell(
    tmp_path: Path, on_workers: bool, request: pytest.FixtureRequest
) -> None:
    table = lines(customers=1500)
    spec = job(tmp_path, table, rfm=True, features=["spend", "gap_mean_days"])
    runtime = request.getfixturevalue("two_workers") if on_workers else {}
    gpuseg.run({**spec, "prepare": {"missing": "drop"}, "runtime": runtime})
    written = read_parts(tmp_path / "out")
    everyone = from_transactions(table, **ROLES, rfm=True)
    expected = everyone.filter(everyone["gap_mean_days"].is_valid())
    assert 0 < written.num_rows < everyone.num_rows
    names = ["customer_id", "rfm_score", "rfm_segment"]
    assert written.select(names).equals(expected.select(names))


def test_without_the_key_there_are_no_scores(tmp_path: Path) -> None:
    gpuseg.run(job(tmp_path))
    assert not set(NAMES) & set(read_parts(tmp_path / "out").column_names)
    assert "rfm" not in manifest_of(tmp_path / "out")["transactions"]
    assert not set(NAMES) & set(from_transactions(LINES, **ROLES).column_names)


def test_scores_may_be_clustered(tmp_path: Path) -> None:
    scores = list(SCORED)
    gpuseg.run(job(tmp_path, features=[*scores, "spend"]))
    manifest = manifest_of(tmp_path / "out")
    assert list(manifest["features"]) == [*scores, "spend"]
    assert "rfm_segment" in read_parts(tmp_path / "out").column_names
    spec = job(tmp_path, features=["spend"])
    spec["prepare"] = {"categorical": {"rfm_segment": "onehot"}}
    spec["output"]["path"] = str(tmp_path / "other")
    gpuseg.run(spec)
    assert manifest_of(tmp_path / "other")["transactions"]["rfm"]


@pytest.mark.parametrize("name", ["rfm_score", "rfm_segment"])
def test_text_is_refused_before_the_features_are_built(tmp_path: Path, name: str) -> None:
    with raises("features.rfm_text"):
        gpuseg.run(job(tmp_path, features=["spend", name]))


def test_attributes_do_not_have_the_names_of_scores(tmp_path: Path) -> None:
    pq.write_table(pa.table({"who": [1], "rfm_score": ["a"]}), tmp_path / "who.parquet")
    join = {"join": [{"path": str(tmp_path / "who.parquet"), "id": "who"}]}
    with raises("join.duplicate_name"):
        gpuseg.run({**job(tmp_path, rfm=True), **join})
    gpuseg.run({**job(tmp_path), **join})
