"""The synthetic customers: what they are a function of, what they look like, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from support.errors import raises

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.synthetic import customers as synth
from gpuseg.synthetic.customers import write_customers
from gpuseg.synthetic.files import _ROW_GROUP_ROWS, BLOCK_ROWS
from gpuseg.synthetic.transactions import write_transactions

NAMED = (
    *("recency_days", "orders", "spend", "tenure_days", "products", "items"),
    *("avg_order_value", "gap_mean_days", "gap_std_days", "return_share"),
    *("spend_30d", "spend_90d", "spend_365d", "spend_trend", "weekend_share", "night_share"),
)
COUNTS = {"orders", "products", "items"}
ROWS = 20_000
SEGMENTS = 6

Array = npt.NDArray[Any]


def customers(directory: Path, **options: Any) -> pa.Table:
    """Write customers and read them back, file after file."""
    return pa.concat_tables([pq.read_table(path) for path in write_customers(directory, **options)])


def columns(table: pa.Table) -> dict[str, Array]:
    return {name: table[name].to_numpy() for name in table.column_names}


def ranks(values: Array) -> Array:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    directory = tmp_path_factory.mktemp("customers")
    return customers(directory, rows=ROWS, segments=SEGMENTS, truth=True)


@pytest.fixture(scope="module")
def data(table: pa.Table) -> dict[str, Array]:
    return columns(table)


# What the data are a function of.


@pytest.mark.slow
def test_data_do_not_depend_on_files_or_run(tmp_path: Path) -> None:
    rows = 2 * BLOCK_ROWS + 5
    one = customers(tmp_path / "one", rows=rows, truth=True)
    assert one.num_rows == rows
    for files in (1, 3):
        again = customers(tmp_path / str(files), rows=rows, truth=True, files=files)
        assert again.schema == one.schema
        for name, column in columns(one).items():
            assert again[name].to_numpy().tobytes() == column.tobytes(), name


def test_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_customers(tmp_path / name, rows=3000, files=2) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


@pytest.mark.parametrize("seed", [1, 2**32, 2**64 + 1])
def test_seeds_differ(tmp_path: Path, table: pa.Table, seed: int) -> None:
    other = customers(tmp_path, rows=ROWS, segments=SEGMENTS, seed=seed)
    for name in NAMED:
        same = np.mean(other[name].to_numpy() == table[name].to_numpy())
        # Many customers have bought nothing of late, whatever the seed.
        assert same < (0.7 if name in ("spend_30d", "spend_90d", "spend_trend") else 0.2), name


def test_blocks_differ() -> None:
    first, second, third = (
        synth._Population(5, 8, 16, 0.02, truth=False).block(b) for b in range(3)
    )
    for name in NAMED:
        assert first[name] != second[name]
        assert second[name] != third[name]


def test_first_rows_and_columns_depend_on_neither_count(tmp_path: Path, table: pa.Table) -> None:
    rows = BLOCK_ROWS + 7
    longer = customers(tmp_path / "long", rows=rows, segments=SEGMENTS, truth=True)
    assert longer.slice(0, ROWS).equals(table)
    wider = customers(tmp_path / "wide", rows=ROWS, segments=SEGMENTS, features=19)
    assert wider.column_names == ["customer_id", *NAMED, "feature_17", "feature_18", "feature_19"]
    assert wider.select(["customer_id", *NAMED]).equals(table.drop_columns("truth"))
    wider_still = customers(tmp_path / "wider", rows=ROWS, segments=SEGMENTS, features=20)
    assert wider_still.drop_columns("feature_20").equals(wider)
    narrow = customers(tmp_path / "narrow", rows=ROWS, segments=SEGMENTS, features=1)
    assert narrow.equals(table.select(["customer_id", "recency_days"]))


# What they look like.


def test_columns_and_types(table: pa.Table) -> None:
    types = {name: pa.int32() if name in COUNTS else pa.float64() for name in NAMED}
    expected = {"customer_id": pa.int64(), **types, "truth": pa.int32()}
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == expected
    assert table.schema.names == list(expected)


def test_identifiers_are_the_row_numbers(data: dict[str, Array]) -> None:
    np.testing.assert_array_equal(data["customer_id"], np.arange(1, ROWS + 1))


def test_values_are_finite_and_vary(table: pa.Table, data: dict[str, Array]) -> None:
    for name, column in data.items():
        assert table[name].null_count == 0
        assert np.isfinite(column).all(), name
        assert len(np.unique(column)) > 1, name
        assert name == "truth" or column.min() >= 0, name


def test_columns_agree_with_each_other(data: dict[str, Array]) -> None:
    for name in ("return_share", "weekend_share", "night_share"):
        assert data[name].max() <= 1
    np.testing.assert_allclose(
        data["spend"], data["orders"] * data["avg_order_value"], rtol=0, atol=0.0051
    )
    assert (data["orders"] >= 1).all()
    assert (data["items"] >= data["orders"]).all()
    assert (data["products"] >= 1).all()
    assert (data["products"] <= data["items"]).all()
    assert (data["recency_days"] <= data["tenure_days"]).all()
    assert (data["spend_30d"] <= data["spend_90d"]).all()
    assert (data["spend_90d"] <= data["spend_365d"]).all()
    assert (data["spend_365d"] <= data["spend"]).all()
    for days in (30, 90, 365):
        bought = data["recency_days"] <= days
        np.testing.assert_array_equal(data[f"spend_{days}d"] > 0, bought)
        assert 0 < bought.mean() < 1
        whole = data["tenure_days"] <= days
        np.testing.assert_array_equal(data[f"spend_{days}d"][whole], data["spend"][whole])


def test_spend_is_heavy_tailed_and_goes_with_orders(data: dict[str, Array]) -> None:
    spend = np.sort(data["spend"])
    assert spend[-ROWS // 100 :].sum() > 0.08 * spend.sum()
    assert np.corrcoef(ranks(data["spend"]), ranks(data["orders"]))[0, 1] > 0.5


def test_last_orders_crowd_at_christmas_and_in_summer(data: dict[str, Array]) -> None:
    def within(day: int) -> int:
        return int(np.count_nonzero(np.abs(data["recency_days"] - day) <= 15))

    christmas, spring, summer, autumn = (within(day) for day in (91, 365, 274, 182))
    assert christmas > 1.5 * autumn
    assert summer > 1.2 * autumn
    assert summer > 1.5 * spring


def test_segments_are_unequal_and_noise_is_rare(data: dict[str, Array]) -> None:
    assert set(data["truth"]) == {-1, *range(SEGMENTS)}
    shares = np.bincount(data["truth"] + 1) / ROWS
    assert shares[0] == pytest.approx(0.02, abs=0.005)
    expected = (1.0 + np.arange(SEGMENTS)) ** -0.7
    np.testing.assert_allclose(shares[1:], 0.98 * expected / expected.sum(), atol=0.015)
    assert shares[1] > 2.5 * shares[-1]


@pytest.mark.parametrize("noise", [0, 0.5])
def test_noise_at_its_limits(tmp_path: Path, noise: float) -> None:
    truth = customers(tmp_path, rows=ROWS, noise=noise, truth=True)["truth"].to_numpy()
    assert np.mean(truth == -1) == pytest.approx(noise, abs=0.015 * (noise > 0))


def test_noise_is_spread_more_broadly_than_any_segment(data: dict[str, Array]) -> None:
    for name in ("weekend_share", "night_share", "avg_order_value"):
        spread = [np.log(data[name][data["truth"] == j]).std() for j in range(-1, SEGMENTS)]
        assert spread[0] > 1.5 * max(spread[1:]), name


@pytest.mark.slow
@pytest.mark.parametrize("features", [16, 24])
def test_clustering_recovers_the_segments(tmp_path: Path, features: int) -> None:
    actual = columns(
        customers(tmp_path, rows=ROWS, segments=SEGMENTS, features=features, truth=True)
    )
    truth = actual.pop("truth")
    del actual["customer_id"]
    assert len(actual) == features
    x = np.log1p(np.column_stack(list(actual.values())).astype(np.float64))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    labels = KMeans(SEGMENTS, n_init=3, random_state=0).fit_predict(x)
    real = truth >= 0
    assert 0.6 < adjusted_rand_score(truth[real], labels[real]) < 0.999


def test_further_features_go_with_the_segment(tmp_path: Path) -> None:
    actual = columns(customers(tmp_path, rows=5000, features=18, noise=0, truth=True))
    for name in ("feature_17", "feature_18"):
        x = np.log(actual[name])
        groups = [x[actual["truth"] == j] for j in range(8)]
        within = sum(((group - group.mean()) ** 2).sum() for group in groups)
        assert within < 0.5 * ((x - x.mean()) ** 2).sum()


@pytest.mark.parametrize("segments", [1, 2, 300])
def test_any_number_of_segments(tmp_path: Path, segments: int) -> None:
    actual = columns(customers(tmp_path, rows=ROWS, segments=segments, noise=0, truth=True))
    assert set(actual.pop("truth")) == set(range(segments))
    for name, column in actual.items():
        assert len(np.unique(column)) > 1, name


# How they are laid out.


def test_files_share_the_rows_out_evenly(tmp_path: Path) -> None:
    paths = write_customers(tmp_path, rows=1000, files=7)
    assert [path.name for path in paths] == [f"customers-0000{i}.parquet" for i in range(7)]
    assert sorted(tmp_path.iterdir()) == paths
    assert [pq.read_metadata(path).num_rows for path in paths] == [
        142,
        143,
        143,
        143,
        143,
        143,
        143,
    ]


def test_as_many_files_as_rows(tmp_path: Path) -> None:
    table = customers(tmp_path, rows=3, files=3)
    assert table["customer_id"].to_pylist() == [1, 2, 3]


def test_row_groups_compression_and_checksums(tmp_path: Path) -> None:
    rows = 2 * _ROW_GROUP_ROWS + 10
    (path,) = write_customers(tmp_path, rows=rows, features=2)
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [_ROW_GROUP_ROWS, _ROW_GROUP_ROWS, 10]
    assert {group.column(1).compression for group in groups} == {"SNAPPY"}
    assert pq.read_table(path, page_checksum_verification=True).num_rows == rows
    # A byte turned over in the first page of a column is found out only if there is a checksum.
    content = bytearray(path.read_bytes())
    content[groups[0].column(1).data_page_offset + 5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def test_default_is_a_file_per_million_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synth, "FILE_ROWS", 1000)
    for rows, files in ((1, 1), (1000, 1), (1001, 2), (2999, 3)):
        assert len(write_customers(tmp_path, rows=rows, features=1, overwrite=True)) == files


def test_report_adds_up_to_the_rows(tmp_path: Path) -> None:
    seen: list[int] = []
    rows = _ROW_GROUP_ROWS + 100
    write_customers(tmp_path, rows=rows, features=1, files=2, report=seen.append)
    assert sum(seen) == rows
    assert len(seen) == 2
    assert all(type(n) is int for n in seen)


# What is refused, replaced, and left behind.


@pytest.mark.parametrize(
    "options",
    [
        {"rows": 0}, {"features": 0}, {"segments": -2}, {"seed": -1}, {"files": 0}, {"files": 11},
        {"noise": -0.1}, {"noise": 0.51}, {"noise": float("nan")},
    ],
)  # fmt: skip
def test_arguments_out_of_range(tmp_path: Path, options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with raises(f"{name}.out_of_range", ConfigError, parameter=name) as error:
        write_customers(tmp_path / "new", **{"rows": 10, **options})
    assert repr(error.value.value) == repr(value)
    assert f"--{name}" in error.value.hint
    assert not (tmp_path / "new").exists()


def test_directory_that_is_not_empty(tmp_path: Path) -> None:
    (path,) = write_customers(tmp_path, rows=10)
    before = path.read_bytes()
    with raises("synthetic.exists", ConfigError) as error:
        write_customers(tmp_path, rows=20)
    assert str(tmp_path) in str(error.value)
    assert path.read_bytes() == before


def test_overwrite_replaces_all_customer_files(tmp_path: Path) -> None:
    write_customers(tmp_path, rows=30, files=3)
    # What a run that was killed leaves behind.
    for name in (".customers-00000.parquet.tmp", ".customers-00007.parquet.tmp"):
        (tmp_path / name).write_bytes(b"half")
    paths = write_customers(tmp_path, rows=20, files=2, seed=1, overwrite=True)
    assert sorted(tmp_path.iterdir()) == paths
    assert [pq.read_metadata(path).num_rows for path in paths] == [10, 10]


@pytest.mark.parametrize("name", ["notes.txt", "customers-2024.csv", ".hidden"])
def test_overwrite_refuses_other_files(tmp_path: Path, name: str) -> None:
    (path,) = write_customers(tmp_path, rows=10)
    before = path.read_bytes()
    (tmp_path / name).write_text("mine")
    with raises("synthetic.other_file", ConfigError):
        write_customers(tmp_path, rows=20, overwrite=True)
    assert path.read_bytes() == before
    assert (tmp_path / name).read_text() == "mine"


def test_overwrite_refuses_folders(tmp_path: Path) -> None:
    (tmp_path / "customers-old.parquet").mkdir()
    with raises("synthetic.other_file", ConfigError):
        write_customers(tmp_path, rows=20, overwrite=True)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    before = [(p, p.read_bytes()) for p in write_customers(tmp_path, rows=30, files=2)]
    write_table = pq.ParquetWriter.write_table
    calls = 0

    def fail_in_the_second_file(*args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise failure
        write_table(*args, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail_in_the_second_file)
    expected = ResourceError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected) as error:
        write_customers(tmp_path, rows=30, files=3, overwrite=True)
    assert calls == 2
    assert [(p, p.read_bytes()) for p in sorted(tmp_path.iterdir())] == before
    if isinstance(failure, OSError):
        assert str(tmp_path) in str(error.value)
        assert "No space left on device" in str(error.value)


def test_failing_report_leaves_nothing_behind(tmp_path: Path) -> None:
    def report(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_customers(tmp_path, rows=10, report=report)
    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises("synthetic.not_writable", ResourceError):
        write_customers(tmp_path / "file" / "folder", rows=10)


@pytest.mark.slow
def test_directory_is_made_with_its_parents_and_may_be_text(tmp_path: Path) -> None:
    (path,) = write_customers(str(tmp_path / "a" / "b"), rows=1)
    assert path == tmp_path / "a" / "b" / "customers-00000.parquet"
    assert pq.read_metadata(path).num_rows == 1


@pytest.mark.slow
def test_lines_depend_on_nothing_but_what_was_asked(tmp_path: Path) -> None:
    for name, files in (("one", 1), ("three", 3)):
        write_transactions(tmp_path / name, lines=200_000, customers=5000, seed=3, files=files)
    one, three = (
        pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / name).iterdir())])
        for name in ("one", "three")
    )
    assert one.equals(three)
    assert one.num_rows == 200_000
    write_transactions(tmp_path / "four", lines=200_000, customers=5000, seed=4)
    assert not pq.read_table(tmp_path / "four").equals(one)


@pytest.mark.slow
def test_lines_are_a_shops(tmp_path: Path) -> None:
    write_transactions(tmp_path / "lines", lines=300_000, customers=5000)
    frame = pq.read_table(tmp_path / "lines").to_pandas()
    assert frame.time.is_monotonic_increasing
    days = frame.time.dt.floor("D").nunique()
    assert days >= 725  # of 730: no days without a sale but by chance
    assert 0.03 < frame.customer_id.isna().mean() < 0.07
    assert 0.01 < (frame.quantity < 0).mean() < 0.03
    assert 0 < (frame.price == 0).mean() < 0.01
    assert frame.duplicated().any()
    assert 4 < len(frame) / frame.order_id.nunique() < 6
    assert frame.groupby("product").price.nunique().max() == 2  # one, and free
    with raises("transactions.out_of_range", ConfigError, value=0):
        write_transactions(tmp_path / "none", lines=0, customers=5)


def test_lines_of_few_customers_end(tmp_path: Path) -> None:
    """On some days none of them is a customer yet, or still."""
    paths = write_transactions(tmp_path, lines=300, customers=2)
    assert sum(pq.read_metadata(path).num_rows for path in paths) == 300
