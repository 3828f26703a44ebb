"""Rows on disk give the bits of resident ones; and when a job chooses which."""

from __future__ import annotations

import json
import re
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import (
    FEATURES,
    THOROUGH,
    Array,
    bits,
    call,
    customers,
    cut,
    in_turn,
    job,
    listing,
    manifest_of,
    opened,
    run,
    toml,
    write_files,
)

import gpuseg
from gpuseg.algorithms.data_statistics import measure_prepared
from gpuseg.algorithms.kmeans.fit import sweep_kmeans
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.errors import DataError, ResourceError
from gpuseg.io.file_version import FileVersion
from gpuseg.io.parquet.data_file import DataFile
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.shard_plan import load_shard
from gpuseg.io.parquet.spilled_rows import spill_shard
from gpuseg.io.parquet.streamed_shard import StreamedShard, open_stream
from gpuseg.io.storage import Storage
from gpuseg.jobs import memory_plan
from gpuseg.jobs.memory_plan import MemoryPlan, plan_memory
from gpuseg.preprocessing.fit import fit_preprocessing, summarize_raw
from gpuseg.preprocessing.plan import PreprocessingPlan
from gpuseg.runtime.cluster import ClusterSpec
from gpuseg.runtime.executor import LocalExecutor, TaskContext, prefetch
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding import row_passes as passes

R = TypeVar("R")

BLOCK_ROWS = 4096
"""Rows of a block of the engine here, so that few rows are several blocks."""

GROUPS = [[1, 31, 4_500, 5], [977, 2, 400]]
"""Rows of the row groups of two files; one crosses a block of the engine."""

ROWS = sum(map(sum, GROUPS))


# Streamed and resident, side by side.


@pytest.fixture(autouse=True)
def quick_seeding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuseg.algorithms.kmeans.sampling.SAMPLE_ROWS", 2048)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("io.parquet.streamed_shard", "sharding.shard", "sharding.spilled_shard"):
        monkeypatch.setattr(f"gpuseg.{module}.BLOCK_ROWS", BLOCK_ROWS)


def write_groups(path: Path, table: pa.Table, sizes: list[int], **options: Any) -> None:
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        for piece in cut(table, *sizes[:-1]):
            writer.write_table(piece, row_group_size=max(piece.num_rows, 1))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Customers with weights, some of them 0, and columns with holes, in odd row groups."""
    assert max(GROUPS[0]) > BLOCK_ROWS
    folder = tmp_path_factory.mktemp("stream") / "in"
    folder.mkdir()
    table = customers(ROWS, blobs=5, seed=8)
    rng = np.random.default_rng(1)
    holes = rng.random((ROWS, 2)) < 0.1
    holes[1:32] = True  # of one row group every row is dropped
    spend = np.where(holes[:, 0], np.nan, np.exp(rng.normal(size=ROWS)))
    orders = pa.array(rng.poisson(3, ROWS), mask=holes[:, 1])
    weight = rng.integers(0, 4, ROWS) * 0.75
    for name, values in {"holed": spend, "counted": orders, "w": weight}.items():
        table = table.append_column(name, pa.array(values))
    table = table.append_column("twice", pa.array(np.arange(ROWS) % (ROWS - 7)))
    for i, (sizes, piece) in enumerate(zip(GROUPS, cut(table, sum(GROUPS[0])), strict=True)):
        write_groups(folder / f"in-{i:03d}.parquet", piece, sizes)
    assert [file.group_rows for file in opened(folder).files] == [tuple(sizes) for sizes in GROUPS]
    return folder


HOLED = ("recency", "holed", "counted")
FAR = [[0.0] * 3, [1.0, 0.0, 0.0], [1e4] * 3, [2e4] * 3, [-3e4] * 3]

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights": {"weight": "w"},
    "dropped": {"features": HOLED, "missing": "drop", "scale": "minmax"},
    "dropped, weights": {"features": HOLED, "weight": "w", "missing": "drop"},
    "mean": {"features": HOLED, "missing": "mean", "weight": "w"},
    "median, robust, log1p": {
        "features": HOLED, "missing": "median", "scale": "robust",
        "transform": ("none", "log1p", "log1p"),
    },
    "relocated": {"init": FAR, "weight": "w"},
    "random": {"init": "random", "n_init": 2},
    "cosine": {"metric": "cosine", "scale": "none"},
}  # fmt: skip


def outcome(
    source: Path, load: Callable[..., Any], shards: int, threads: int, backend: str, **chosen: Any
) -> dict[str, Any]:
    """Read, prepare and fit as a job does, two models in one sweep; return all that it finds."""
    features = chosen.pop("features", FEATURES)
    metric = chosen.get("metric", "euclidean")
    data = opened(source, *features, weight=chosen.pop("weight", None))
    recipe = PreprocessingPlan(
        features,
        chosen.pop("missing", "error"),
        chosen.pop("transform", ("none",) * 3),
        chosen.pop("scale", "standard"),
        metric == "cosine",
    )
    counts = [5] if isinstance(chosen.get("init"), list) else [3, 5]
    models = [KMeansParams(n_clusters=k, max_iter=12, tol=0.0, **chosen) for k in counts]
    executor = LocalExecutor(threads)
    executor.load(load, data.plan_shards(shards, recipe.missing == "drop"))
    sizes = executor.map(passes.n_rows)
    executor.apply(passes.set_first_row, per_shard=list(accumulate(sizes, initial=0))[:-1])
    digest = sum(executor.map(columns.digest, backend)) % 2**64
    raw = summarize_raw(executor, backend, recipe, lambda shard, row: "nowhere")
    preprocessing = fit_preprocessing(executor, backend, recipe, raw)
    measured = measure_prepared(executor, backend, preprocessing)
    fits = sweep_kmeans(executor, models, backend, statistics=measured)
    placed = executor.map(lambda shard, env: shard)
    p = preprocessing.feature_transform
    return {
        "rows": sum(sizes),
        "digest": digest,
        "preparation": [
            a.tobytes() for a in (p.fill, p.shift, p.scale, preprocessing.mean, preprocessing.std)
        ],
        "centers": [fit.centers.values.tobytes() for fit in fits],
        "sizes": [fit.sizes.tolist() for fit in fits],
        "inertia": [fit.inertia.hex() for fit in fits],
        "n_iter": [fit.n_iter for fit in fits],
        "labels": np.concatenate([shard.labels for shard in placed]).tobytes(),
        "sweep": [
            np.concatenate(labels).tobytes()
            for labels in zip(*(s.labels_by_model for s in placed), strict=True)
        ],
        "distance": np.concatenate([shard.distance for shard in placed]).tobytes(),
    }


ON_DISK: dict[str, Callable[..., Any]] = {"spilled": spill_shard, "streamed": open_stream}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS if THOROUGH else list(VARIANTS)[3:])
def test_rows_on_disk_give_the_bits_of_resident_ones(source: Path, name: str) -> None:
    chosen = VARIANTS[name]
    resident = outcome(source, load_shard, 1, 2, "numba", **chosen)
    for i, load in enumerate(ON_DISK.values()):
        for shards, threads in ((1, 2), (3, 1)) if THOROUGH else (((1, 2), (3, 1))[i],):
            assert outcome(source, load, shards, threads, "numba", **chosen) == resident
    dropped = {"dropped", "dropped, weights"} & {name}
    assert (resident["rows"] < ROWS) == bool(dropped)
    if name == "relocated":
        assert min(resident["sizes"][0]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("load", ON_DISK.values(), ids=ON_DISK)
def test_rows_on_disk_give_the_bits_of_resident_ones_by_the_specification(
    source: Path, load: Callable[..., Any]
) -> None:
    chosen = {**VARIANTS["dropped, weights"], "metric": "cosine"}
    resident = outcome(source, load_shard, 1, 1, "numpy", **chosen)
    assert outcome(source, load, 1, 2, "numpy", **chosen) == resident
    assert outcome(source, load, 2, 2, "numba", **chosen)["centers"] == resident["centers"]


@pytest.mark.parametrize("load", ON_DISK.values(), ids=ON_DISK)
def test_blocks_cover_the_shard_in_order(source: Path, load: Callable[..., Any]) -> None:
    data = opened(source, *HOLED, weight="w")
    (plan,) = data.plan_shards(1, drop_missing=True)
    streamed, resident = load(plan, TaskContext(2)), load_shard(plan, TaskContext(2))
    blocks = list(streamed.map_blocks(TaskContext(2), lambda block: block))
    assert [b.rows.start for b in blocks] == [0, *(b.rows.stop for b in blocks[:-1])]
    assert all(len(b.x) == b.rows.stop - b.rows.start <= BLOCK_ROWS for b in blocks)
    assert blocks[-1].rows.stop == streamed.n_rows == resident.n_rows
    assert all(b.x.flags.c_contiguous and b.x.dtype == np.float32 for b in blocks)
    assert np.array_equal(np.concatenate([b.x for b in blocks]), resident.x)
    assert np.array_equal(np.concatenate([b.weights() for b in blocks]), resident.weight)
    assert streamed.kept is not None and resident.kept is not None
    assert np.array_equal(streamed.kept, resident.kept)
    asked = [0, 1, 4_000, streamed.n_rows - 1]
    assert [streamed.source_row(i) for i in asked] == [resident.source_row(i) for i in asked]
    assert (streamed.weighted, streamed.n_features) == (True, 3)


@pytest.mark.parametrize("load", ON_DISK.values(), ids=ON_DISK)
def test_transforms_hold_for_every_later_pass(source: Path, load: Callable[..., Any]) -> None:
    (plan,) = opened(source, *FEATURES).plan_shards(1, drop_missing=False)
    streamed, resident = load(plan, TaskContext()), load_shard(plan, TaskContext())

    def double(x: Array) -> Array:
        return x * np.float32(2)

    def add_one(x: Array) -> Array:
        x += 1
        return x

    streamed.transform_rows(TaskContext(), double)
    streamed.transform_rows(TaskContext(), add_one)
    for _ in range(2):
        rows = np.concatenate(list(streamed.map_blocks(TaskContext(2), lambda block: block.x)))
        assert np.array_equal(rows, resident.x * np.float32(2) + np.float32(1))


class Eager(TaskContext):
    """Threads that are ahead of whoever folds their results: all of them wait for it."""

    def map(self, function: Callable[[Any], R], items: Sequence[Any]) -> Iterator[R]:
        yield from list(super().map(function, items))


@pytest.mark.slow
def test_looking_for_missing_values_keeps_no_rows(tmp_path: Path) -> None:
    """Neither does a pass over the data: the rows are never all in memory."""
    n, d = 200_000, 16
    x = np.random.default_rng(0).random((n, d), np.float32)
    table = pa.table({f"f{f}": x[:, f] for f in range(d)})
    data = opened(write_files(tmp_path / "in", [table], row_group_size=5_000))
    (plan,) = data.plan_shards(1, drop_missing=True)
    tracemalloc.start()
    try:
        shard = open_stream(plan, Eager(2))
        total = sum(shard.map_blocks(Eager(2), lambda block: float(block.x.sum(dtype=np.float64))))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == pytest.approx(x.sum(dtype=np.float64))
    assert peak < x.nbytes / 4


# Whole jobs.

JOBS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "weights, repeated ids": {"input": {"weight": "w", "id": "twice"}},
    "dropped, no id": {
        "input": {"features": list(HOLED), "id": None},
        "prepare": {"missing": "drop"},
    },
    "robust, cosine": {
        "input": {"features": list(HOLED)},
        "prepare": {"missing": "median", "scale": "robust", "transform": {"holed": "log1p"}},
        "segment": {"metric": "cosine", "n_clusters": [2, 4], "max_iter": 10},
    },
}


@pytest.fixture
def spilling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs hold rows on disk, and check ids in three turns, as if there were little memory."""
    plan = MemoryPlan("spilled", "the test wants it", 2**30, 0, 3)
    monkeypatch.setattr("gpuseg.jobs.plan.plan_memory", lambda *_: plan)


@pytest.fixture
def disk_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file be small enough for the scratch disk."""
    monkeypatch.setattr("gpuseg.runtime.scratch._USABLE", 0.0)


@pytest.fixture
def resident_first(request: pytest.FixtureRequest, source: Path, tmp_path: Path) -> str:
    """Run the job with resident rows, before `spilling`; return its name."""
    name: str = request.param
    run(source, tmp_path / "resident", **{"segment": {"n_clusters": 5}, **JOBS[name]})
    return name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resident_first", "mode"), in_turn(JOBS, ON_DISK, step=2), indirect=["resident_first"]
)
def test_a_job_with_rows_on_disk_writes_the_same(
    resident_first: str,
    spilling: None,
    mode: str,
    source: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if mode == "streamed":
        request.getfixturevalue("disk_full")
    sections = {"segment": {"n_clusters": 5}, **JOBS[resident_first]}
    streamed = run(source, tmp_path / "on disk", **sections).manifest
    assert bits(tmp_path / "on disk") == bits(tmp_path / "resident")
    resident = manifest_of(tmp_path / "resident")
    for key in ("warnings", "features", "segments", "parts", "result"):
        assert streamed[key] == resident[key]
    storage = streamed["executor"]["row_storage"]
    assert storage["mode"] == mode
    if mode == "spilled":
        assert storage["reason"] == "the test wants it"
    else:
        assert re.fullmatch(
            r"the test wants it, and the folder \S+ for temporary files has [\d,]+ MiB free, and "
            r"\d+ MiB would take more than half of it",
            storage["reason"],
        )
    assert resident["executor"]["row_storage"]["mode"] == "resident"
    assert f"{mode}: the test wants it" in (tmp_path / "on disk" / "_report.html").read_text()
    if resident_first == "weights, repeated ids":
        assert streamed["warnings"][0].startswith("input.id = 'twice': 7 rows ")


@pytest.mark.slow
@pytest.mark.parametrize("resident_first", ["weights, repeated ids"], indirect=True)
def test_a_job_with_rows_on_disk_of_dask_workers_writes_the_same(
    resident_first: str,
    spilling: None,
    source: Path,
    two_workers: dict[str, Any],
    tmp_path: Path,
) -> None:
    sections = {"segment": {"n_clusters": 5}, **JOBS[resident_first]}
    manifest = run(source, tmp_path / "on disk", **sections, runtime=two_workers).manifest
    assert bits(tmp_path / "on disk") == bits(tmp_path / "resident")
    assert manifest["warnings"] == manifest_of(tmp_path / "resident")["warnings"]
    executor = manifest["executor"]
    assert (executor["n_workers"], executor["row_storage"]["mode"]) == (2, "spilled")


CHECKED: dict[str, Any] = {"write_page_checksum": True, "use_dictionary": False}


def damaged(path: Path) -> None:
    """Flip bytes in the middle of the last row group's page of `spend`."""
    chunk = pq.read_metadata(path).row_group(2).column(3)
    content = bytearray(path.read_bytes())
    at = chunk.data_page_offset + chunk.total_compressed_size // 2
    for i in range(at, at + 4):
        content[i] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (None, None, "in-001.parquet: row group 2 cannot be decoded"),
        ("w", -2.5, "input.weight = 'w': value -2.5 in row 470 of in-001.parquet"),
        ("w", None, "input.weight = 'w': value nan in row 470 of in-001.parquet"),
        ("spend", 1e300, "feature 'spend': value 1e+300 in row 470 of in-001.parquet"),
        ("spend", None, "feature 'spend': 1 value is missing (null or NaN), first in row 470 of"),
        ("spend", np.inf, "feature 'spend': 1 value is infinite, first in row 470 of in-001"),
    ],
)
def test_wrong_data_in_a_later_row_group_is_refused_alike(
    tmp_path: Path, request: pytest.FixtureRequest, column: str | None, value: Any, words: str
) -> None:
    table = customers(600).append_column("w", pa.array(np.ones(600)))
    if column is not None:
        values = table[column].to_pylist()
        values[570] = value
        table = table.set_column(table.column_names.index(column), column, pa.array(values))
    folder = write_files(tmp_path / "in", cut(table, 100))
    write_groups(folder / "in-001.parquet", table.slice(100), [100, 300, 100], **CHECKED)
    if column is None:
        damaged(folder / "in-001.parquet")
    messages = []
    for _ in range(3):
        with pytest.raises(DataError) as error:
            run(folder, tmp_path / "out", input={"weight": "w"})
        messages.append(str(error.value))
        request.getfixturevalue("disk_full" if len(messages) == 2 else "spilling")
    assert messages[0] == messages[1] == messages[2]
    assert words in messages[0]
    assert listing(tmp_path).keys() == {"in", "in/in-000.parquet", "in/in-001.parquet"}


def test_file_damaged_after_the_first_pass(tmp_path: Path) -> None:
    """Only a streamed shard can meet this."""
    folder = write_files(tmp_path / "in", [customers(300)])
    write_groups(folder / "in-000.parquet", customers(300), [100] * 3, **CHECKED)
    (plan,) = opened(folder, *FEATURES).plan_shards(1, drop_missing=False)
    shard = open_stream(plan, TaskContext())
    assert sum(shard.map_blocks(TaskContext(), lambda block: len(block.x))) == 300
    damaged(folder / "in-000.parquet")
    with raises("input.changed", DataError):
        list(shard.map_blocks(TaskContext(2), lambda block: len(block.x)))


# ahead


def test_ahead_yields_everything_in_order() -> None:
    assert list(prefetch(iter(range(1000)))) == list(range(1000))
    assert list(prefetch(iter([]))) == []


def test_ahead_makes_the_next_item_while_one_is_in_use() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for i, event in enumerate(made):
            event.set()
            yield i

    coming = prefetch(items())
    assert next(coming) == 0
    assert made[1].wait(10)
    assert not made[2].is_set()  # one item ahead, no more
    assert list(coming) == [1, 2]


def test_ahead_hands_on_an_error_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise DataError("file.damaged", "the third is damaged")

    coming = prefetch(items())
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(DataError, match="the third is damaged"):
        next(coming)


def test_ahead_stops_when_its_consumer_does() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    before = threading.active_count()
    for item in prefetch(items()):
        if item == 3:
            break
    assert threading.active_count() == before
    assert made in ([0, 1, 2, 3], [0, 1, 2, 3, 4])


def test_an_error_in_a_pass_ends_it(source: Path) -> None:
    (plan,) = opened(source, *FEATURES).plan_shards(1, drop_missing=False)
    shard = StreamedShard(plan)

    def fail(block: Any) -> None:
        if block.rows.start >= BLOCK_ROWS:
            raise ZeroDivisionError

    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError):
            list(shard.map_blocks(TaskContext(threads), fail))
        assert sum(shard.map_blocks(TaskContext(threads), lambda block: len(block.x))) == ROWS


# The decision.

MIB = 2**20


def imagined(
    groups: int = 100, rows: int = 10**6, features: int = 16, id: bool = True, weight: bool = False
) -> Dataset:
    """A dataset, of 10⁸ rows, that nobody has written; its row groups take 64 MiB each."""
    names = tuple(f"f{f}" for f in range(features))
    schema = pa.schema([(name, pa.float32()) for name in names])
    file = DataFile(
        "/nowhere/a.parquet", 1, (rows,) * groups, schema, FileVersion(1, ()), {}, 64 * MIB
    )
    storage = Storage.from_url("/nowhere", {}, "input.path")
    return Dataset(storage, (file,), names, "id" if id else None, "w" if weight else None)


def planned(data: Dataset, limit: int, workers: int = 1, threads: int = 2) -> MemoryPlan:
    """Plan for workers that may fill `limit` bytes; what the job says is a little more."""
    stated = ceil(limit / memory_plan._USABLE)
    plan = plan_memory(data, ClusterSpec("dask", workers, threads, stated), workers)
    assert plan.peak_bytes <= limit
    return plan


def test_what_fits_is_resident() -> None:
    features = 10**8 * 16 * 4
    plan = planned(imagined(id=False), 64 * 2**30)
    assert (plan.mode, plan.id_turns) == ("resident", 1)
    assert features < plan.peak_bytes < 1.3 * features
    assert 0 < plan.bounds_bytes <= 64 * 2**30 - plan.peak_bytes
    assert re.fullmatch(
        r"7\.\d\d GiB per worker, within 90% of runtime.memory_limit = [\d.]+ GiB", plan.reason
    )
    assert planned(imagined(id=False), plan.peak_bytes).mode == "resident"
    assert planned(imagined(id=False), plan.peak_bytes - 1).mode == "spilled"
    with_ids, weighted = (
        planned(imagined(id=i, weight=w), 64 * 2**30) for i, w in ((True, False), (False, True))
    )
    assert with_ids.peak_bytes - plan.peak_bytes == 24 * 10**8
    assert weighted.peak_bytes - plan.peak_bytes == 8 * 10**8


def test_what_does_not_fit_is_spilled() -> None:
    resident = planned(imagined(), 64 * 2**30)
    plan = planned(imagined(), 5 * 2**30)
    assert (plan.mode, plan.bounds_bytes, plan.id_turns) == ("spilled", 0, 1)
    assert resident.peak_bytes > 5 * 2**30
    assert plan.reason.startswith(
        f"in memory they would take {resident.peak_bytes / 2**30:.2f} GiB per worker, beyond "
        "90% of runtime.memory_limit = "
    )


def test_ids_take_more_turns_the_less_memory_there_is() -> None:
    limits = [5 * 2**30, 3 * 2**30, 2 * 2**30, 1600 * MIB]
    plans = [planned(imagined(), limit) for limit in limits]
    turns = [plan.id_turns for plan in plans]
    assert turns[0] == 1
    assert turns == sorted(set(turns))
    assert {planned(imagined(id=False), limit).id_turns for limit in limits} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1300 * MIB, 1000 * MIB, 700 * MIB])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_cannot_even_be_spilled_is_refused_with_what_would_do(
    limit: int, workers: int
) -> None:
    data = imagined(groups=3000, rows=workers * 50_000)
    with raises("memory_limit.too_low", ResourceError) as error:
        planned(data, limit, workers)
    text = re.fullmatch(
        rf".* {workers} workers?, needs about ([\d.,]+) (.iB), .* about (\d+) workers .*",
        str(error.value),
    )
    assert text is not None, error.value
    needed = float(text[1].replace(",", "")) * {"MiB": MIB, "GiB": 2**30}[text[2]]
    enough = int(text[3])
    assert planned(data, int(needed * 1.01), workers).mode == "spilled"
    assert planned(data, limit, enough + 1).mode == "spilled"
    with pytest.raises(ResourceError):
        planned(data, limit, enough // 2)
    assert error.value.exit_code == 4


def test_a_limit_below_one_worker_is_refused() -> None:
    with raises("memory_limit.too_low", ResourceError) as error:
        planned(imagined(), 100 * MIB, workers=50)
    assert " 542 MiB" in error.value.hint


def test_without_a_limit_the_machine_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class SmallMachine:
        available = 12 * 2**30

    monkeypatch.setattr(memory_plan.psutil, "virtual_memory", SmallMachine)
    local = ClusterSpec("local", None, 2, None)
    assert plan_memory(imagined(), local, 1).mode == "resident"
    two = plan_memory(imagined(groups=200), ClusterSpec("dask", 2, 1, None), 2)
    assert two.mode == "spilled"
    assert "beyond the 6.00 GiB that this machine has left for each" in two.reason
    elsewhere = plan_memory(imagined(groups=2000), ClusterSpec("tcp://h:1", None, None, None), 2)
    assert elsewhere.mode == "resident"


def test_weight_of_the_busiest_worker_counts() -> None:
    """Three row groups on two workers: one of them has two."""
    one, two = (planned(imagined(groups=n, id=False), 2**40).peak_bytes for n in (1, 2))
    assert planned(imagined(groups=3, id=False), 2**40, workers=2).peak_bytes == two > one


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker take no memory for itself, so that limits can be those of small data."""
    monkeypatch.setattr(memory_plan, "PROCESS_BYTES", 0)
    monkeypatch.setattr(memory_plan, "_WORK_BYTES_PER_THREAD", 0)


def test_the_plan_of_a_refresh_counts_the_older_segments(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = list[int]()

    def recorded(*args: Any) -> MemoryPlan:
        plan = plan_memory(*args)
        peaks.append(plan.peak_bytes)
        return plan

    monkeypatch.setattr("gpuseg.jobs.plan.plan_memory", recorded)
    values = job(write_files(tmp_path / "in", [customers(200)]), tmp_path / "out")
    gpuseg.run(values)
    values["output"] = {"path": str(tmp_path / "newer")}
    gpuseg.refresh(values, tmp_path / "out", mode="warm")
    label_and_flag = 4 + 1
    assert peaks[-1] == peaks[0] + 200 * label_and_flag


@pytest.mark.slow
def test_a_job_spills_by_itself_when_its_rows_do_not_fit(
    tmp_path: Path, small: None, capfd: pytest.CaptureFixture[str]
) -> None:
    table = customers(3000).set_column(0, "customer", pa.array(np.arange(3000) % 2990))
    source = write_files(tmp_path / "in", [table])
    run(source, tmp_path / "resident")
    file = tmp_path / "job.toml"

    def limited(limit: int) -> partial[Any]:
        values = job(source, tmp_path / "out", runtime={"memory_limit": limit})
        values["runtime"]["threads_per_worker"] = 1
        file.write_text(toml(values))
        return partial(call, capfd, "run", file)

    dry = limited(60_000)("--dry-run")
    assert dry.code == 0
    assert "rows are     spilled (in memory they would take 0 MiB per worker, beyond" in dry.out
    before = listing(tmp_path)
    plan = limited(60_000)("--dry-run", "--json")
    assert listing(tmp_path).keys() == before.keys()
    assert json.loads(plan.out)["row_storage"]["mode"] == "spilled"
    outcome = limited(60_000)()
    assert outcome.code == 0, outcome.err
    assert "note: rows are on the scratch disk: in memory they" in outcome.err
    assert "warning: input.id = 'customer': 10 rows" in outcome.err
    assert bits(tmp_path / "out") == bits(tmp_path / "resident")
    resident = limited(10**6)("--dry-run", "--overwrite")
    assert "rows are     resident (" in resident.out
    refused = limited(20_000)("--overwrite")
    assert refused.code == 4
    assert "even if its rows are on disk" in refused.err
