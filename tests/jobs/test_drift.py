"""`gpuseg drift`: a table against the rows of a fit, with an exit code for schedulers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import helpers
from support.errors import raises
from support.fitted_outputs import CASES, fitted, kept_rows
from support.helpers import call, leftovers, listing

import gpuseg
from gpuseg.drift_record import Drift
from gpuseg.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

N = 3000

FEW = ("hashed_ids", "drop", "ordinal", "vectors_with_gaps", "hierarchy", "dbscan_of_all",
       "all_steps", "large_offsets_scaled")  # fmt: skip
"""Cases that together have every kind of column, of preparation and of algorithm."""


def table(seed: int, shift: float = 0.0, plans: tuple[str, ...] = ("a", "b")) -> pa.Table:
    rng = np.random.default_rng(seed)
    income = np.where(rng.random(N) < 0.05, np.nan, rng.normal(size=N))
    return pa.table({
        "id": np.arange(N), "orders": rng.normal(5, 2, N) + shift, "spend": rng.lognormal(0, 1, N),
        "income": income, "plan": rng.choice(plans, N),
    })  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, and tables with and without drift."""
    folder: Path = tmp_path_factory.mktemp("drift")
    pq.write_table(table(0), folder / "fit.parquet")
    pq.write_table(table(1), folder / "same.parquet")
    pq.write_table(table(2, 2.0, ("a", "b", "new")), folder / "other.parquet")
    job = {
        "input": {
            "path": str(folder / "fit.parquet"), "id": "id",
            "features": ["orders", "spend", "income", "plan"],
        },
        "prepare": {"missing": "median", "categorical": {"plan": "onehot"}},
        "segment": {"n_clusters": 3},
        "drift": {"segment_psi": 0.4},
        "output": {"path": str(folder / "out")},
    }  # fmt: skip
    gpuseg.run(job)
    return folder


def test_rows_like_those_of_the_fit_have_no_drift(folder: Path) -> None:
    before = listing(folder)
    result = gpuseg.drift(folder / "out", folder / "same.parquet")
    assert not result.is_beyond and not result.warnings
    drift = result.record
    assert (drift.rows_before, drift.rows_now) == (N, N)
    assert drift.fit_run_id
    assert drift.thresholds.segment_psi == 0.4  # of the job of the fit
    for each in drift.features:
        assert each.psi < 6 * each.psi_chance
    assert listing(folder) == before  # nothing is written


def test_the_rows_of_the_fit_have_no_drift_at_all(folder: Path) -> None:
    drift = gpuseg.drift(folder / "out", folder / "fit.parquet").record
    for each in drift.features:
        assert each.psi == each.ks == each.wasserstein == 0
    assert all(each.psi == 0 for each in drift.categories)
    assert drift.segment_psi == 0
    assert drift.mean_distance_now == pytest.approx(drift.mean_distance_before, rel=1e-12)
    assert (drift.inertia_now, drift.far_now) == (
        pytest.approx(drift.inertia_before, rel=1e-12), drift.far_before,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES if helpers.THOROUGH else FEW)
def test_every_kind_of_model_finds_no_drift_in_its_rows(case: str, tmp_path: Path) -> None:
    """The rows of the fit are counted as at the fit, whatever the preparation."""
    pq.write_table(kept_rows(case), tmp_path / "rows.parquet", row_group_size=64)
    drift = gpuseg.drift(fitted(case), tmp_path / "rows.parquet").record
    assert drift.rows_now == drift.rows_before
    assert drift.features or drift.categories
    for each in (*drift.features, *drift.categories):
        assert each.psi == 0 and each.missing_before == each.missing_now
    assert not any(each.unseen for each in drift.categories)
    assert drift.segment_psi == 0 and not drift.alarms
    for segment in drift.segments:
        assert segment.share_before == segment.share_now
        assert segment.far_before == segment.far_now


def test_distances_to_rows_of_the_fit_are_not_compared(tmp_path: Path) -> None:
    """A core row of DBSCAN is at distance 0 from itself; no new row is."""
    sections = {
        "input": {"path": str(tmp_path / "fit.parquet"), "id": "id"},
        "segment": {"algorithm": "dbscan", "eps": 0.8, "min_samples": 4},
        "output": {"path": str(tmp_path / "out")},
    }
    for seed, name in enumerate(("fit", "new")):
        pq.write_table(table(seed).select(["id", "orders", "spend"]), tmp_path / f"{name}.parquet")
    gpuseg.run(sections)
    drift = gpuseg.drift(tmp_path / "out", tmp_path / "new.parquet").record
    assert not drift.alarms
    assert (drift.mean_distance_before, drift.inertia_before) == (None, None)
    assert (drift.far_before, drift.far_now) == (None, None)
    assert drift.mean_distance_now and drift.segments[0].far_now is None


def test_more_rows_that_are_dropped_are_an_alarm(tmp_path: Path) -> None:
    sections = {
        "input": {"path": str(tmp_path / "fit.parquet"), "id": "id"},
        "prepare": {"missing": "drop"}, "segment": {"n_clusters": 3},
        "output": {"path": str(tmp_path / "out")},
    }  # fmt: skip
    fit, same, other = (table(seed).drop_columns("plan") for seed in range(3))
    orders = pa.array(other["orders"].to_numpy(), mask=np.arange(N) % 20 == 0)
    other = other.set_column(1, "orders", orders)
    for name, rows in (("fit", fit), ("same", same), ("other", other)):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    gpuseg.run(sections)
    same_drift, drift = (
        gpuseg.drift(tmp_path / "out", tmp_path / f"{name}.parquet").record
        for name in ("same", "other")
    )
    assert not same_drift.alarms
    assert drift.dropped_before == np.isnan(fit["income"].to_numpy()).mean()
    assert drift.dropped_now == 1 - drift.rows_now / N
    (alarm,) = drift.alarms
    assert (alarm.measure, alarm.name) == ("missing_change", None)
    assert alarm.sentence.startswith(f"{drift.dropped_now:.1%} of the rows were dropped")


def test_other_rows_raise_alarms(folder: Path) -> None:
    result = gpuseg.drift(folder / "out", folder / "other.parquet")
    alarms = {(alarm.measure, alarm.name) for alarm in result.record.alarms}
    assert {("feature_psi", "orders"), ("unseen_share", "plan")} <= alarms
    assert not {name for _, name in alarms} & {"spend", "income"}
    (plan,) = result.record.categories
    assert plan.example == "new"
    assert len(result.warnings) == 1


def test_command_exits_with_5_beyond_a_threshold(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, other = str(folder / "out"), str(folder / "other.parquet")
    ended = call(capfd, "drift", model, other)
    assert ended.code == 5, ended.err
    assert "orders" in ended.out and "drift: " in ended.out
    same = call(capfd, "drift", model, str(folder / "same.parquet"), "--json")
    assert same.code == 0
    content = json.loads(same.out)
    assert Drift.from_json(content).rows_now == N


def test_thresholds_can_be_set(folder: Path) -> None:
    high: list[str] = [f"drift.{name}=1e3" for name in ("feature_psi", "feature_wasserstein")]
    high += ["drift.segment_psi=1e3", "drift.inertia_increase=1e3", "drift.unseen_share=1.0"]
    result = gpuseg.drift(folder / "out", folder / "other.parquet", overrides=high)
    assert not result.is_beyond
    assert result.record.thresholds.feature_psi == 1000


def test_score_has_the_same_drift_and_warns(folder: Path, tmp_path: Path) -> None:
    scored = gpuseg.score(folder / "out", folder / "other.parquet", tmp_path / "scored")
    drift = gpuseg.drift(folder / "out", folder / "other.parquet").record
    assert scored.record.drift == drift
    assert sum("differ from those of the fit" in text for text in scored.record.warnings) == 1
    same = gpuseg.score(folder / "out", folder / "same.parquet", tmp_path / "same")
    assert same.record.drift is not None and not same.record.warnings


def test_workers_and_files_change_nothing(folder: Path, tmp_path: Path) -> None:
    rows = table(2, 2.0, ("a", "b", "new"))
    (tmp_path / "cut").mkdir()
    for i, start in enumerate((0, 700, 1900)):
        part = rows.slice(start, (700, 1900, N)[i] - start)
        pq.write_table(part, tmp_path / "cut" / f"{i}.parquet", row_group_size=200)
    whole = gpuseg.drift(folder / "out", folder / "other.parquet").record
    in_parts = gpuseg.drift(
        folder / "out", tmp_path / "cut", overrides=["runtime.threads_per_worker=2"]
    ).record
    assert in_parts == whole


@pytest.mark.parametrize("key", ["output.path=x", "input.id=id", "like.segment=1"])
def test_keys_of_an_output_are_refused(folder: Path, key: str) -> None:
    with raises("drift.unused_key", ConfigError, parameter="overrides"):
        gpuseg.drift(folder / "out", folder / "same.parquet", overrides=[key])


def test_a_model_of_an_older_version_is_refused(folder: Path, tmp_path: Path) -> None:
    model = gpuseg.load_model(folder / "out")
    (tmp_path / "_model").mkdir()
    for name, content in without_reference(model).items():
        (tmp_path / "_model" / name).write_bytes(content)
    with raises("drift.no_reference", DataError, parameter="model"):
        gpuseg.drift(tmp_path / "_model", folder / "same.parquet")
    assert not leftovers(tmp_path)


def without_reference(model: Any) -> dict[str, bytes]:
    """Return the files of a model as a version without drift has written them."""
    files: dict[str, bytes] = replace(model, reference=None).to_files()
    return files
