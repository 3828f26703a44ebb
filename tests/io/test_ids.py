"""Customer ids: they keep type and value in the output, and the ones that repeat are counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import customers, cut, in_turn, opened, read_parts, run, write_files

from gpuseg.errors import ConfigError, DataError
from gpuseg.io.parquet.ids import IdRange, PickedIds, WrittenIds, are_distinct, split_ids
from gpuseg.io.parquet.shard_plan import load_shard
from gpuseg.jobs.memory_plan import MemoryPlan, plan_memory
from gpuseg.runtime.executor import TaskContext


@pytest.fixture
def table() -> pa.Table:
    return customers(600)


NUMBERS = range(600)
IDS = {
    "int64": pa.array(range(-(2**62), -(2**62) + 600)),
    "int32": pa.array(NUMBERS, pa.int32()),
    "uint64": pa.array(range(2**64 - 600, 2**64), pa.uint64()),
    "string": pa.array([f"Kundin {i} – ü" for i in NUMBERS]),
    "large_string": pa.array([f"c{i}" for i in NUMBERS], pa.large_string()),
    "binary": pa.array([b"\xff\x00%d" % i for i in NUMBERS], pa.binary()),
    "decimal128": pa.array([Decimal(i).scaleb(-2) for i in NUMBERS], pa.decimal128(20, 2)),
    "uuid bytes": pa.array([i.to_bytes(16, "big") for i in NUMBERS], pa.binary(16)),
    "uuid": pa.array([i.to_bytes(16, "big") for i in NUMBERS], pa.uuid()),
    "dictionary": pa.array([f"c{i % 600}" for i in NUMBERS]).dictionary_encode(),
    "date32": pa.array(NUMBERS, pa.date32()),
    "timestamp": pa.array(NUMBERS, pa.timestamp("us", "UTC")),
    "int64 with a null": pa.array([None, *range(1, 600)]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "missing"), in_turn(IDS, ["error", "drop"], step=2))
def test_ids_keep_type_and_value(tmp_path: Path, table: pa.Table, kind: str, missing: str) -> None:
    ids = IDS[kind]
    table = table.set_column(0, "customer", ids)
    if missing == "drop":
        gone = pa.array([i % 7 == 0 for i in NUMBERS])
        table = table.set_column(1, "recency", pc.if_else(gone, None, table["recency"]))
    source = write_files(tmp_path / "in", cut(table, 250), row_group_size=90)
    result = run(source, tmp_path / "out", prepare={"missing": missing})
    written = read_parts(tmp_path / "out")["customer"]
    expected = table.filter(pc.is_valid(table["recency"]))["customer"]
    assert written.type == ids.type
    assert written.to_pylist() == expected.to_pylist()
    dropped = ["86 rows with a missing feature were dropped"] if missing == "drop" else []
    assert result.manifest["warnings"] == dropped


def test_ids_of_int96_keep_their_times(tmp_path: Path, table: pa.Table) -> None:
    seconds = 2**37 + np.arange(600) * 10**8  # the years from 6325 to 8225
    ids = pa.array(seconds * 10**6).cast(pa.timestamp("us"))
    (tmp_path / "in").mkdir()
    changed = table.set_column(0, "customer", ids)
    pq.write_table(changed, tmp_path / "in" / "0.parquet", use_deprecated_int96_timestamps=True)
    run(tmp_path / "in", tmp_path / "out")
    assert read_parts(tmp_path / "out")["customer"].equals(changed["customer"])


def test_partition_column_as_id(tmp_path: Path, table: pa.Table) -> None:
    for name, piece in zip(("a", "b"), cut(table.drop_columns("customer"), 100), strict=True):
        write_files(tmp_path / "in" / f"customer={name}", [piece])
    run(tmp_path / "in", tmp_path / "out")
    assert read_parts(tmp_path / "out")["customer"].to_pylist() == ["a"] * 100 + ["b"] * 500


@pytest.fixture
def turns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let jobs check ids in so many turns, as they do where memory is scarce."""
    count: int = request.param
    monkeypatch.setattr(
        "gpuseg.jobs.plan.plan_memory", lambda *args: replace(plan_memory(*args), id_turns=count)
    )
    return count


REPEATED: dict[str, tuple[pa.Array, int]] = {
    "int": (pa.array([*range(597), 0, 1, 1]), 3),
    "every int": (pa.array([i % 300 for i in NUMBERS]), 300),
    "string": (pa.array([*map(str, range(598)), "0", "597"]), 2),
    "text for no id": (pa.array([*map(str, range(596)), *["NULL"] * 3, "7"]), 1),
    "null": (pa.array([*map(str, range(597)), None, None, None]), 0),
    "null and empty": (pa.array([*map(str, range(598)), "", None]), 0),
    "int, null in one group": (pa.array([None, *range(1, 300), *range(300)]), 299),
    "rising files": (pa.array([*range(350, 600), *range(350)]), 0),
    "rising files that meet": (pa.array([*range(250), *range(249, 599)]), 1),
    "rising files of large ints that meet": (
        pa.array([*range(2**63 + 350, 2**63 + 600), *range(2**63 + 1, 2**63 + 351)], pa.uint64()),
        1,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("turns", "kind"), in_turn([1, 5], REPEATED, step=2), indirect=["turns"])
def test_repeated_ids_are_counted(tmp_path: Path, table: pa.Table, turns: int, kind: str) -> None:
    ids, repeated = REPEATED[kind]
    table = table.set_column(0, "customer", ids)
    source = write_files(tmp_path / "in", cut(table, 250))
    manifest = run(source, tmp_path / "out").manifest
    warnings = [text.split(" row")[0] for text in manifest["warnings"]]
    assert warnings == ([f"input.id = 'customer': {repeated}"] if repeated else [])
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text()) == manifest
    assert read_parts(tmp_path / "out")["customer"].to_pylist() == ids.to_pylist()


INCREASING = pa.array([-5, 0, 7])


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([INCREASING], IdRange(-5, 7)),
        ([INCREASING, pa.array([8, 2**62])], IdRange(-5, 2**62)),
        ([INCREASING, pa.array([7, 8])], None),
        ([INCREASING, pa.array([3])], None),
        ([pa.array([1, 1])], None),
        ([pa.array([1, None])], None),
        ([pa.array(["a", "b"])], None),
        ([pa.array([], pa.int64()), INCREASING], IdRange(-5, 7)),
        ([pa.array([2**63, 2**64 - 1], pa.uint64())], IdRange(2**63, 2**64 - 1)),
        ([], None),
    ],
)
def test_written_ids_have_a_range_if_they_rise(
    batches: list[pa.Array], expected: IdRange | None
) -> None:
    written = WrittenIds(keep_hashes=False)
    for ids in batches:
        written.add(ids, np.ones(len(ids), bool))
    assert written.range() == expected


def test_ids_are_picked_from_the_batches_that_have_their_rows() -> None:
    picked = PickedIds(np.array([3, 4, 9]))
    for first, ids in ((2, ["c", "d"]), (4, ["e", "f", "g"]), (7, ["h"]), (8, ["i", "j"])):
        picked.add(pa.array(ids), first)
    values = picked.array()
    assert values is not None
    assert values.to_pylist() == ["d", "e", "j"]
    assert PickedIds(np.array([1])).array() is None


@pytest.mark.slow
def test_ids_of_dropped_rows_are_not_counted(tmp_path: Path, table: pa.Table) -> None:
    """Rows 0 and 400 have the ids of rows that are kept; ids rise in the first file only."""
    ids = [5, *range(1, 400), 5, *range(401, 598), 1, 2]
    gone = pa.array([i in (0, 400) for i in NUMBERS])
    recency = pc.if_else(gone, None, table["recency"])
    table = table.set_column(0, "customer", pa.array(ids)).set_column(1, "recency", recency)
    source = write_files(tmp_path / "in", cut(table, 250))
    manifest = run(source, tmp_path / "out", prepare={"missing": "drop"}).manifest
    assert [text for text in manifest["warnings"] if "input.id" in text] == [
        "input.id = 'customer': 2 rows have the id of another row; each row has its own line in "
        "the output"
    ]


def test_ranges_are_distinct_if_none_overlaps() -> None:
    assert are_distinct([IdRange(5, 9), IdRange(1, 4), IdRange(10, 10)])
    assert not are_distinct([IdRange(5, 9), IdRange(1, 5)])
    assert not are_distinct([IdRange(1, 9), IdRange(3, 4)])
    assert not are_distinct([IdRange(1, 2), None])


@pytest.mark.slow
@pytest.mark.parametrize("ids", [IDS["int64 with a null"], IDS["string"]], ids=["int", "string"])
@pytest.mark.parametrize("drop", [False, True])
def test_each_id_has_one_turn(tmp_path: Path, table: pa.Table, ids: pa.Array, drop: bool) -> None:
    """And one piece of it; pieces and turns are ranges of the hashes, each about as large."""
    table = table.set_column(0, "customer", ids)
    recency = pc.if_else(pa.array([i % 7 == 0 for i in NUMBERS]), None, table["recency"])
    source = write_files(tmp_path / "in", cut(table.set_column(1, "recency", recency), 250))
    (plan,) = opened(source, "recency", id="customer").plan_shards(1, drop_missing=drop)
    shard = load_shard(plan, TaskContext())

    def pieces(turns: int) -> Iterator[list[int]]:
        for turn in range(turns):
            for piece in split_ids(shard, TaskContext(2), 3, turn, turns):
                yield sorted(piece.tolist())

    together = [hash for piece in pieces(1) for hash in piece]
    assert len(together) == shard.n_rows == (514 if drop else 600)
    assert together == sorted(together)
    for turns in (2, 3, 16):
        blocks = list(pieces(turns))
        assert len(blocks) == 3 * turns
        assert [hash for piece in blocks for hash in piece] == together
        assert max(map(len, blocks)) < 3 * shard.n_rows / len(blocks) + 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "missing"), in_turn(["one shard", "two workers", "spilled"], ["drop", "error"], step=2)
)
def test_the_first_of_rows_with_one_id_is_kept(
    tmp_path: Path,
    table: pa.Table,
    how: str,
    missing: str,
    two_workers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = pa.array([*(i % 300 if i >= 400 else i for i in range(597)), None, None, None])
    table = table.set_column(0, "customer", ids)
    if missing == "drop":  # after the others that repeat an id
        gaps = pa.array(np.where(np.arange(600) % 5 == 1, np.nan, table["spend"]))
        table = table.set_column(table.column_names.index("spend"), "spend", gaps)
    frame = table.to_pandas()
    alone = frame[frame.customer.isna() | ~frame.customer.duplicated()]
    repeated = len(frame) - len(alone)
    alone = alone.dropna(subset=["spend"])
    expected = write_files(
        tmp_path / "alone", [pa.Table.from_pandas(alone, preserve_index=False).cast(table.schema)]
    )
    run(expected, tmp_path / "expected")
    if how == "spilled":
        spilled = MemoryPlan("spilled", "asked for", 0, 0, 1)
        monkeypatch.setattr("gpuseg.jobs.plan.plan_memory", lambda *_: spilled)
    runtime = two_workers if how == "two workers" else {}
    source = write_files(tmp_path / "in", cut(table, 250))
    prepare = {"missing": missing, "duplicates": "first"}
    result = run(source, tmp_path / "out", prepare=prepare, runtime=runtime)
    assert read_parts(tmp_path / "out").equals(read_parts(tmp_path / "expected"))
    warning = f"{repeated:,} rows with a duplicate id were dropped; the first one was kept"
    assert repeated > 20 and warning in result.manifest["warnings"]
    with raises("id.duplicates", DataError, parameter="id", value="customer"):
        run(source, tmp_path / "no", prepare={**prepare, "duplicates": "error"})


def test_repeated_ids_need_ids(tmp_path: Path, table: pa.Table) -> None:
    source = write_files(tmp_path / "in", [table])
    with raises("duplicates.no_id", ConfigError, parameter="duplicates", value="first"):
        run(source, tmp_path / "out", input={"id": None}, prepare={"duplicates": "first"})


@pytest.mark.slow
@pytest.mark.parametrize("ids", [
    pa.array([""] * 40 + [" "] + [f"c{i % 500}" for i in range(559)]),
    pa.array([np.nan] * 41 + [float(i % 500) for i in range(559)]),
    pa.array([None] * 41 + [f"c{i % 500}" for i in range(559)]),
])  # fmt: skip
def test_rows_without_an_id_are_not_one_customer(
    tmp_path: Path, table: pa.Table, ids: pa.Array
) -> None:
    source = write_files(tmp_path / "in", [table.set_column(0, "customer", ids)])
    result = run(source, tmp_path / "out", prepare={"duplicates": "first"})
    assert read_parts(tmp_path / "out").num_rows == 541
    assert len(result.manifest["warnings"]) == 1  # no further one of ids that repeat
