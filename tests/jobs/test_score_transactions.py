"""A model of transaction lines scores lines: the same features, scores of RFM and segments."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import call, manifest_of, read_parts

import gpuseg
from gpuseg.errors import ConfigError, DataError

SNAPSHOT = datetime.date(2026, 1, 1)
ROLES = {"customer": "who", "time": "at", "order": "no", "quantity": "n", "price": "price"}


def lines(n: int = 3000, customers: int = 160, seed: int = 0) -> pa.Table:
    """Return lines of 2025, with returns, lines without a customer, and some of 2026."""
    rng = np.random.default_rng(seed)
    at = np.datetime64("2025-01-01", "us") + rng.integers(0, 400 * 24, n) * np.timedelta64(1, "h")
    who = (customers * rng.random(n) ** 2).astype(int)
    return pa.table({
        "who": pa.array([f"c{i:03}" for i in who], mask=rng.random(n) < 0.02),
        "at": at,
        "no": rng.integers(0, n // 2, n),
        "n": rng.integers(-1, 6, n),
        "price": np.round(rng.lognormal(2, 1, n), 2),
    })  # fmt: skip


def attributes(customers: int = 160) -> pa.Table:
    rng = np.random.default_rng(7)
    plans = np.array(["basic", "pro", "plus"])[rng.integers(0, 3, customers)]
    ids = [f"c{i:03}" for i in range(customers)]
    return pa.table({"who": ids, "plan": plans, "age": rng.integers(18, 80, customers)})


JOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rfm": {"transactions": {"rfm": True}},
    "rfm_clustered": {
        "transactions": {"features": ["recency_score", "rfm_segment", "spend"]},
        "prepare": {"categorical": {"rfm_segment": "onehot"}},
    },
    "joined": {
        "transactions": {"features": ["recency_days", "orders", "spend", "plan", "age"]},
        "prepare": {"categorical": {"plan": "onehot"}, "transform": {"spend": "log1p"}},
    },
    "hierarchy": {
        "segment": {"algorithm": "hierarchical", "levels": [2, 4], "micro_segments": 30},
    },
    "hashed": {"transactions": {"id_hash_key_env": "GPUSEG_TEST_ID_KEY"}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


@pytest.fixture(scope="module", params=JOBS)
def fitted(request: pytest.FixtureRequest, folder: Path) -> Path:
    """The output of a job of lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUSEG_TEST_ID_KEY", "a secret of more than sixteen characters")
        return fit(folder, request.param)


def fit(folder: Path, name: str) -> Path:
    target = folder / name
    if not target.exists():
        sections = JOBS[name]
        pq.write_table(lines(), folder / "lines.parquet")
        pq.write_table(attributes(), folder / "attributes.parquet")
        job = {
            "transactions": {
                "path": str(folder / "lines.parquet"), **ROLES, "snapshot": SNAPSHOT,
                **sections.get("transactions", {}),
            },
            "prepare": sections.get("prepare", {}),
            "segment": sections.get("segment", {"n_clusters": 4}),
            "output": {"path": str(target)},
        }  # fmt: skip
        if name == "joined":
            job["join"] = [{"path": str(folder / "attributes.parquet"), "id": "who"}]
        gpuseg.run(job)
    return target


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUSEG_TEST_ID_KEY", "a secret of more than sixteen characters")


def test_the_lines_of_the_fit_have_its_labels(fitted: Path, folder: Path, tmp_path: Path) -> None:
    result = gpuseg.score(fitted, folder / "lines.parquet", tmp_path / "out", snapshot=SNAPSHOT)
    assert read_parts(tmp_path / "out").equals(read_parts(fitted))
    built = [pa.concat_tables(map(pq.read_table, sorted((each / "_features").iterdir())))
             for each in (fitted, tmp_path / "out")]  # fmt: skip
    assert built[0].equals(built[1])
    of_fit, of_scores = (manifest_of(each)["transactions"] for each in (fitted, tmp_path / "out"))
    assert of_scores.get("rfm") == of_fit.get("rfm")
    assert of_scores["quality"] == of_fit["quality"]
    assert result.record.input.rows == manifest_of(fitted)["input"]["rows"]
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_lines_and_built_features_of_the_fit_have_no_drift(
    fitted: Path, folder: Path, tmp_path: Path
) -> None:
    scored = gpuseg.score(fitted, folder / "lines.parquet", tmp_path / "out", snapshot=SNAPSHOT)
    of_lines = gpuseg.drift(fitted, folder / "lines.parquet", snapshot=SNAPSHOT).record
    of_features = gpuseg.drift(fitted, fitted / "_features", built_features=True).record
    assert of_lines == of_features == scored.record.drift
    assert all(each.psi == 0 for each in (*of_lines.features, *of_lines.categories))
    later = gpuseg.drift(
        fitted, folder / "lines.parquet", snapshot=datetime.date(2026, 4, 1)
    ).record
    assert any(each.psi > 0 for each in (*later.features, *later.categories))


def test_some_customers_have_the_labels_of_the_fit(fitted: Path, tmp_path: Path) -> None:
    """Scores of RFM are by the borders of the fit, not by those of these customers."""
    some = lines()
    who = some["who"].to_pylist()
    some = some.filter(pa.array([i is not None and int(i[1:]) % 3 == 0 for i in who]))
    pq.write_table(some, tmp_path / "some.parquet")
    gpuseg.score(fitted, tmp_path / "some.parquet", tmp_path / "out", snapshot="2026-01-01")
    scored, labels = read_parts(tmp_path / "out"), read_parts(fitted)
    rows = {value: i for i, value in enumerate(labels["customer_id"].to_pylist())}
    at = [rows[value] for value in scored["customer_id"].to_pylist()]
    assert 30 < len(at) < len(labels)
    assert scored.equals(labels.take(at))


@pytest.mark.slow
def test_two_workers_and_text_files(
    folder: Path, tmp_path: Path, two_workers: dict[str, Any]
) -> None:
    import pyarrow.csv

    fitted = fit(folder, "joined")
    (tmp_path / "in").mkdir()
    for i in range(3):
        part = lines().slice(i * 1000, 1000)
        pyarrow.csv.write_csv(part, tmp_path / "in" / f"{i}.csv")
    overrides = [f"runtime.{key}={value}" for key, value in two_workers.items()]
    gpuseg.score(fitted, tmp_path / "in", tmp_path / "out", snapshot=SNAPSHOT, overrides=overrides)
    assert read_parts(tmp_path / "out").equals(read_parts(fitted))


def test_other_names_and_other_tables(folder: Path, tmp_path: Path) -> None:
    fitted = fit(folder, "joined")
    names = ["Kunde", "at", "Beleg", "n", "price"]
    pq.write_table(lines().rename_columns(names), tmp_path / "lines.parquet")
    others = attributes().append_column("email", pa.array(["a@b.de"] * 160))
    pq.write_table(others, tmp_path / "others.parquet")
    gpuseg.score(
        fitted, tmp_path / "lines.parquet", tmp_path / "out", snapshot=SNAPSHOT,
        overrides=[
            "transactions.customer=Kunde", "transactions.order=Beleg",
            f"join[0].path={tmp_path / 'others.parquet'}",
        ],
    )  # fmt: skip
    assert read_parts(tmp_path / "out").equals(read_parts(fitted))


def test_formats_of_the_fit(folder: Path, tmp_path: Path) -> None:
    """Numbers and times as text have the formats of the fit; other lines may have typed ones."""
    typed = lines()
    comma = [str(price).replace(".", ",") for price in typed["price"].to_pylist()]
    day = [f"{at:%d.%m.%Y %H:%M}" for at in typed["at"].to_pylist()]
    text = typed.set_column(1, "at", [day]).set_column(4, "price", [comma])
    for name, table in {"text": text, "typed": typed}.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    gpuseg.run({
        "transactions": {
            "path": str(tmp_path / "text.parquet"), **ROLES, "snapshot": SNAPSHOT,
            "decimal": ",", "time_format": "%d.%m.%Y %H:%M",
        },
        "segment": {"n_clusters": 4},
        "output": {"path": str(tmp_path / "fit")},
    })  # fmt: skip
    for name in ("text", "typed"):
        source, out = tmp_path / f"{name}.parquet", tmp_path / f"{name}_out"
        gpuseg.score(tmp_path / "fit", source, out, snapshot=SNAPSHOT)
        assert read_parts(out).equals(read_parts(tmp_path / "fit"))


def test_the_default_snapshot_is_after_the_last_line(folder: Path, tmp_path: Path) -> None:
    gpuseg.score(fit(folder, "plain"), folder / "lines.parquet", tmp_path / "out")
    last = max(lines()["at"].to_pylist())
    midnight = datetime.datetime.combine(last.date(), datetime.time()) + datetime.timedelta(1)
    assert manifest_of(tmp_path / "out")["transactions"]["snapshot"] == midnight.isoformat()


def test_built_features_are_a_table(folder: Path, tmp_path: Path) -> None:
    fitted = fit(folder, "rfm")
    built = sorted((fitted / "_features").iterdir())
    for i, path in enumerate(built):
        pq.write_table(pq.read_table(path), tmp_path / f"{i}.parquet")
    paths = sorted(tmp_path.glob("*.parquet"))
    with raises("transactions.missing_column", DataError) as caught:
        gpuseg.score(fitted, paths, tmp_path / "out")
    assert "built_features" in str(caught.value)
    gpuseg.score(fitted, paths, tmp_path / "out", built_features=True)
    labels = read_parts(fitted).select(["customer_id", "segment", "distance"])
    assert read_parts(tmp_path / "out").equals(labels)


def test_lookalikes_among_the_customers_of_lines(folder: Path, tmp_path: Path) -> None:
    fitted = fit(folder, "rfm")
    gpuseg.score(
        fitted, folder / "lines.parquet", tmp_path / "out", snapshot=SNAPSHOT, like=1, top=9
    )
    table = read_parts(tmp_path / "out")
    assert len(table) == 9
    assert {"rfm_score", "rfm_segment", "like_distance", "rank"} <= {*table.column_names}


def test_a_scored_output_scores_again(folder: Path, tmp_path: Path) -> None:
    fitted, source = fit(folder, "rfm_clustered"), folder / "lines.parquet"
    gpuseg.score(fitted, source, tmp_path / "one", snapshot=SNAPSHOT)
    gpuseg.score(tmp_path / "one", source, tmp_path / "two", snapshot=SNAPSHOT)
    assert read_parts(tmp_path / "two").equals(read_parts(fitted))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"id": "who"}, "id.of_lines"),
        ({"built_features": True, "snapshot": SNAPSHOT}, "snapshot.without_lines"),
        ({"snapshot": "soon"}, "score.invalid_value"),
        ({"overrides": ["transactions.custmer=who"]}, "score.unknown_key"),
        ({"overrides": ["transactions.price=cost"]}, "transactions.missing_column"),
        ({"overrides": ["transactions.features=['spend']"]}, "features.of_model"),
        ({"overrides": ["transactions.rfm=true"]}, "rfm.of_model"),
        ({"overrides": ["join[1].path=x"]}, "override.no_such_section"),
        ({"overrides": ["join[0].path=/nowhere/at/all"]}, "path.not_found"),
        ({"snapshot": "1990-01-01"}, "transactions.no_purchase_before_snapshot"),
    ],
)
def test_wrong_options(options: dict[str, Any], code: str, folder: Path, tmp_path: Path) -> None:
    fitted = fit(folder, "joined")
    with raises(code, (ConfigError, DataError)):
        gpuseg.score(fitted, folder / "lines.parquet", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_lines_that_lack_what_a_feature_needs(folder: Path, tmp_path: Path) -> None:
    fitted = fit(folder, "plain")
    pq.write_table(lines().drop_columns(["no"]), tmp_path / "lines.parquet")
    with raises("transactions.missing_column", DataError) as caught:
        gpuseg.score(fitted, tmp_path / "lines.parquet", tmp_path / "out")
    assert "--set transactions.order=NAME names another; did you mean" in str(caught.value)
    assert "built_features" not in str(caught.value)


def test_the_command_line(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fitted, source = fit(folder, "plain"), folder / "lines.parquet"
    out = tmp_path / "out"
    outcome = call(capfd, "score", fitted, source, out, "--snapshot", "2026-01-01")
    assert outcome.code == 0
    assert read_parts(out).equals(read_parts(fitted))
    assert call(capfd, "score", fitted, "--stdin", "--snapshot", "2026-01-01").code == 2
