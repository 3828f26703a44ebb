"""Rows that cuDF decodes are those that Arrow decodes, to the bit; so is what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from emulator.build import unavailable
from emulator.strict_arrays import StrictLauncher
from support import helpers
from support.cudf_on_host import CudfStandIn, install
from support.errors import raises
from support.helpers import customers, cut, in_turn, opened, write_files

from gpuseg.backends import registry
from gpuseg.errors import DataError
from gpuseg.io.parquet.cudf_reader import load_on_gpu
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import load_shard
from gpuseg.jobs.reader_choice import left_to_arrow
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.runtime.executor import TaskContext
from gpuseg.sharding.device_shard import is_on_device

N = 1000
GROUPS = 130

CITIES = ("Bern", "Gent", "Köln")

ENCODERS = (
    Encoder("f64"),
    Encoder("city", "onehot", "text", CITIES, missing=True, keeps_missing=True),
    *(Encoder(name) for name in ("f32", "i8", "u64", "i64", "flag", "dec", "half", "year")),
    Encoder("code", "ordinal", "whole numbers", ("3", "1", "2")),
    Encoder("vec", "vector", shape=(2,)),
    Encoder("f64", "is missing"),
    Encoder("dec", "is missing"),
    Encoder("u64", "is missing"),
)
"""Numbers of all kinds and what is made of categories, in an order that no file has."""


def everything() -> pa.Table:
    """N rows of all types, with gaps, numbers that round, and NaN of all kinds."""
    rng = np.random.default_rng(4)
    odd = rng.integers(0, 2**64, N, np.uint64)
    nans = odd | np.uint64(0x7FF0 << 48)
    f64 = np.choose(np.arange(N) % 4, [rng.normal(size=N), 1e-42 * rng.normal(size=N), 1e-300, 0.1])
    f64[::9] = nans.view(np.float64)[::9]
    f32 = (odd % 2**32).astype(np.uint32).view(np.float32)
    i64 = rng.integers(-(2**63), 2**63, N)
    i64[::3] = 2**60 + 2**36 + 1
    gaps = rng.random((9, N)) < 0.1
    cities = np.array([*CITIES, "elsewhere"])[rng.integers(0, 4, N)]
    dec = [Decimal(int(value)).scaleb(-3) for value in rng.integers(-(10**9), 10**9, N)]
    return pa.table({
        "i8": pa.array(rng.integers(-128, 128, N, np.int8), mask=gaps[0]),
        "f32": pa.array(f32, mask=gaps[1]),
        "f64": pa.array(f64, mask=gaps[2]),
        "u64": pa.array(odd, mask=gaps[3]),
        "i64": i64,
        "flag": pa.array(odd % 3 == 0, mask=gaps[4]),
        "dec": pa.array(dec, pa.decimal128(14, 4), mask=gaps[5]),
        "half": pa.array(rng.normal(size=N).astype(np.float16), mask=gaps[6]),
        "city": pa.array(cities, mask=gaps[7]).dictionary_encode(),
        "code": pa.array(rng.integers(1, 4, N), mask=gaps[8]),
        "vec": pa.array(list(rng.normal(size=(N, 2))), mask=gaps[0]),
        "w": rng.lognormal(0, 3, N),
        "whole": rng.integers(0, 9, N, np.int32),
        "rough": rng.lognormal(0, 3, N).astype(np.float32),
        "fee": pc.abs(pa.array(dec, pa.decimal128(14, 4))),
    })  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readers") / "in"
    for year, piece in zip((2023, 2024), cut(everything(), 400), strict=True):
        write_files(folder / f"year={year}", [piece], GROUPS)
    return folder


def everything_of(source: Path, weight: str | None) -> Dataset:
    names = dict.fromkeys(item.column for item in ENCODERS)
    numbers = [name for name in names if name not in ("city", "code")]
    return opened(source, *numbers, weight=weight, categories=("city", "code"))


@dataclass
class Gpu:
    """The GPU and the cuDF of the tests."""

    launcher: StrictLauncher
    cudf: CudfStandIn


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    if reason := unavailable():
        pytest.skip(reason)
    yield Gpu(*install(monkeypatch))
    registry.get.cache_clear()
    registry.get_neighbors.cache_clear()


# The same bits.


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "how"), in_turn(
    [None, "w", "whole", "rough", "fee", "year"], [(1, 3, False), (2, 1, True)], step=2
))  # fmt: skip
def test_all_kinds_of_columns(
    reader: str, source: Path, weight: str | None, how: tuple[int, int, bool]
) -> None:
    shards, threads, drop = how
    data = everything_of(source, weight)
    for plan in data.plan_shards(shards, drop, ENCODERS):
        actual, expected = (
            helpers.load(data, plan, TaskContext(threads)),
            load_shard(plan, TaskContext()),
        )
        assert actual.x.dtype == np.float32 and actual.x.flags.c_contiguous
        assert actual.x.tobytes() == expected.x.tobytes()
        assert (0 < actual.n_rows < plan.rows) == drop
        rows = np.arange(actual.n_rows)
        assert np.array_equal(actual.source_rows(rows), expected.source_rows(rows))
        assert (actual.weight is None) == (weight is None)
        if actual.weight is not None and expected.weight is not None:
            assert actual.weight.tobytes() == expected.weight.tobytes()


def test_numbers_are_rounded_as_numpy_does(reader: str, source: Path) -> None:
    """What both readers are held against; a gap is the NaN that NumPy has."""
    names = ("f64", "f32", "u64", "i64", "i8", "flag")
    (shard,) = helpers.loaded(opened(source, *names))
    table = everything()
    for f, name in enumerate(names):
        values = table[name].combine_chunks().fill_null(0 if name != "flag" else False)
        wide = values.to_numpy(zero_copy_only=False)
        with np.errstate(all="ignore"):
            narrow = (wide if name == "f32" else wide.astype(np.float64)).astype(np.float32)
        narrow[table[name].is_null().to_numpy()] = np.nan
        assert shard.x[:, f].tobytes() == narrow.tobytes()


def test_only_what_is_needed_is_decoded_on_the_gpu(gpu: Gpu, source: Path) -> None:
    data = everything_of(source, "w")
    by_arrow = left_to_arrow(data, {"city": "onehot", "code": ["3", "1", "2"]})
    assert by_arrow == {
        "dec": "decimal128(14, 4), which cuDF does not round as Arrow does",
        "half": "halffloat, which cuDF does not round as Arrow does",
        "year": "a partition column, which is in no file",
        "vec": "vectors, which Arrow decodes as one block of rows",
        "city": "a category",
        "code": "a category",
    }
    (plan,) = data.plan_shards(1, False, ENCODERS)
    messages: list[int] = []
    load_on_gpu(plan, TaskContext(2, messages.append), tuple(by_arrow), must=True)
    asked = gpu.cudf.asked
    assert {tuple(item.names) for item in asked} == {
        ("f64", "f32", "i8", "u64", "i64", "flag", "w")
    }
    assert [item.groups for item in asked] == [[[i]] for i in (0, 1, 2, 3, 0, 1, 2, 3, 4)]
    assert messages == [130, 130, 130, 10, 130, 130, 130, 130, 80]


# The same errors.

Spoil = Callable[[pa.Table], pa.Table]


def unchanged(table: pa.Table) -> pa.Table:
    return table


def with_value(name: str, row: int, value: Any, more: Spoil = unchanged) -> Spoil:
    """Return what puts a value in a row of a column."""

    def spoil(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[row] = value
        at = table.column_names.index(name)
        return more(table.set_column(at, name, pa.array(values, table[name].type)))

    return spoil


def flipped(name: str, group: int, header: bool) -> Callable[[Path], None]:
    """Return what changes four bytes of a page: at the start of its header, or amid the page."""

    def spoil(path: Path) -> None:
        metadata = pq.read_metadata(path).row_group(group)
        chunks = [metadata.column(i) for i in range(metadata.num_columns)]
        (chunk,) = (field for field in chunks if field.path_in_schema == name)
        at = chunk.data_page_offset + (0 if header else chunk.total_compressed_size // 2)
        content = bytearray(path.read_bytes())
        content[at : at + 4] = bytes(255 - item for item in content[at : at + 4])
        path.write_bytes(content)

    return spoil


def whole(path: Path) -> None:
    pass


WRONG: dict[str, tuple[Spoil, Callable[[Path], object], str]] = {
    "beyond float32": (
        with_value("a", 270, 1e300), whole,
        "value 1e+300 in row 270 of in-000.parquet (rows count from 0) is beyond float32",
    ),
    "first of two": (
        with_value("b", 270, -1e39, with_value("a", 280, 1e300)), whole,
        "feature 'a': value 1e+300 in row 280",
    ),
    "in an earlier batch": (
        with_value("b", 210, -1e39, with_value("a", 280, 1e300)), whole,
        "feature 'b': value -1e+39 in row 210",
    ),
    "of Arrow's": (
        with_value("c", 210, Decimal(10) ** 50), whole, "feature 'c': value 1e+50 in row 210",
    ),
    "of Arrow's, after cuDF's": (
        with_value("c", 210, Decimal(10) ** 50, with_value("a", 211, 1e300)), whole,
        "feature 'a': value 1e+300 in row 211",
    ),
    "negative weight": (
        with_value("w", 599, -0.5), whole,
        "value -0.5 in row 599 of in-000.parquet (rows count from 0)",
    ),
    "no weight": (with_value("w", 0, None), whole, "value nan in row 0"),
    "NaN weight": (with_value("w", 99, float("nan")), whole, "value nan in row 99"),
    "heavy": (with_value("w", 100, 4e38), whole, "value 4e+38 in row 100"),
    "infinitely heavy": (with_value("w", 100, np.inf), whole, "value inf in row 100"),
    "damaged page": (
        unchanged, flipped("b", 3, header=False),
        "in-000.parquet: row group 3 cannot be decoded (could not verify page integrity, CRC",
    ),
    "damaged page of Arrow's": (
        unchanged, flipped("c", 3, header=False), "in-000.parquet: row group 3 cannot be decoded (",
    ),
    "damaged header": (
        unchanged, flipped("a", 3, header=True), "in-000.parquet: row group 3 cannot be decoded (",
    ),
    "damaged, and a wrong value": (
        with_value("a", 110, 1e300), flipped("b", 3, header=False),
        "feature 'a': value 1e+300 in row 110",
    ),
    "cut short": (
        unchanged, lambda path: path.write_bytes(path.read_bytes()[:-50]),
        "in-000.parquet has changed",
    ),
    "gone": (unchanged, Path.unlink, "in-000.parquet has changed"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_is_refused_alike(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("gpuseg.io.parquet.shard_plan._BATCH_VALUES", 200)
    spoil, damage, words = WRONG[name]
    rng = np.random.default_rng(5)
    table = pa.table({
        "a": rng.normal(size=600), "b": rng.normal(size=600),
        "c": pa.array([Decimal(1)] * 600, pa.decimal256(60, 0)), "w": rng.random(600),
    })  # fmt: skip
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(
        spoil(table), folder / "in-000.parquet", row_group_size=100, write_page_checksum=True,
        use_dictionary=False,
    )  # fmt: skip
    if name.startswith("damaged"):
        damage(folder / "in-000.parquet")
    data = opened(folder, "a", "b", "c", weight="w")
    (plan,) = data.plan_shards(1, False)
    if not name.startswith("damaged"):
        damage(folder / "in-000.parquet")
    with pytest.raises(DataError) as expected:
        load_shard(plan, TaskContext())
    for threads in (1, 3):
        with pytest.raises(DataError) as actual:
            helpers.load(data, plan, TaskContext(threads))
        assert str(actual.value) == str(expected.value)
    assert words in str(expected.value)


# What only one of them can do.


def load(folder: Path, must: bool) -> Any:
    data = opened(folder, "recency", "spend", weight="customer")
    (plan,) = data.plan_shards(1, False)
    return load_on_gpu(plan, TaskContext(), tuple(left_to_arrow(data, {})), must)


@pytest.mark.parametrize("error", [RuntimeError("bad page"), ValueError("?"), IndexError("far")])
def test_what_only_arrow_can_read(gpu: Gpu, tmp_path: Path, error: Exception) -> None:
    folder = write_files(tmp_path / "in", [customers(30)])
    gpu.cudf.failing = error
    with raises("reader.cudf_differs", parameter="reader") as caught:
        load(folder, must=False)
    assert f"in-000.parquet: row group 0: cuDF cannot decode it ({error})" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_value("spend", 3, 1e300), "cuDF reads different values"),
        (lambda table: table.slice(1), "cannot decode it (column 'recency' has 29 rows, not 30)"),
        (
            lambda table: table.set_column(1, "spend", pa.array(["a"] * 30)),
            "cannot decode it (column 'spend' has cuDF type",
        ),
    ],
)
def test_readers_that_differ(gpu: Gpu, tmp_path: Path, change: Spoil, words: str) -> None:
    folder = write_files(tmp_path / "in", [customers(30)])
    gpu.cudf.changed = change
    with raises("reader.cudf_differs") as caught:
        load(folder, must=True)
    assert words in str(caught.value)


@pytest.mark.parametrize("short", ["beforehand", "meanwhile"])
def test_a_gpu_without_room(gpu: Gpu, tmp_path: Path, short: str) -> None:
    folder = write_files(tmp_path / "in", [customers(300)])
    if short == "beforehand":
        gpu.launcher.free = 300 * 64
    else:
        gpu.cudf.failing = MemoryError("std::bad_alloc: out_of_memory")
    expected = load_shard(*opened(folder, "recency", "spend").plan_shards(1, False), TaskContext())
    shard = load(folder, must=False)
    assert not is_on_device(shard, TaskContext())
    assert shard.x.tobytes() == expected.x.tobytes()
    with raises("reader.no_gpu_memory", value="cudf"):
        load(folder, must=True)


def test_a_worker_without_cudf(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_files(tmp_path / "in", [customers(300)])
    monkeypatch.setitem(sys.modules, "pylibcudf", None)
    with raises("reader.no_cudf"):
        load(folder, must=False)


def test_rows_are_left_out_where_they_lie(gpu: Gpu, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", [customers(300)])
    shard, kept = load(folder, must=True), np.arange(300) % 3 > 0
    b, before = registry.get("cuda"), shard.x.values.copy()
    shard.filter_rows(TaskContext(), np.ones(300, bool))
    assert shard.kept is None
    shard.filter_rows(TaskContext(), kept)
    shard.filter_rows(TaskContext(), np.arange(200) >= 50)
    left = np.flatnonzero(kept)[50:]
    assert b.to_host(shard.x).tobytes() == before[left].tobytes()
    assert b.to_host(shard.weight).tolist() == left.tolist()
    assert shard.source_rows(np.arange(150)).tolist() == left.tolist()
