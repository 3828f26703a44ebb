"""How rows are cut: every row in one shard and one part, in order, evenly, and found again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.helpers import FEATURES, customers, cut, loaded, opened, write_files

from gpuseg.io.parquet.shard_plan import PART_ROWS, ShardPlan


@pytest.fixture
def table() -> pa.Table:
    return customers(1000)


def pieces(plans: Sequence[ShardPlan]) -> list[tuple[str, int, int]]:
    """File name, row group and part of all pieces, in the order of the shards."""
    return [
        (Path(piece.path).name, group, piece.number)
        for plan in plans
        for piece in plan.parts
        for group in piece.row_groups
    ]


@pytest.mark.parametrize("n_shards", range(1, 8))
def test_shards_cover_each_row_once_and_evenly(
    tmp_path: Path, table: pa.Table, n_shards: int
) -> None:
    data = opened(write_files(tmp_path / "in", cut(table, 130, 300, 7), row_group_size=20))
    plans = data.plan_shards(n_shards, drop_missing=False)
    actual = pieces(plans)
    assert [f[:2] for f in actual] == [
        (Path(file.path).name, g) for file in data.files for g in range(len(file.group_rows))
    ]
    parts = [f[2] for f in actual]
    assert sorted(set(parts)) == list(range(max(parts) + 1))
    assert parts == sorted(parts)
    assert len(plans) == n_shards
    assert all(abs(plan.rows - 1000 / n_shards) <= 20 for plan in plans)
    assert sum(plan.rows for plan in plans) == 1000


def test_more_shards_than_row_groups(tmp_path: Path, table: pa.Table) -> None:
    data = opened(write_files(tmp_path / "in", [table], row_group_size=400))
    plans = data.plan_shards(7, drop_missing=False)
    assert [plan.rows for plan in plans] == [400, 400, 200]


def test_a_part_holds_one_file_and_at_most_part_rows(tmp_path: Path) -> None:
    table = pa.table({"a": np.zeros(PART_ROWS + 10, np.int8)})
    data = opened(write_files(tmp_path / "in", [table, table.slice(0, 5)], PART_ROWS // 2))
    (plan,) = data.plan_shards(1, drop_missing=False)
    assert [(p.row_groups, p.rows) for p in plan.parts] == [
        ((0, 1), PART_ROWS), ((2,), 10), ((0,), 5),
    ]  # fmt: skip


def test_no_part_without_rows(tmp_path: Path, table: pa.Table) -> None:
    (tmp_path / "in").mkdir()
    with pq.ParquetWriter(tmp_path / "in" / "a.parquet", table.schema) as writer:
        for piece in (table.slice(0, 500), table.slice(0, 0)):
            writer.write_table(piece)
    pq.write_table(table.slice(500), tmp_path / "in" / "b.parquet")
    plans = opened(tmp_path / "in").plan_shards(2, drop_missing=False)
    assert [piece.rows for plan in plans for piece in plan.parts] == [500, 500]


@pytest.mark.parametrize(
    ("n_shards", "shard", "row", "where"),
    [
        (1, 0, 0, "row 0 of in-000.parquet"),
        (1, 0, 129, "row 129 of in-000.parquet"),
        (1, 0, 130, "row 0 of year=2024/in-000.parquet"),
        (2, 1, 0, "row 370 of year=2024/in-000.parquet"),
        (2, 1, 499, "row 869 of year=2024/in-000.parquet"),
    ],
)
def test_rows_are_described_by_file_and_row(
    tmp_path: Path, table: pa.Table, n_shards: int, shard: int, row: int, where: str
) -> None:
    first, second = cut(table, 130)
    write_files(tmp_path / "in", [first], row_group_size=10)
    write_files(tmp_path / "in" / "year=2024", [second], row_group_size=10)
    plans = opened(tmp_path / "in", *FEATURES).plan_shards(n_shards, drop_missing=False)
    assert plans[shard].describe_row(row) == f"{where} (rows count from 0)"


def test_rows_with_a_missing_feature_are_dropped(tmp_path: Path) -> None:
    a = [float(i) if i % 3 else None for i in range(50_000)]
    table = pa.table({"a": a, "b": np.arange(50_000.0), "w": np.arange(50_000.0)})
    data = opened(write_files(tmp_path / "in", [table], 7_000), "a", "b", weight="w")
    (shard,) = loaded(data, drop=True)
    left = np.array([i for i in range(50_000) if i % 3])
    assert np.array_equal(shard.x, np.stack([left, left], axis=1))
    assert shard.weight is not None
    assert np.array_equal(shard.weight, left)
    assert shard.source_row(4) == 7
    assert shard.kept is not None
    assert np.array_equal(np.flatnonzero(shard.kept), left)
