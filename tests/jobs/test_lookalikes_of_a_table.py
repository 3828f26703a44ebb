"""Lookalikes of a table: exactly so many, in their order, however the table is divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.fitted_outputs import fitted, new_rows
from support.helpers import call, cut, manifest_of, read_parts, write_files

import gpuseg
from gpuseg.errors import ConfigError
from gpuseg.runtime.executor import TaskContext
from gpuseg.scoring.lookalikes import liked_segment


def expected(case: str, rows: pa.Table, id: str | None, segment: str, n: int) -> list[Any]:
    """Return ids and distances of the nearest rows, by sorting all of them."""
    model = gpuseg.load_model(fitted(case))
    z = model.pipeline.transform(rows, "numpy")
    distances = liked_segment(model, segment, {}).distances(z, "numpy", TaskContext()).tolist()
    ids = list(range(len(rows))) if id is None else rows[id].to_pylist()
    return sorted(zip(distances, ids, strict=True))[:n]


def lookalikes(case: str, source: Path, target: Path, **options: Any) -> pa.Table:
    gpuseg.score(fitted(case), source, target, overwrite=True, **options)
    return read_parts(target)


@pytest.mark.parametrize(
    ("case", "id", "segment", "n"),
    [
        ("plain", "customer", "2", 40),
        ("text_ids", "text_id", "0", 149),
        ("no_id", None, "1", 40),
        ("all_steps", "customer", "3", 1),
        ("hierarchy", "customer", "segment_3=1", 33),
        ("dbscan", "customer", "1", 40),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_they_are_the_nearest_rows(
    case: str, id: str | None, segment: str, n: int, tmp_path: Path
) -> None:
    rows = new_rows(case)
    source = write_files(tmp_path / "in", cut(rows, 31, 50), 16)
    table = lookalikes(case, source, tmp_path / "out", like=segment, top=n)
    pairs = zip(table["like_distance"].to_pylist(), table[id or "row"].to_pylist(), strict=True)
    assert list(pairs) == expected(case, rows, id, segment, n)
    assert table["rank"].to_pylist() == list(range(1, n + 1))
    everyone = read_parts(Path(gpuseg.score(fitted(case), source, tmp_path / "all").path))
    numbers = {value: i for i, value in enumerate(rows[id].to_pylist())} if id else {}
    at = [numbers.get(value, value) for value in table[id or "row"].to_pylist()]
    for name in everyone.column_names:
        assert table[name].to_pylist() == everyone[name].take(at).to_pylist(), name


@pytest.fixture
def with_ties(tmp_path: Path) -> pa.Table:
    """Rows of which many are as near as others, in no order of their ids."""
    rows = new_rows("plain").slice(0, 30)
    many = pa.concat_tables([rows] * 20)
    ids = np.random.default_rng(0).permutation(len(many)) // 2  # each id twice
    return many.set_column(0, "customer", pa.array(ids))


@pytest.mark.parametrize("n", [1, 100, 599])
def test_the_division_makes_no_difference(n: int, with_ties: pa.Table, tmp_path: Path) -> None:
    pairs = expected("plain", with_ties, "customer", "0", n)
    tables = []
    for i, (sizes, group, backend) in enumerate(
        [((), 1000, "numba"), ((7, 200, 1), 10, "numba"), ((300,), 300, "numpy")]
    ):
        source = write_files(tmp_path / f"in{i}", cut(with_ties, *sizes), group)
        overrides = [f"runtime.backend={backend}"]
        tables.append(
            lookalikes("plain", source, tmp_path / "out", like=0, top=n, overrides=overrides)
        )
    assert all(table.equals(tables[0]) for table in tables)
    table = tables[0]
    columns = (table["like_distance"].to_pylist(), table["customer"].to_pylist())
    assert list(zip(*columns, strict=True)) == pairs


@pytest.mark.slow
def test_two_workers_make_no_difference(
    with_ties: pa.Table, tmp_path: Path, two_workers: dict[str, Any]
) -> None:
    source = write_files(tmp_path / "in", cut(with_ties, 100, 250), 50)
    options: dict[str, Any] = {"like": "1", "top": 77, "confidence": True}
    one = lookalikes("plain", source, tmp_path / "one", **options)
    overrides = [f"runtime.{key}={value}" for key, value in two_workers.items()]
    two = lookalikes("plain", source, tmp_path / "two", **options, overrides=overrides)
    assert two.equals(one)


def test_members_can_be_left_out(tmp_path: Path) -> None:
    rows = new_rows("hierarchy")
    source = write_files(tmp_path / "in", [rows])
    for like, column in (("2", "segment"), ("segment_3=1", "segment_3")):
        options: dict[str, Any] = {"like": like, "exclude_members": True, "top": 1000}
        table = lookalikes("hierarchy", source, tmp_path / "out", **options)
        everyone = read_parts(Path(gpuseg.score(fitted("hierarchy"), source, tmp_path / "all",
                                                overwrite=True).path))  # fmt: skip
        others = everyone["customer"].to_numpy()[everyone[column].to_numpy() != int(like[-1])]
        assert sorted(table["customer"].to_pylist()) == sorted(others.tolist())


def test_a_table_with_fewer_rows_gives_all_of_them(tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", [new_rows("plain").slice(0, 5)])
    table = lookalikes("plain", source, tmp_path / "out", like="0", top=10**12)
    assert len(table) == 5
    manifest = manifest_of(tmp_path / "out")
    assert any("top" in warning for warning in manifest["warnings"])
    assert manifest["lookalikes"]["requested"] == 10**12
    assert manifest["lookalikes"]["rows"] == 5
    assert manifest["lookalikes"]["farthest"] == table["like_distance"][-1].as_py()
    assert manifest["input"]["rows"] == 5


def test_no_rows_are_left(tmp_path: Path) -> None:
    rows = new_rows("plain")
    source = write_files(tmp_path / "in", [rows])
    everyone = read_parts(Path(gpuseg.score(fitted("plain"), source, tmp_path / "all").path))
    members = rows.filter(pa.array(everyone["segment"].to_numpy() == 0))
    pq.write_table(members, tmp_path / "members.parquet")
    table = lookalikes(
        "plain", tmp_path / "members.parquet", tmp_path / "out", like=0, top=3,
        exclude_members=True,
    )  # fmt: skip
    assert len(table) == 0
    assert table.column_names == ["customer", "segment", "distance", "like_distance", "rank"]


def test_ids_that_come_twice_are_warned_of(with_ties: pa.Table, tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", [with_ties])
    lookalikes("plain", source, tmp_path / "out", like="0", top=600)
    assert any("300 rows" in warning for warning in manifest_of(tmp_path / "out")["warnings"])


@pytest.mark.parametrize(
    ("ids", "n_duplicates"),
    [
        (pa.array([f"c{i % 20}" for i in range(30)]).dictionary_encode(), 10),
        (pa.nulls(30), 0),  # rows without an id do not count
    ],
)
def test_ids_of_other_types(ids: pa.Array, n_duplicates: int, tmp_path: Path) -> None:
    rows = new_rows("plain").slice(0, 30).set_column(0, "customer", ids)
    source = write_files(tmp_path / "in", cut(rows, 11), 7)
    table = lookalikes("plain", source, tmp_path / "out", like="0", top=30)
    assert sorted(table["customer"].to_pylist(), key=str) == sorted(ids.to_pylist(), key=str)
    warnings = manifest_of(tmp_path / "out")["warnings"]
    assert [f"{n_duplicates} rows" in text for text in warnings] == [True] * bool(n_duplicates)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"like": "0"}, "score.missing_key"),
        ({"top": 3}, "score.missing_key"),
        ({"exclude_members": True}, "score.several_errors"),
        ({"like": "0", "top": 0}, "score.invalid_value"),
        ({"like": "", "top": 1}, "score.invalid_value"),
        ({"like": "nobody", "top": 1}, "like.unknown_segment"),
        ({"like": 9, "top": 1}, "like.unknown_segment"),
        ({"like": "0", "top": 1, "id": "rank"}, "id.reserved_name"),
    ],
)
def test_wrong_options(options: dict[str, Any], code: str, tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", [new_rows("plain")])
    with raises(code, ConfigError):
        gpuseg.score(fitted("plain"), source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_segment_by_its_name_on_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_files(tmp_path / "in", [new_rows("plain")])
    (segment,) = [s for s in manifest_of(fitted("plain"))["segments"] if s["segment"] == 1]
    outcome = call(
        capfd, "score", fitted("plain"), source, tmp_path / "out", "--like", segment["name"],
        "--top", "7",
    )  # fmt: skip
    assert outcome.code == 0
    assert "7 customers" in outcome.out
    assert len(read_parts(tmp_path / "out")) == 7
    assert manifest_of(tmp_path / "out")["lookalikes"]["segment"] == 1
