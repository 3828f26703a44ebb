"""Features from transactions: an independent computation, the same bits, bad lines."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import call, listing, manifest_of, toml

import gpuseg
from gpuseg.backends.customers import TransactionLines
from gpuseg.backends.numba.customers import NumbaCustomers
from gpuseg.backends.numpy.customers import NumpyCustomers
from gpuseg.features import from_transactions
from gpuseg.features.definitions import FEATURES
from gpuseg.jobs.run_features import run_features
from gpuseg.runtime.executor import TaskContext

Array = npt.NDArray[Any]

NAMES = tuple(feature.name for feature in FEATURES)

ROLES: dict[str, Any] = {
    "customer": "who", "time": "at", "order": "order", "product": "sku", "category": "shelf",
    "quantity": "n", "price": "each",
}  # fmt: skip
RETAIL = Path(__file__).parents[3] / "shared" / "data" / "online_retail_to_2011-08.parquet"


def dirty_lines(n: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Lines with returns, repeated ones, missing values, free ones, and whole days of few times."""
    rng = np.random.default_rng(seed)
    at = np.datetime64("2024-03-01") + rng.integers(0, 500 * 24 * 4, n) * np.timedelta64(15, "m")
    frame = pd.DataFrame({
        "who": pd.array(rng.integers(0, n // 12, n), "Int64"),
        "at": at.astype("datetime64[us]"),
        "order": rng.integers(0, n // 3, n).astype(str),
        "sku": rng.choice(["lamp", "cup", "chair", "", "table"], n),
        "shelf": rng.choice(["kitchen", "living"], n),
        "n": rng.integers(-2, 9, n).astype(float),
        "each": np.round(rng.lognormal(2, 1.5, n), 2),
    })  # fmt: skip
    for name, share in (("who", 0.1), ("sku", 0.05), ("shelf", 0.2), ("n", 0.02), ("order", 0.05)):
        frame.loc[rng.random(n) < share, name] = None
    frame.loc[rng.random(n) < 0.02, "each"] = 0.0
    frame.loc[rng.random(n) < 0.01, "each"] = -5.0
    frame.loc[rng.random(n) < 0.01, "at"] = None
    return pd.concat([frame, frame.sample(n // 20, random_state=seed)]).reset_index(drop=True)


def by_pandas(frame: pd.DataFrame, roles: dict[str, Any], snapshot: pd.Timestamp) -> pd.DataFrame:
    """Compute the features from their documented definitions, in pandas."""
    names = {name: role for role, name in roles.items() if name is not None}
    purchases = frame.rename(columns=names)[list(names.values())].copy()
    purchases["amount"] = purchases.quantity * purchases.price
    purchases = purchases[
        purchases.customer.notna() & (purchases.time < snapshot) & (purchases.price > 0)
    ]
    back = purchases[purchases.quantity < 0].groupby("customer").amount.sum()
    purchases = purchases[purchases.quantity > 0].copy()
    purchases["order"] = (
        purchases["order"].astype(object).where(purchases["order"].notna(), purchases.time)
    )
    day, groups = pd.Timedelta(days=1), purchases.groupby("customer")
    first, last = groups.time.min(), groups.time.max()

    def spend_of(rows: pd.Series) -> pd.Series:
        return purchases[rows].groupby("customer").amount.sum().reindex(first.index, fill_value=0.0)

    age = snapshot - purchases.time
    spend = groups.amount.sum()
    starts = purchases.groupby(["customer", "order"]).time.min().reset_index()
    starts = starts.sort_values(["customer", "time"])
    gaps = (starts.groupby("customer").time.diff() / day).groupby(starts.customer)
    recent, before = spend_of(age <= 90 * day), spend_of((age > 90 * day) & (age <= 180 * day))
    hours = purchases.time.dt.hour
    result = pd.DataFrame({
        "recency_days": (snapshot - last) / day,
        "orders": groups["order"].nunique(),
        "spend": spend,
        "tenure_days": (snapshot - first) / day,
        "products": groups["product"].nunique(),
        "items": groups.quantity.sum(),
        "avg_order_value": spend / groups["order"].nunique(),
        "gap_mean_days": gaps.mean(),
        "gap_std_days": gaps.std(ddof=0),
        "return_share": -back.reindex(first.index, fill_value=0.0) / spend,
        "spend_30d": spend_of(age <= 30 * day),
        "spend_90d": recent,
        "spend_365d": spend_of(age <= 365 * day),
        "spend_trend": ((recent - before) / (recent + before)).fillna(0.0),
        "weekend_share": spend_of(purchases.time.dt.day_of_week >= 5) / spend,
        "night_share": spend_of((hours >= 22) | (hours < 6)) / spend,
    })  # fmt: skip
    if "category" in purchases:
        shelves = purchases.groupby(["customer", "category"]).amount.sum().groupby("customer").max()
        result["top_category_share"] = shelves.reindex(first.index, fill_value=0.0) / spend
    return result


def same_within(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Assert that all features of all customers agree, relatively to 1e-9."""
    actual = actual.set_index("customer_id").sort_index()
    expected = expected.sort_index()
    assert actual.index.tolist() == expected.index.tolist()
    assert actual.columns.tolist() == expected.columns.tolist()
    for name in expected:
        np.testing.assert_allclose(
            actual[name].astype(float), expected[name].astype(float), rtol=1e-9, atol=1e-12,
            err_msg=name,
        )  # fmt: skip


@pytest.mark.parametrize("n", [1, 31, 257, 3000])
@pytest.mark.parametrize("kind", ["plain", "ties", "one customer"])
def test_backends_describe_customers_alike(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    few = 2 if kind == "ties" else 40
    n_customers = 1 if kind == "one customer" else max(1, n // 9)
    hashes = [rng.integers(0, few, n).astype(np.uint64) for _ in range(3)]
    kinds = rng.integers(0, 4, n).astype(np.uint8)
    amount = rng.integers(1, few, n) / 7
    lines = TransactionLines(
        rng.integers(0, n_customers, n), kinds,
        rng.integers(-few, few, n) * 86_400_000_000 // 3, *hashes,
        rng.integers(1, few, n).astype(float), np.where(kinds == 1, -amount, amount),
    )  # fmt: skip
    expected = NumpyCustomers().aggregate(lines, n_customers, 2**50, map)
    for order in (np.arange(n), rng.permutation(n)):
        mixed = TransactionLines(*(column[order] for column in lines))
        actual = NumbaCustomers().aggregate(mixed, n_customers, 2**50, TaskContext(2).map)
        assert actual.values.tobytes() == expected.values.tobytes()
        assert actual.counts.tobytes() == expected.counts.tobytes()


@pytest.mark.parametrize("snapshot", [None, "2025-01-15T12:30:00"])
def test_every_feature_equals_an_independent_computation(snapshot: str | None) -> None:
    frame = dirty_lines()
    actual = from_transactions(frame, **ROLES, snapshot=snapshot)
    last = frame.loc[frame.who.notna(), "at"].max().normalize() + pd.Timedelta(days=1) \
        if snapshot is None else pd.Timestamp(snapshot)  # fmt: skip
    assert actual.columns.tolist() == ["customer_id", *NAMES]
    same_within(actual, by_pandas(frame.replace({"sku": {"": None}}), ROLES, last))


@pytest.mark.slow
@pytest.mark.skipif(not RETAIL.exists(), reason="the retail data are not here")
def test_retail_lines_to_segments(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f"""[transactions]
path = "{RETAIL}"
customer = "CustomerID"
time = "InvoiceDate"
order = "InvoiceNo"
product = "StockCode"
quantity = "Quantity"
price = "UnitPrice"
[prepare]
transform = "log1p"
[segment]
n_clusters = 4
[output]
path = "{tmp_path}/out"
""")
    assert call(capfd, "run", job).code == 0
    manifest = manifest_of(tmp_path / "out")
    assert manifest["transactions"]["quality"]["lines"] == 320_705
    steps = {
        step["finding"]: step["lines"] for step in manifest["transactions"]["quality"]["steps"]
    }
    assert steps["lines without a customer"] == 88_652
    assert sum(segment["size"] for segment in manifest["segments"]) == 3317
    actual = pq.read_table(tmp_path / "out" / "_features").to_pandas()
    roles = {
        "customer": "CustomerID", "time": "InvoiceDate", "order": "InvoiceNo",
        "product": "StockCode", "quantity": "Quantity", "price": "UnitPrice",
    }  # fmt: skip
    same_within(actual, by_pandas(pd.read_parquet(RETAIL), roles, pd.Timestamp("2011-09-01")))


def filed(folder: Path, frame: pd.DataFrame, *sizes: int, rows: int = 300) -> Path:
    """Write the lines to Parquet files of these sizes; the last one has the rest."""
    folder.mkdir()
    starts = [0, *np.cumsum(sizes).tolist()]
    for i, (a, b) in enumerate(itertools.zip_longest(starts, starts[1:])):
        frame.iloc[a:b].to_parquet(folder / f"{i}.parquet", row_group_size=rows, index=False)
    return folder


def features_job(source: Path | str, target: Path, **changes: Any) -> dict[str, Any]:
    """A job that builds features from lines with `ROLES`."""
    transactions = {"path": str(source), **ROLES, **changes}
    return {
        "transactions": {k: v for k, v in transactions.items() if v is not None},
        "segment": {"n_clusters": 3},
        "output": {"path": str(target)},
    }


def everything(folder: Path) -> tuple[Any, ...]:
    """Return all of an output that must not depend on where and how it was computed."""
    manifest = manifest_of(folder)
    parts = [pq.read_table(path) for path in sorted(folder.glob("part-*"))]
    built = [pq.read_table(path) for path in sorted((folder / "_features").glob("part-*"))]
    return (
        pa.concat_tables(built).to_pydict(), pa.concat_tables(parts).to_pydict(),
        manifest["transactions"]["quality"], manifest["segments"],
    )  # fmt: skip


@pytest.mark.slow
def test_the_same_bits_however_lines_are_filed(tmp_path: Path, two_workers: dict[str, Any]) -> None:
    frame = dirty_lines()
    mixed = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    sources = {
        "one": filed(tmp_path / "one", frame, rows=10_000),
        "five": filed(tmp_path / "five", frame, 100, 1, 2500, 700),
        "mixed": filed(tmp_path / "mixed", mixed, 2000),
    }
    actual = {}
    for name, source in sources.items():
        gpuseg.run(features_job(source, tmp_path / f"out-{name}"))
        actual[name] = everything(tmp_path / f"out-{name}")
    gpuseg.run({
        **features_job(sources["five"], tmp_path / "out-dask"),
        "runtime": two_workers,
    })  # fmt: skip
    actual["dask"] = everything(tmp_path / "out-dask")
    assert len(actual["one"][0]["spend"]) > 200
    for name in ("five", "mixed", "dask"):
        assert actual[name] == actual["one"], name
    assert not list(tmp_path.glob("out-*/_scratch"))


def test_csv_is_read_as_parquet_is(tmp_path: Path) -> None:
    frame = dirty_lines()
    frame["who"] = frame.who.astype("string")
    plain = filed(tmp_path / "plain", frame)
    for name, separator in (("lines.csv", ","), ("lines.csv.gz", ";"), ("lines.tsv", "\t")):
        file = tmp_path / name
        frame.to_csv(file, index=False, sep=separator)
        assert from_transactions(file, **ROLES).equals(from_transactions(plain, **ROLES))


def test_times_and_numbers_may_be_text_and_of_other_types() -> None:
    frame = dirty_lines()
    expected = from_transactions(frame, **ROLES)
    local = frame["at"].dt.tz_localize("Asia/Tokyo")
    text = frame["at"].dt.strftime("%Y-%m-%d %H:%M:%S")
    for at in (local, text, frame["at"].astype("datetime64[ns]")):
        pd.testing.assert_frame_equal(from_transactions(frame.assign(at=at), **ROLES), expected)
    numbers = {name: frame[name].astype("string") for name in ("n", "each")}
    pd.testing.assert_frame_equal(from_transactions(frame.assign(**numbers), **ROLES), expected)
    shelf = frame["shelf"].astype("category")
    pd.testing.assert_frame_equal(from_transactions(frame.assign(shelf=shelf), **ROLES), expected)


def test_amounts_in_place_of_prices() -> None:
    frame = dirty_lines().dropna(subset=["n"])
    frame = frame[frame.each > 0]
    paid = frame.assign(paid=frame.n * frame.each)
    roles = {**ROLES, "price": None, "amount": "paid"}
    pd.testing.assert_frame_equal(
        from_transactions(paid, **roles), from_transactions(frame, **ROLES)
    )
    few = from_transactions(paid, customer="who", time="at", amount="paid")
    needing = {f.name for f in FEATURES if f.needs is not None}
    assert few.columns.tolist() == ["customer_id", *(n for n in NAMES if n not in needing)]


def test_nothing_after_the_snapshot_leaks_in() -> None:
    frame, snapshot = dirty_lines(), dt.datetime(2024, 9, 1)
    before = from_transactions(frame[frame["at"] < snapshot], **ROLES, snapshot=snapshot)
    pd.testing.assert_frame_equal(from_transactions(frame, **ROLES, snapshot=snapshot), before)
    assert len(before) > 100
    assert (before.recency_days > 0).all()


def test_ids_keep_their_type() -> None:
    frame = dirty_lines(600)
    for kind in (pa.int32(), pa.int64(), pa.string(), pa.float64()):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        item = table.set_column(0, "who", table["who"].cast(kind))
        assert from_transactions(item, **ROLES)["customer_id"].type == kind


def changed(frame: pd.DataFrame, **columns: Callable[[pd.Series], Any]) -> pd.DataFrame:
    return frame.assign(**{name: change(frame[name]) for name, change in columns.items()})


def put(row: int, value: Any) -> Callable[[pd.Series], Any]:
    """Return what makes a column one of objects with a value in one row."""

    def change(column: pd.Series) -> Any:
        values = column.astype(object)
        values[row] = value
        return values

    return change


def test_files_must_agree_on_the_type_of_ids(tmp_path: Path) -> None:
    frame = dirty_lines(600)
    folder = filed(tmp_path / "in", frame, 300)
    frame.assign(who=frame.who.astype("string")).to_parquet(folder / "2.parquet")
    with raises("transactions.schemas_differ", parameter="customer"):
        from_transactions(folder, **ROLES)


@pytest.mark.parametrize(("spoil", "roles", "code", "data"), [
    (lambda f: changed(f.assign(at=f["at"].astype("string")), at=put(41, "31/12/2024")), {},
     "transactions.unreadable_time", "'31/12/2024': time 'at' in row 41 of lines.parquet"),
    (lambda f: changed(f.assign(each=f.each.astype("string")), each=put(17, "3.50 kg")), {},
     "transactions.unreadable_value", "'3.50 kg': price 'each' in row 17 of lines.parquet"),
    (lambda f: changed(f, each=put(5, np.inf)), {},
     "transactions.infinite", "inf: price 'each' in row 5 of lines.parquet"),
    (lambda f: f.assign(who=None), {}, "transactions.no_customer", "400 lines"),
    (lambda f: f.assign(at=pd.NaT), {}, "transactions.no_time", ""),
    (lambda f: f, {"snapshot": "2020-01-01"},
     "transactions.no_purchase_before_snapshot", "2020-01-01"),
    (lambda f: f.assign(n=-1.0), {}, "transactions.no_purchase", " 0 "),
    (lambda f: f.drop(columns="sku"), {},
     "transactions.missing_column", "'sku' in lines.parquet"),
    (lambda f: f.assign(at=7), {},
     "transactions.unreadable_time", "is of type int64"),
    (lambda f: f, {"price": None}, "", ""),
    (lambda f: f, {"features": ["spent"]}, "", "spent"),
    (lambda f: f, {"snapshot": "soon"}, "", "soon"),
    (lambda f: f, {"custmer": "who"}, "", "custmer"),
    (lambda f: f.iloc[:0], {}, "transactions.no_lines", "1 file has"),
])  # fmt: skip
def test_bad_lines(
    tmp_path: Path, spoil: Callable[[pd.DataFrame], pd.DataFrame], roles: dict[str, Any],
    code: str, data: str,
) -> None:  # fmt: skip
    frame = dirty_lines(400).iloc[:400].reset_index(drop=True)
    file = tmp_path / "lines.parquet"
    spoil(frame).to_parquet(file, index=False)
    with pytest.raises(gpuseg.GpusegError) as error:
        gpuseg.run(features_job(file, tmp_path / "out", **roles))
    assert data in str(error.value)
    assert not code or error.value.code == code
    assert not (tmp_path / "out").exists()


def test_customers_whose_lines_are_all_dropped_are_counted_after_those(tmp_path: Path) -> None:
    frame = dirty_lines(400).iloc[:400].reset_index(drop=True)
    unusable = frame.iloc[:10].assign(who=[900000 + i // 2 for i in range(10)], n=0.0)
    file = tmp_path / "lines.parquet"
    frame.to_parquet(file, index=False)
    before = steps_of(gpuseg.run(features_job(file, tmp_path / "before")))
    pd.concat([frame, unusable.astype(frame.dtypes)]).to_parquet(file, index=False)
    after = steps_of(gpuseg.run(features_job(file, tmp_path / "after")))
    finding = "customers whose lines are all dropped above"
    lines, customers = before.get(finding, (0, 0))
    assert after[finding] == (lines + 10, customers + 5)
    names = list(after)
    assert names.index("quantity of zero") < names.index(finding)
    assert "on or after the snapshot" not in names[: names.index(finding)]


def steps_of(result: Any) -> dict[str, tuple[int, int]]:
    """Return lines and customers of each finding in the lines."""
    steps = result.manifest["transactions"]["quality"]["steps"]
    return {step["finding"]: (step["lines"], step["customers"]) for step in steps}


@pytest.mark.parametrize(("section", "parameter"), [
    ("transactions", "transactions_path"), ("join", "join[0].path"),
])  # fmt: skip
def test_a_missing_file_may_be_csv(tmp_path: Path, section: str, parameter: str) -> None:
    file = tmp_path / "lines.parquet"
    dirty_lines(40).to_parquet(file)
    job = features_job(file, tmp_path / "out")
    job["join"] = [{"path": str(file), "id": "who", "columns": ["shelf"]}]
    table = job[section] if section == "transactions" else job[section][0]
    table["path"] = str(tmp_path / "nofile.csv")
    with raises("path.not_found", parameter=parameter) as caught:
        gpuseg.run(job)
    assert "CSV" in caught.value.hint and "Parquet" in caught.value.hint


def test_the_features_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, path = filed(tmp_path / "in", dirty_lines(), 1000), tmp_path / "job.toml"
    path.write_text(toml(features_job(source, tmp_path / "out", snapshot="2025-06-01")))
    dry = call(capfd, "features", path, "--set", f"output.path={tmp_path}/elsewhere", "--json")
    assert dry.code == 0
    outcome = call(capfd, "features", path)
    assert outcome.code == 0
    assert "lines without a customer" in outcome.out
    actual = pa.concat_tables(
        [pq.read_table(file) for file in sorted((tmp_path / "out").glob("p*"))]
    )
    assert actual.equals(from_transactions(source, **ROLES, snapshot="2025-06-01"))
    manifest = manifest_of(tmp_path / "out")
    assert [item["name"] for item in manifest["features"]] == list(NAMES)
    assert manifest["transactions"]["snapshot"] == "2025-06-01T00:00:00"
    planned = call(capfd, "run", path, "--dry-run")
    assert planned.code == 2  # the output is there already
    planned = call(capfd, "run", path, "--dry-run", "--set", f"output.path={tmp_path}/planned")
    assert planned.code == 0 and "lines        4,200 in 2 files" in planned.out


@pytest.mark.parametrize("first, second", [
    (gpuseg.run, run_features), (run_features, gpuseg.run),
])  # fmt: skip
@pytest.mark.parametrize("overwrite", [False, True])
def test_segments_and_features_do_not_replace_each_other(
    tmp_path: Path, first: Callable[..., Any], second: Callable[..., Any], overwrite: bool
) -> None:
    lines = filed(tmp_path / "in", dirty_lines(), 1000)
    job = features_job(lines, tmp_path / "out", snapshot="2025-06-01")
    job["output"]["overwrite"] = overwrite
    first(job)
    before = listing(tmp_path / "out")
    with raises("output.other_kind", gpuseg.ConfigError, parameter="output_path"):
        second(job)
    assert listing(tmp_path / "out") == before


def test_features_replace_features(tmp_path: Path) -> None:
    job = features_job(filed(tmp_path / "in", dirty_lines(), 1000), tmp_path / "out")
    job["output"]["overwrite"] = True
    runs = {run_features(job).record.run_id for _ in range(2)}
    assert manifest_of(tmp_path / "out")["run_id"] in runs and len(runs) == 2


def test_a_feature_that_is_the_same_for_all_is_not_clustered_by(tmp_path: Path) -> None:
    frame = dirty_lines().assign(n=1.0, each=2.0)
    frame["order"] = frame["who"].astype("string")
    result = gpuseg.run(features_job(filed(tmp_path / "in", frame), tmp_path / "out"))
    assert "orders" not in result.manifest["job"]["transactions"]["features"]
    assert any(
        "feature 'orders' has the same value" in item for item in result.manifest["warnings"]
    )


def test_the_job_of_the_manifest_runs_again(tmp_path: Path) -> None:
    source = filed(tmp_path / "in", dirty_lines(), 1000)
    first = gpuseg.run(features_job(source, tmp_path / "one", snapshot="2025-06-01"))
    job = first.manifest["job"]
    gpuseg.run({**job, "output": {**job["output"], "path": str(tmp_path / "two")}})
    assert everything(tmp_path / "one") == everything(tmp_path / "two")
    report = (tmp_path / "one" / "_report.html").read_text()
    assert "The transactions" in report and "lines without a customer" in report


def test_lines_are_scored_like_those_of_the_fit(tmp_path: Path) -> None:
    result = gpuseg.run(features_job(filed(tmp_path / "in", dirty_lines()), tmp_path / "out"))
    built = pa.concat_tables(
        [pq.read_table(path) for path in sorted((tmp_path / "out" / "_features").glob("part-*"))]
    )
    parts = pa.concat_tables(
        [pq.read_table(path) for path in sorted((tmp_path / "out").glob("part-*"))]
    )
    features = result.manifest["job"]["transactions"]["features"]
    x = np.stack([built[name].to_numpy() for name in features], axis=1)
    assert result.model.predict(x).tolist() == parts["segment"].to_pylist()
    assert built["customer_id"].equals(parts["customer_id"])


def test_a_full_disk_while_lines_are_parted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    source = filed(tmp_path / "in", dirty_lines())
    monkeypatch.setattr("gpuseg.features.spill.by_bucket", full)
    with raises("output.not_writable"):
        gpuseg.run(features_job(source, tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_features_on_an_object_store(tmp_path: Path) -> None:
    source = filed(tmp_path / "in", dirty_lines(), 1000)
    here = gpuseg.run(features_job(source, tmp_path / "out"))
    there = gpuseg.run(features_job(source, "memory://gpuseg-features/out"))  # type: ignore[arg-type]
    memory = fsspec.filesystem("memory")
    names = memory.ls("/gpuseg-features/out/_features", detail=False)
    item = pa.concat_tables([pq.read_table(memory.open(name)) for name in sorted(names)])
    expected = pa.concat_tables(
        [pq.read_table(path) for path in sorted((tmp_path / "out" / "_features").glob("part-*"))]
    )
    assert item.equals(expected)
    assert here.manifest["segments"] == there.manifest["segments"]
    assert not [name for name in memory.find("/gpuseg-features") if "_scratch" in name]


def test_text_without_a_time_is_no_time() -> None:
    lines = pa.table({"who": ["a"] * 4, "paid": [1.0, 2.0, 4.0, 8.0],
                      "at": ["2020-01-01", "", "  ", None]})  # fmt: skip
    actual = from_transactions(lines, customer="who", time="at", amount="paid")
    assert actual["spend"].to_pylist() == [1.0]
    assert actual["tenure_days"].to_pylist() == [1.0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_unit_and_before_1970(unit: str) -> None:
    at = np.array(["1950-03-01T12:00", "1970-01-01T00:00", "2020-01-01T06:00"], f"M8[{unit}]")
    lines = pa.table({"who": [1, 1, 1], "paid": [1.0, 1.0, 1.0], "at": at})
    actual = from_transactions(lines, customer="who", time="at", amount="paid")
    assert actual["recency_days"].to_pylist() == [0.75]
    assert actual["tenure_days"].to_pylist() == [
        (dt.date(2020, 1, 2) - dt.date(1950, 3, 1)).days - 0.5
    ]
    assert actual["night_share"].to_pylist() == [1 / 3]


def as_int96(table: pa.Table, path: Path, store_schema: bool = True) -> Path:
    """Write a table as Spark does by default."""
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=store_schema)
    return path


@pytest.mark.parametrize("store_schema", [True, False])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_int96_are_those_of_other_types(
    tmp_path: Path, unit: str, store_schema: bool
) -> None:
    at = np.array(["1700-03-01T12:00", "1969-12-31T23:59", "2261-12-31T06:00"], f"M8[{unit}]")
    lines = pa.table({"who": [1, 1, 1], "paid": [1.0, 1.0, 1.0], "at": at})
    roles = {"customer": "who", "time": "at", "amount": "paid"}
    path = as_int96(lines, tmp_path / "lines.parquet", store_schema)
    assert from_transactions(path, **roles).equals(from_transactions(lines, **roles))


@pytest.mark.parametrize("kind", ["int96", "s", "ms", "us", "date32", "date64"])
@pytest.mark.parametrize("year", [1, 1677, 2262, 9999])
def test_years_that_not_every_unit_holds_are_refused(tmp_path: Path, kind: str, year: int) -> None:
    last = dt.datetime(year, 12, 31)
    types = {"int96": pa.timestamp("us"), "date32": pa.date32(), "date64": pa.date64()}
    at = pa.array([dt.datetime(2020, 1, 1), last]).cast(types.get(kind) or pa.timestamp(kind))
    lines = pa.table({"who": [1, 1], "paid": [1.0, 1.0], "at": at})
    source: Any = lines
    if kind == "int96":
        source = as_int96(lines, tmp_path / "lines.parquet")
    with raises("transactions.time_out_of_range"):
        from_transactions(source, customer="who", time="at", amount="paid")


def test_dates_with_a_time_of_day_and_unknown_time_zones() -> None:
    millis = pa.array([0, 86_400_000 + 7_200_000], pa.int64())
    dates = pa.Array.from_buffers(pa.date64(), 2, millis.buffers())
    lines = pa.table({"who": [1, 1], "paid": [1.0, 1.0], "at": dates})
    roles = {"customer": "who", "time": "at", "amount": "paid"}
    assert from_transactions(lines, **roles)["tenure_days"].to_pylist() == [2.0]
    nowhere = lines.set_column(2, "at", millis.cast(pa.timestamp("us", "Mars/Phobos")))
    with raises("column.unknown_time_zone"):
        from_transactions(nowhere, **roles)


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 253402214400])
def test_times_that_stand_for_none(seconds: int) -> None:
    at = pa.array([0, seconds], pa.int64()).cast(pa.timestamp("s"))
    lines = pa.table({"who": [1, 1], "paid": [1.0, 1.0], "at": at})
    with raises("transactions.time_out_of_range"):
        from_transactions(lines, customer="who", time="at", amount="paid")


def test_a_snapshot_with_a_time_zone_is_refused(tmp_path: Path) -> None:
    aware = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    with raises("snapshot.has_time_zone", gpuseg.ConfigError, parameter="snapshot"):
        from_transactions(dirty_lines(60), **ROLES, snapshot=aware)
    with raises("snapshot.has_time_zone", gpuseg.ConfigError, parameter="transactions.snapshot"):
        gpuseg.run(features_job("nowhere", tmp_path / "out", snapshot="2025-01-01T00:00:00Z"))


def test_a_price_or_an_amount_is_needed() -> None:
    lines = pa.table({"who": [1], "at": ["2025-01-01"], "paid": [1.0]})
    for roles in ({}, {"price": "paid", "amount": "paid"}):
        with raises("transactions.price_or_amount", gpuseg.ConfigError, parameter=None):
            from_transactions(lines, customer="who", time="at", **roles)


def test_files_must_agree_on_the_time_zone(tmp_path: Path) -> None:
    frame = dirty_lines(600)
    folder = filed(tmp_path / "in", frame, 300)
    frame.assign(at=frame["at"].dt.tz_localize("UTC")).to_parquet(folder / "2.parquet")
    with raises("transactions.schemas_differ", parameter="time"):
        from_transactions(folder, **ROLES)


def test_lines_with_an_amount_but_no_quantity_add_no_items() -> None:
    rng = np.random.default_rng(0)
    lines = pa.table({
        "who": [1] * 6, "paid": [0.1, 0.2, 0.3, 1.1, 2.2, 2.7], "at": [dt.date(2020, 1, 1)] * 6,
        "n": [1.0, None, 2.0, None, None, 1.0],
    })  # fmt: skip
    roles = {"customer": "who", "time": "at", "amount": "paid", "quantity": "n"}
    actual = [
        from_transactions(lines.take(pa.array(rng.permutation(6))), **roles, backend=backend)
        for backend in ("numpy", "numba")
        for _ in range(9)
    ]
    assert all(item.equals(actual[0]) for item in actual)
    assert actual[0]["items"].to_pylist() == [4.0]


def test_frames_with_views_mixed_columns_and_uuids() -> None:
    frame = dirty_lines(600)
    expected = from_transactions(frame, **ROLES)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    views = table.set_column(3, "sku", table["sku"].cast(pa.string_view()))
    assert from_transactions(views, **ROLES).to_pandas().equals(expected)
    junk = frame.assign(junk=[1, "x"] * (len(frame) // 2))
    pd.testing.assert_frame_equal(from_transactions(junk, **ROLES), expected)
    mixed = frame.assign(order=frame.index.to_series().map(lambda i: i if i % 2 else f"C{i}"))
    with raises("transactions.mixed_types"):
        from_transactions(mixed, **ROLES)
    ids = pa.array([bytes([i % 7]) * 16 for i in range(table.num_rows)], pa.binary(16))
    assert from_transactions(table.set_column(0, "who", ids), **ROLES).num_rows == 7


@pytest.mark.slow
def test_csv_with_line_breaks_empty_columns_and_no_lines(tmp_path: Path) -> None:
    frame = dirty_lines().assign(note='two\nlines, and a "quote"')
    frame["who"] = frame.who.astype("string")
    folder = tmp_path / "in"
    folder.mkdir()
    pd.concat([frame] * 20).to_csv(folder / "0.csv", index=False)  # several blocks
    frame.iloc[:0].to_csv(folder / "1.csv", index=False)
    frame.iloc[:9].assign(shelf=None).to_csv(folder / "2.csv", index=False)
    whole = pd.concat([*[frame] * 20, frame.iloc[:9].assign(shelf=None)])
    expected = from_transactions(whole, **ROLES)
    actual = from_transactions(folder, **ROLES).to_pandas()
    pd.testing.assert_frame_equal(actual, expected, check_dtype=False)
    (folder / "0.csv").unlink()
    (folder / "2.csv").unlink()
    with raises("transactions.no_lines"):
        from_transactions(folder, **ROLES)


def test_one_customer_is_no_segmentation(tmp_path: Path) -> None:
    lines = pa.table({"who": [1, 1], "paid": [1.0, 2.0], "at": [dt.date(2020, 1, 1)] * 2})
    pq.write_table(lines, tmp_path / "lines.parquet")
    with raises("transactions.constant_features", gpuseg.DataError):
        gpuseg.run({
            "transactions": {"path": str(tmp_path / "lines.parquet"), "customer": "who",
                             "time": "at", "amount": "paid"},
            "output": {"path": str(tmp_path / "out")},
        })  # fmt: skip


def test_a_file_without_a_customer_among_others(tmp_path: Path) -> None:
    frame = dirty_lines(600)
    folder = filed(tmp_path / "in", frame, 300)
    frame.iloc[:50].assign(who=None).to_parquet(folder / "2.parquet")
    item = frame.iloc[:50].assign(who=pd.array([None] * 50, "Int64"))
    expected = from_transactions(pd.concat([frame, item]), **ROLES)
    pd.testing.assert_frame_equal(from_transactions(folder, **ROLES).to_pandas(), expected)
