"""What two outputs must be to be joined by id, and what users read otherwise."""

import resource
import shutil
import tempfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.joined_outputs import Joins

from gpuseg.errors import ConfigError, DataError, ResourceError
from gpuseg.io.output.base import Staging
from gpuseg.io.storage import Storage
from gpuseg.lineage.labeled_parts import LabeledParts
from gpuseg.lineage.migration import (
    JoinedOutputs,
    join_segments,
    refuse_other_hashes,
    refuse_other_ids,
)
from gpuseg.manifest import PartSummary
from gpuseg.refresh_record import MigrationCell
from gpuseg.runtime.executor import TaskContext


@pytest.fixture
def joins(tmp_path: Path) -> Joins:
    return Joins(tmp_path)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_repeated_and_missing_ids_are_left_out_and_counted(joins: Joins) -> None:
    older = joins.output(pa.array([1, 1, 2, 3, 4, None]), [0, 1, 0, 0, -1, 0])
    newer = joins.output(pa.array([1, 2, 3, 3, 4, None, None, 9]), [0, 1, 0, 0, -1, 0, 0, 2])
    joined = joins.join(older, newer)
    migration = joined.migration
    assert migration is not None
    assert migration.cells == (
        MigrationCell(-1, -1, 1), MigrationCell(0, 1, 1), MigrationCell(None, 2, 1),
    )  # fmt: skip
    assert (migration.stayed, migration.moved, migration.came, migration.left) == (1, 1, 1, 0)
    assert (joined.older.repeated, joined.older.missing) == (3, 1)
    assert (joined.newer.repeated, joined.newer.missing) == (3, 2)
    assert migration.repeated == 9
    assert joins.changes().to_pylist() == [
        {"customer": 2, "from": 0, "to": 1}, {"customer": 9, "from": None, "to": 2},
    ]  # fmt: skip


def test_one_id_in_all_rows_takes_no_more_memory(joins: Joins) -> None:
    ids = pa.array(np.full(200_000, 7))
    older = joins.output(ids, np.zeros(200_000), parts=2, group=5_000)
    newer = joins.output(pa.array([7, 8]), [0, 0])
    joined = joins.join(older, newer, memory_limit=2**20)
    assert joined.older.repeated == 200_000
    assert joined.newer.repeated == 1
    assert joined.changes == 1


def test_unchanged_customers_make_an_empty_file(joins: Joins) -> None:
    older = joins.output(pa.array(["a", "b"]), [0, 3])
    joined = joins.join(older, older)
    assert joined.changes == 0
    assert [part.name for part in joined.parts] == ["_changes/part-00000.parquet"]
    assert joins.changes().schema.names == ["customer", "from", "to"]
    assert joined.warning is None


@pytest.mark.slow
def test_files_are_cut_by_the_number_of_changes(joins: Joins) -> None:
    rows = 1_048_576 + 10
    older = joins.output(pa.array(np.arange(rows)), np.zeros(rows), group=131_072)
    newer = joins.output(pa.array(np.arange(rows)), np.ones(rows), group=100_000)
    joined = joins.join(older, newer)
    assert [part.rows for part in joined.parts] == [1_048_576, 10]
    assert joins.changes()["customer"].to_numpy().tolist() == list(range(rows))


def test_outputs_without_ids_are_not_joined(joins: Joins) -> None:
    with_ids, without = joins.output(pa.array([1]), [0]), joins.output(None, [0])
    assert joins.join(without, with_ids).no_migration == "the older output has no ids"
    joined = joins.join(with_ids, without)
    assert joined == JoinedOutputs(None, "the new output has no ids")
    assert not (joins.target / "_changes").exists()


def test_a_warning_says_that_all_customers_are_others(joins: Joins) -> None:
    joined = joins.join(joins.output(pa.array([1]), [0]), joins.output(pa.array([2]), [0]))
    assert joined.warning is not None
    assert "no customer of the older output is in the new one" in joined.warning


def test_numbers_and_text_are_not_compared(joins: Joins) -> None:
    older, newer = joins.output(pa.array([1]), [0]), joins.output(pa.array(["1"]), [0])
    with pytest.raises(DataError) as caught:
        joins.join(older, newer)
    assert caught.value.code == "migration.id_types"
    assert str(caught.value) == (
        "id: the ids are int64 in the older output and string in the new one, so that no customer "
        "could be compared; write the ids of the input as int64"
    )
    with pytest.raises(DataError) as caught:
        refuse_other_ids(older, pa.string())
    assert caught.value.code == "migration.id_types"
    refuse_other_ids(older, pa.int32())
    refuse_other_ids(joins.output(None, [0]), pa.string())


def test_unsigned_ids_beyond_signed_ones_are_refused(joins: Joins) -> None:
    older = joins.output(pa.array([2**63], pa.uint64()), [0])
    with pytest.raises(DataError) as caught:
        joins.join(older, joins.output(pa.array([-1]), [0]))
    assert caught.value.code == "migration.id_range"
    fits = joins.output(pa.array([5], pa.uint64()), [0])
    assert joins.join(fits, joins.output(pa.array([5]), [0])).changes == 0


@pytest.mark.parametrize(("older", "newer"), [("KEY", None), (None, "KEY")])
def test_hashed_ids_are_not_compared_with_plain_ones(older: str | None, newer: str | None) -> None:
    jobs = [
        {"input": {"id_hash_key_env": older}}, {"transactions": {"id_hash_key_env": newer}},
    ]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        refuse_other_hashes(*jobs)
    assert caught.value.code == "migration.hashed_ids"
    refuse_other_hashes(jobs[0], jobs[0])


def manifest_parts(output: LabeledParts) -> list[PartSummary]:
    """Return the parts of an output as its manifest has them."""
    paths = [Path(path) for path in output.paths]
    return [PartSummary(name=p.name, rows=1, bytes=p.stat().st_size) for p in paths]


def test_missing_and_other_parts_are_refused(joins: Joins) -> None:
    output = joins.output(pa.array([1, 2]), [0, 0], parts=2)
    parts = manifest_parts(output)
    with pytest.raises(DataError) as caught:
        LabeledParts.published(output.storage, [parts[0], parts[1].model_copy(update={"bytes": 9})])
    assert caught.value.code == "migration.damaged_output"
    assert "part-00001.parquet has" in str(caught.value)
    Path(output.paths[1]).unlink()
    with pytest.raises(DataError, match=r"part-00001\.parquet cannot be read") as caught:
        LabeledParts.published(output.storage, parts)
    assert caught.value.code == "migration.damaged_output"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"customer": [1], "segment": pa.array([0.0])}, "other values than segments"),
        ({"customer": [1], "segment": pa.array([None], pa.int32())}, "without a segment"),
        ({"customer": [1], "segment": pa.array([-3], pa.int32())}, "a segment below -1"),
    ],
)
def test_columns_that_are_no_segments_are_refused(
    joins: Joins, table: dict[str, Any], problem: str
) -> None:
    newer = joins.output(pa.array([1]), [0])
    path = Path(joins.output(pa.array([1]), [0]).paths[0])
    pq.write_table(pa.table(table), path)
    older = LabeledParts(newer.storage, (str(path),), "customer")
    with pytest.raises(DataError, match=problem) as caught:
        joins.join(older, newer)
    assert caught.value.code == "migration.damaged_output"


def test_a_footer_with_other_bounds_is_refused(joins: Joins) -> None:
    greatest = 0x1122334455667788
    newer = joins.output(pa.array([1]), [0])
    path = Path(joins.output(pa.array([1, greatest]), [0, 0]).paths[0])
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    true, false = (number.to_bytes(8, "little") for number in (greatest, greatest - 5))
    path.write_bytes(content[:start] + content[start:].replace(true, false))
    older = LabeledParts(newer.storage, (str(path),), "customer")
    with pytest.raises(DataError, match="beyond the least and the greatest") as caught:
        joins.join(older, newer)
    assert caught.value.code == "migration.damaged_output"


@pytest.mark.parametrize("when", ["before", "within"])
def test_an_output_that_is_replaced_is_refused(joins: Joins, when: str) -> None:
    older, newer = joins.output(pa.array([1]), [0]), joins.output(pa.array([2]), [0])

    def replace(_: int = 0) -> None:
        other = joins.output(pa.array([3]), [0])
        Path(other.paths[0]).replace(older.paths[0])

    context = TaskContext(report=replace) if when == "within" else TaskContext()
    if when == "before":
        replace()
    with pytest.raises(DataError) as caught:
        joins.join(older, newer, context=context)
    assert caught.value.code == "migration.output_changed"


def shuffled(joins: Joins) -> tuple[LabeledParts, LabeledParts]:
    """Return outputs whose rows must be sorted on the scratch disk."""
    ids = np.random.default_rng(0).permutation(60_000)
    outputs = [joins.output(pa.array(ids), np.full(len(ids), j), group=5_000) for j in (0, 1)]
    return outputs[0], outputs[1]


@pytest.mark.parametrize("how", ["no room", "full"])
def test_a_full_scratch_disk_is_an_error(
    joins: Joins, scratch: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    older, newer = shuffled(joins)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if how == "no room":
        usage = shutil.disk_usage(scratch)._replace(free=1_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    try:
        if how == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(ResourceError) as caught:
            joins.join(older, newer, memory_limit=2**20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "migration.no_scratch"
    assert "set TMPDIR" in str(caught.value)
    assert not list(scratch.iterdir())


def test_an_interrupt_leaves_no_file(joins: Joins, scratch: Path) -> None:
    seen = []

    def interrupt(_: int) -> None:
        seen.extend(scratch.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        joins.join(*shuffled(joins), context=TaskContext(2, report=interrupt), memory_limit=2**20)
    assert seen
    assert not list(scratch.iterdir())


def test_outputs_on_an_object_store(joins: Joins) -> None:
    """The staged files have another suffix there, as parts have, and the older output any store."""
    older, newer = joins.output(pa.array([1, 2]), [0, 0]), joins.output(pa.array([2, 3]), [1, 1])
    fsspec.filesystem("memory").put(str(Path(older.paths[0]).parent), "/older", recursive=True)
    store = Storage.from_url("memory://older", {}, "path")
    parts = LabeledParts.published(store, manifest_parts(older))
    staging = Staging(Storage.from_url("memory://new", {}, "path"), "/new/_staging/run", "run")
    joined = join_segments(parts, newer, staging)
    assert [part.name for part in joined.parts] == ["_changes/part-00000-run.parquet"]
    with staging.storage.fs.open(staging.path(joined.parts[0].name)) as file:
        assert pq.read_table(file)["customer"].to_pylist() == [1, 2, 3]
