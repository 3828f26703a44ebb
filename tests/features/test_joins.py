"""Attributes of customers joined to their features: what comes of it, counted and refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import call, manifest_of, read_parts, toml

import gpuseg


def lines(n: int = 3000) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table({
        "who": pa.array(rng.integers(0, 300, n)),
        "at": np.datetime64("2025-01-01", "us") + rng.integers(0, 3e10, n) * 1000,
        "each": np.round(rng.lognormal(2, 1, n), 2),
        "n": rng.integers(1, 5, n),
    })  # fmt: skip


def attributes(seed: int = 1) -> pa.Table:
    """Of customers 50 to 349, in no order, one of them without an id."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.arange(50, 350))
    return pa.table({
        "number": pa.array(who, mask=who == 349),
        "country": rng.choice(["DE", "FR", "IT"], 300),
        "age": pa.array(rng.integers(18, 90, 300), mask=rng.random(300) < 0.1),
    })  # fmt: skip


def job(folder: Path, out: str = "out", **changes: Any) -> dict[str, Any]:
    return {
        "transactions": {
            "path": str(folder / "lines"), "customer": "who", "time": "at", "quantity": "n",
            "price": "each",
        },
        "join": [{"path": str(folder / "attributes"), "id": "number"}],
        "prepare": {"missing": "mean", "categorical": {"country": "onehot"}},
        "segment": {"n_clusters": 4, "random_state": 0},
        "output": {"path": str(folder / out)},
        **changes,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lines").mkdir()
    (tmp_path / "attributes").mkdir()
    table, item = lines(), attributes()
    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), tmp_path / "lines" / f"{i}.parquet")
    pq.write_table(item.slice(0, 200), tmp_path / "attributes" / "a.parquet", row_group_size=64)
    pq.write_table(item.slice(200), tmp_path / "attributes" / "b.parquet")
    return tmp_path


def features(out: Path) -> pd.DataFrame:
    return pa.concat_tables(
        [pq.read_table(path) for path in sorted((out / "_features").glob("part-*"))]
    ).to_pandas()


def test_attributes_become_features_and_missing_ones_are_counted(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    without_join = {name: keys for name, keys in job(folder).items() if name != "join"}
    (folder / "job.toml").write_text(toml(without_join) + (
        f'\n[[join]]\npath = "{folder}/attributes"\nid = "number"\n'
    ))  # fmt: skip
    outcome = call(capfd, "run", folder / "job.toml")
    assert outcome.code == 0, outcome.err
    actual = features(folder / "out")
    expected = actual[["customer_id"]].merge(
        attributes().to_pandas(), left_on="customer_id", right_on="number", how="left"
    )
    assert actual["country"].isna().equals(expected["country"].isna())
    assert actual["country"].fillna("").tolist() == expected["country"].fillna("").tolist()
    np.testing.assert_array_equal(actual["age"], expected["age"])
    (item,) = manifest_of(folder / "out")["transactions"]["joins"]
    missing = int((actual["customer_id"] < 50).sum())
    assert item["customers_without"] == missing > 0
    assert item["customers"] + missing == len(actual)
    assert item["rows"] == 300 and item["rows_without_id"] == 1
    assert item["rows_of_no_customer"] == 299 - item["customers"]
    assert "nulls in country, age" in outcome.out + outcome.err
    model = gpuseg.load_model(folder / "out")
    assert "country=DE" in model.features and "age" not in model.features
    labels = read_parts(folder / "out")["segment"].to_pylist()
    assert model.predict(actual).tolist() == labels


@pytest.mark.slow
def test_the_same_bits_however_tables_are_filed(folder: Path, two_workers: dict[str, Any]) -> None:
    first = gpuseg.run(job(folder))
    table = attributes().to_pandas()
    others = folder / "other"
    others.mkdir()
    shuffled = table.sample(frac=1, random_state=3)
    for i in range(3):
        part = pa.Table.from_pandas(shuffled[i::3], preserve_index=False)
        pq.write_table(part.cast(attributes().schema), others / f"{i}.parquet")
    moved = [{"path": str(others), "id": "number"}]
    second = gpuseg.run(job(folder, "again", join=moved, runtime=two_workers))
    assert features(folder / "out").equals(features(folder / "again"))
    assert read_parts(folder / "out").equals(read_parts(folder / "again"))
    assert first.manifest["segments"] == second.manifest["segments"]


@pytest.mark.slow
def test_csv_and_ids_of_another_type(folder: Path) -> None:
    gpuseg.run(job(folder))
    pa.csv.write_csv(attributes(), folder / "attributes.csv")
    floats = attributes().set_column(0, "number", attributes()["number"].cast(pa.float64()))
    pq.write_table(floats, folder / "attributes.parquet")
    for name in ("attributes.csv", "attributes.parquet"):
        join = [{"path": str(folder / name), "id": "number"}]
        gpuseg.run(job(folder, f"out-{name}", join=join))
        assert features(folder / f"out-{name}").equals(features(folder / "out"))


def test_attributes_of_int96_keep_their_times(folder: Path) -> None:
    never = pa.array([dt.datetime(9999, 12, 31, 23)] * 350, pa.timestamp("us"))
    item = pa.table({"number": range(350), "ends": never})
    path = folder / "attributes.parquet"
    pq.write_table(item, path, use_deprecated_int96_timestamps=True)
    gpuseg.run(job(folder, join=[{"path": str(path), "id": "number"}], prepare={}))
    assert set(features(folder / "out")["ends"]) == {dt.datetime(9999, 12, 31, 23)}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_index_of_a_frame_is_no_attribute(folder: Path, suffix: str) -> None:
    frame, path = attributes().to_pandas().dropna()[3:], folder / f"attributes.{suffix}"
    frame = frame.astype({"number": int})
    frame.to_csv(path) if suffix == "csv" else frame.to_parquet(path)
    gpuseg.run(job(folder, join=[{"path": str(path), "id": "number"}], prepare={}))
    assert features(folder / "out").columns[-2:].tolist() == ["country", "age"]
    (item,) = manifest_of(folder / "out")["transactions"]["joins"]
    assert item["columns"] == ["country", "age"]


def test_hashed_ids_are_joined_before_they_are_hashed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    gpuseg.run(job(folder))
    item = job(folder, "hashed")
    item["transactions"]["id_hash_key_env"] = "ID_KEY"
    gpuseg.run(item)
    plain, hashed = features(folder / "out"), features(folder / "hashed")
    assert hashed["customer_id"].str.len().eq(64).all()
    assert sorted(plain["country"].fillna("")) == sorted(hashed["country"].fillna(""))
    assert np.nansum(plain["age"]) == np.nansum(hashed["age"])


def test_ids_in_csv_are_text(folder: Path) -> None:
    """Ids like 00012 and 7e3 are not read as numbers."""
    ids = [f"{i:05}" if i % 2 else f"{i}e3" for i in range(300)]
    table = lines().set_column(0, "who", pa.array([ids[i] for i in lines()["who"].to_pylist()]))
    item = pa.table({"number": ids, "country": [None, "DE", "FR"] * 100})
    for at, part in (("lines", table), ("attributes", item)):
        for old in (folder / at).iterdir():
            old.unlink()
        options = pa.csv.WriteOptions(delimiter=";" if at == "attributes" else ",")
        pa.csv.write_csv(part, folder / at / "a.csv", options)
    gpuseg.run(job(folder))
    actual = features(folder / "out")
    (facts,) = manifest_of(folder / "out")["transactions"]["joins"]
    assert facts["customers"] == len(actual) and facts["customers_without"] == 0
    assert actual["country"].isna().sum() > 50  # an empty cell is no category


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["no rows", "dictionaries", "views", "NaN ids"])
def test_unusual_tables(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    item = attributes()
    if kind == "no rows":
        item = item.slice(0, 0)
    elif kind == "dictionaries":
        monkeypatch.setattr("gpuseg.features.attributes._BATCH_ROWS", 50)
        item = item.set_column(1, "country", item["country"].cast(pa.string()).dictionary_encode())
    elif kind == "views":
        item = item.set_column(1, "country", item["country"].cast(pa.string_view()))
    else:
        floats = item["number"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        item = item.set_column(0, "number", pa.array(floats))
    (folder / "x").mkdir()
    pq.write_table(item, folder / "x" / "a.parquet", row_group_size=50)
    prepare = {"missing": "mean"}
    join = [{"path": str(folder / "x"), "id": "number"}]
    gpuseg.run(job(folder, join=join, prepare=prepare))
    actual = features(folder / "out")
    if kind == "no rows":
        assert actual["country"].isna().all()
        return
    gpuseg.run(job(folder, "plain", prepare=prepare))
    assert actual["country"].fillna("").equals(features(folder / "plain")["country"].fillna(""))


def test_dry_run_and_unknown_categories(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    without_join = {name: keys for name, keys in job(folder).items() if name != "join"}
    joined = f'\n[[join]]\npath = "{folder}/attributes"\nid = "number"\n'
    (folder / "job.toml").write_text(toml(without_join) + joined)
    outcome = call(capfd, "run", folder / "job.toml", "--dry-run")
    assert outcome.code == 0 and "[[join]]" in outcome.out
    outcome = call(
        capfd, "run", folder / "job.toml", "--dry-run", "--set",
        'prepare.categorical={nope = "onehot"}',
    )  # fmt: skip
    assert outcome.code == 2
    assert "prepare.categorical: 'nope'" in outcome.err


def test_attribute_rows_without_a_customer_are_counted(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    without_join = {name: keys for name, keys in job(folder).items() if name != "join"}
    joined = f'\n[[join]]\npath = "{folder}/attributes"\nid = "number"\n'
    (folder / "job.toml").write_text(toml(without_join) + joined)
    outcome = call(capfd, "features", folder / "job.toml")
    assert outcome.code == 0, outcome.err
    assert "unmatched rows" in outcome.out + outcome.err


def test_a_damaged_table_is_named(folder: Path) -> None:
    path = folder / "attributes" / "b.parquet"
    content = bytearray(path.read_bytes())
    content[8:400] = bytes(392)
    path.write_bytes(content)
    with raises("file.damaged"):
        gpuseg.run(job(folder))


def renamed(name: str, to: str) -> pa.Table:
    table = attributes()
    return table.rename_columns([to if column == name else column for column in table.column_names])


@pytest.mark.parametrize(("tables", "join", "code", "data"), [
    ([renamed("age", "spend")], {}, "join.duplicate_name", "spend"),
    ([renamed("age", "customer_id")], {}, "join.duplicate_name", "customer_id"),
    ([renamed("age", "email")], {}, "join.personal_data", "email"),
    ([attributes()], {"id": "numbre"}, "join.missing_column", "numbre"),
    ([attributes()], {"columns": ["number", "age"]}, "join.id_as_column", "number"),
    ([attributes().set_column(2, "number2", pa.array([4111111111111111] * 300))], {},
     "join.personal_data", "number2"),
    ([attributes()], {"columns": ["sex"]}, "join.missing_column", "sex"),
    ([attributes(), attributes().slice(7, 1)], {}, "join.duplicate_id",
     "row 7 of 0.parquet (rows count from 0) and row 0 of 1.parquet"),
    ([attributes(), renamed("age", "years")], {}, "join.schemas_differ", "int64 in 0.parquet"),
    ([attributes().set_column(0, "number", pa.array([f"c{i}" for i in range(300)]))], {},
     "join.id_type", "string, from row 0 of 0.parquet"),
])  # fmt: skip
def test_refuses(
    folder: Path, tables: list[pa.Table], join: dict[str, Any], code: str, data: str
) -> None:
    (folder / "bad").mkdir()
    for i, table in enumerate(tables):
        pq.write_table(table, folder / "bad" / f"{i}.parquet")
    section = [{"path": str(folder / "bad"), "id": "number", **join}]
    with raises(code, parameter="join[0]") as caught:
        gpuseg.run(job(folder, join=section))
    assert data in caught.value.problem
    assert not (folder / "out").exists()


@pytest.mark.parametrize("kind", ["csv", "text", "second file"])
def test_card_numbers_are_refused_however_they_are_written(folder: Path, kind: str) -> None:
    table = attributes().append_column("acct", pa.array([4111111111111111] * 300))
    as_text = table.set_column(3, "acct", table["acct"].cast(pa.string()))
    (folder / "bad").mkdir()
    if kind == "csv":
        pa.csv.write_csv(table, folder / "bad" / "a.csv")
    elif kind == "text":
        pq.write_table(as_text, folder / "bad" / "a.parquet")
    else:
        plain = table.set_column(3, "acct", pa.array(range(300)))
        pq.write_table(plain.slice(0, 100), folder / "bad" / "a.parquet")
        pq.write_table(table.slice(100), folder / "bad" / "b.parquet")
    join = [{"path": str(folder / "bad"), "id": "number"}]
    with raises("join.personal_data"):
        gpuseg.run(job(folder, join=join))
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["a.parquet", "b.parquet"])
def test_partitioned_tables_are_refused(folder: Path, name: str) -> None:
    (folder / "attributes" / "country=de").mkdir()
    (folder / "attributes" / name).rename(folder / "attributes" / "country=de" / name)
    with raises("join.partitioned"):
        gpuseg.run(job(folder))


def test_two_tables_with_a_column_of_one_name(folder: Path) -> None:
    twice = [{"path": str(folder / "attributes"), "id": "number"}] * 2
    with raises("join.duplicate_name", parameter="join[1]"):
        gpuseg.run(job(folder, join=twice))
    with raises("join.without_transactions", gpuseg.ConfigError, parameter="join"):
        gpuseg.run({
            "input": {"path": str(folder / "attributes")}, "join": twice,
            "output": {"path": str(folder / "out")},
        })  # fmt: skip
