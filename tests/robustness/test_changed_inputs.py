"""Files of the input that change during a run: an error that names the file, and no output."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.change_at import ChangeAt
from support.errors import raises
from support.helpers import customers, cut, in_turn, job, leftovers, listing, write_files

import gpuseg
from gpuseg.errors import DataError
from gpuseg.io.parquet.streamed_shard import open_stream
from gpuseg.jobs.memory_plan import MemoryPlan

ROWS = 300


def rewritten(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Return a change that writes a file again, with its old times."""

    def rewrite(path: Path) -> None:
        info = path.stat()
        pq.write_table(change(pq.read_table(path)), path, row_group_size=100)
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    return rewrite


def reverse(table: pa.Table) -> pa.Table:
    return table.take(pa.array(np.arange(table.num_rows)[::-1]))


def with_text_ids(table: pa.Table) -> pa.Table:
    return table.set_column(0, "customer", table["customer"].cast(pa.string()))


def replace_by_other(path: Path) -> None:
    pq.write_table(reverse(pq.read_table(path)), path.with_name("_new"), row_group_size=100)
    path.with_name("_new").rename(path)


CHANGES = {
    "reversed": rewritten(reverse),
    "fewer rows": rewritten(lambda table: table.slice(0, 110)),
    "more rows": rewritten(lambda table: pa.concat_tables([table, table])),
    "ids of another type": rewritten(with_text_ids),
    "replaced": replace_by_other,
    "removed": Path.unlink,
    "cut": lambda path: os.truncate(path, 100),
}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output, which other runs are to replace."""
    folder = tmp_path_factory.mktemp("changed")
    source = write_files(folder / "in", cut(customers(2 * ROWS), ROWS))
    gpuseg.run(job(source, folder / "out"))
    return folder / "out"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "stage", "change"),
    in_turn(
        ("resident", "spilled", "streamed"), ("read", "prepare", "fit", "write", "publish"),
        CHANGES, step=5,
    ),
)  # fmt: skip
def test_changed_during_a_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    older: Path,
    mode: str,
    stage: str,
    change: str,
) -> None:
    if mode != "resident":
        spilled = MemoryPlan("spilled", "asked for", 0, 0, 1)
        monkeypatch.setattr("gpuseg.jobs.plan.plan_memory", lambda *_: spilled)
    if mode == "streamed":
        monkeypatch.setattr("gpuseg.jobs.reader_choice.spill_shard", open_stream)
    source = write_files(tmp_path / "in", cut(customers(2 * ROWS), ROWS))
    spec = job(source, tmp_path / "out", output={"overwrite": True})
    shutil.copytree(older, tmp_path / "out")
    before = listing(tmp_path / "out")
    file = source / "in-001.parquet"
    with raises("input.changed", DataError) as caught:
        gpuseg.run(spec, progress=ChangeAt(stage, lambda: CHANGES[change](file)))
    assert "in-001.parquet" in str(caught.value)
    assert listing(tmp_path / "out") == before
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "change"), [("fit", "reversed"), ("write", "fewer rows")])
def test_changed_under_workers(
    tmp_path: Path, two_workers: dict[str, Any], stage: str, change: str
) -> None:
    source = write_files(tmp_path / "in", cut(customers(2 * ROWS), ROWS))
    progress = ChangeAt(stage, lambda: CHANGES[change](source / "in-001.parquet"))
    with raises("input.changed", DataError):
        gpuseg.run(job(source, tmp_path / "out", runtime=two_workers), progress=progress)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def purchases(folder: Path, kind: str) -> dict[str, Any]:
    """Write lines and a table of attributes; return a job with both."""
    rng = np.random.default_rng(0)
    lines = pa.table({
        "who": rng.integers(0, 40, 400), "paid": rng.lognormal(2, 1, 400), "what": ["a", "b"] * 200,
        "at": np.datetime64("2025-01-01", "s") + rng.integers(0, 30_000_000, 400),
    })  # fmt: skip
    table = pa.table({"customer": np.arange(40), "age": rng.integers(20, 60, 40)})
    for name, one in {"lines": lines, "ages": table}.items():
        (folder / name).mkdir()
        write = pq.write_table if kind == "parquet" else pa.csv.write_csv
        write(one, folder / name / f"a.{kind}")
    roles = {"customer": "who", "time": "at", "amount": "paid", "product": "what"}
    return {
        "transactions": {"path": str(folder / "lines"), **roles},
        "join": [{"path": str(folder / "ages"), "id": "customer"}],
        "segment": {"n_clusters": 2},
        "output": {"path": str(folder / "out")},
    }


@pytest.mark.parametrize(
    ("kind", "name", "stage"),
    in_turn(("parquet", "csv"), ("lines", "ages"), ("features", "describe", "publish"), step=2),
)
def test_lines_and_joins_changed_during_a_run(
    tmp_path: Path, kind: str, name: str, stage: str
) -> None:
    spec, file = purchases(tmp_path, kind), tmp_path / name / f"a.{kind}"

    def change() -> None:
        content = file.read_bytes()
        file.write_bytes(content.replace(b"1", b"2"))

    with raises("input.changed", DataError) as caught:
        gpuseg.run(spec, progress=ChangeAt(stage, change))
    assert f"a.{kind}" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_new_files_are_no_change(tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", cut(customers(2 * ROWS), ROWS))

    def add() -> None:
        pq.write_table(customers(10), source / "in-002.parquet")

    result = gpuseg.run(job(source, tmp_path / "out"), progress=ChangeAt("fit", add))
    assert sum(part.rows for part in result.record.parts) == 2 * ROWS
