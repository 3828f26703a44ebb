"""Two outputs joined by id: against DuckDB, for every type, order and cut of the rows."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.helpers import THOROUGH
from support.joined_outputs import Joins

from gpuseg.lineage import segment_join, sorted_runs
from gpuseg.lineage.labeled_parts import LabeledParts
from gpuseg.lineage.migration import JoinedOutputs
from gpuseg.runtime.executor import TaskContext

N = 3_000


@pytest.fixture
def joins(tmp_path: Path) -> Joins:
    return Joins(tmp_path)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows make many windows, runs and blocks."""
    monkeypatch.setattr(segment_join, "_LEAST_ROWS", 300)
    monkeypatch.setattr(sorted_runs, "_BLOCK_ROWS", 64)


def duckdb_cells(older: LabeledParts, newer: LabeledParts) -> Counter[tuple[Any, Any]]:
    """Count customers with DuckDB, without ids that are repeated."""
    query = """
        with a as (select customer, any_value(segment) s, count(*) n from read_parquet($a)
                   where customer is not null group by 1),
             b as (select customer, any_value(segment) s, count(*) n from read_parquet($b)
                   where customer is not null group by 1)
        select a.s, b.s, count(*) from a full outer join b on a.customer = b.customer
        where coalesce(a.n, 1) = 1 and coalesce(b.n, 1) = 1 group by 1, 2
    """
    paths = {"a": list(older.paths), "b": list(newer.paths)}
    with duckdb.connect() as connection:
        return Counter({(a, b): n for a, b, n in connection.execute(query, paths).fetchall()})


def cells(joined: JoinedOutputs) -> Counter[tuple[Any, Any]]:
    assert joined.migration is not None
    return Counter({(cell.before, cell.now): cell.customers for cell in joined.migration.cells})


def as_is(numbers: Iterable[int]) -> list[int]:
    return list(numbers)


def padded(numbers: Iterable[int]) -> list[str]:
    return [f"customer-{n:06d}" for n in numbers]


def ragged(numbers: Iterable[int]) -> list[str]:
    """Return ids of which some are the start of others, also up to a NUL, or are not ASCII."""
    return ["é" * (n % 3) + str(n) + "\0" * (n % 2) for n in numbers]


def hashed(numbers: Iterable[int]) -> list[str]:
    return [hashlib.sha256(str(n).encode()).hexdigest() for n in numbers]


def uuids(numbers: Iterable[int]) -> list[bytes]:
    return [uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128).bytes for n in numbers]


def scattered(numbers: Iterable[int]) -> list[int]:
    return [n * 0x9E3779B97F4A7C15 % 2**64 - 2**63 for n in numbers]


def unsigned(numbers: Iterable[int]) -> list[int]:
    return [n * 0x9E3779B97F4A7C15 % 2**64 for n in numbers]


KINDS: dict[str, tuple[Callable[[Iterable[int]], list[Any]], pa.DataType, pa.DataType]] = {
    "int64": (as_is, pa.int64(), pa.int64()),
    "int32 and int64": (as_is, pa.int32(), pa.int64()),
    "uint16 and int16": (as_is, pa.uint16(), pa.int16()),
    "scattered": (scattered, pa.int64(), pa.int64()),
    "uint64": (unsigned, pa.uint64(), pa.uint64()),
    "text": (padded, pa.string(), pa.large_string()),
    "ragged": (ragged, pa.large_string(), pa.string()),
    "dictionary": (padded, pa.string(), pa.dictionary(pa.int32(), pa.string())),
    "view": (padded, pa.string_view(), pa.string()),
    "hashed": (hashed, pa.string(), pa.string()),
    "bytes": (uuids, pa.binary(16), pa.binary(16)),
    "dates": (as_is, pa.date32(), pa.date32()),
    "times": (as_is, pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    "floats": (as_is, pa.float64(), pa.float64()),
    "decimals": (as_is, pa.decimal128(20, 0), pa.decimal128(20, 0)),
}

WRITTEN = {"uint16 and int16": pa.int32(), "dictionary": pa.string()}
"""Types of the ids in the changes, if they are not that of the newer output."""


def ids_of(make: Callable[[Iterable[int]], list[Any]], kind: pa.DataType, rows: Any) -> pa.Array:
    """Return the ids of customers, in a type."""
    values = make(int(row) for row in rows)
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_same_as_duckdb_in_any_order_and_cut(joins: Joins, kind: str) -> None:
    make, older_type, newer_type = KINDS[kind]
    draws = np.random.default_rng(0)
    customers = np.arange(N)
    segments = draws.integers(-1, 5, N)
    older_rows, newer_rows = customers[draws.random(N) < 0.9], customers[draws.random(N) < 0.9]
    moved = np.where(draws.random(N) < 0.2, draws.integers(-1, 7, N), segments)
    digests, results = set(), set()
    ways: list[tuple[bool, int, int, dict[str, Any]]] = [
        (False, 3, 170, {"context": TaskContext(2)}),
        (True, 1, 500, {"memory_limit": 2**20}),
        (True, 4, 90, {"context": TaskContext(3), "memory_limit": 2**18}),
    ]
    some = ways if THOROUGH else ways[list(KINDS).index(kind) % 3 :][:1]
    for shuffled, parts, group, options in ((False, 1, 500, {}), *some):
        if shuffled:
            draws.shuffle(older_rows)
            draws.shuffle(newer_rows)
        older = joins.output(
            ids_of(make, older_type, older_rows), segments[older_rows], parts, group
        )
        newer = joins.output(ids_of(make, newer_type, newer_rows), moved[newer_rows], parts, group)
        joined = joins.join(older, newer, **options)
        digests.add(joins.digest())
        assert joined.migration is not None
        results.add(joined.migration.model_dump_json())
    assert len(digests) == len(results) == 1
    assert cells(joined) == duckdb_cells(older, newer)
    assert joined.migration.repeated == 0
    assert joins.changes().schema.types[0] == WRITTEN.get(kind, newer_type)
    check_changes(joins.changes(), make, newer_type, segments, moved, older_rows, newer_rows)


def check_changes(
    changes: pa.Table,
    make: Callable[[Iterable[int]], list[Any]],
    kind: pa.DataType,
    segments: Any,
    moved: Any,
    older_rows: Any,
    newer_rows: Any,
) -> None:
    """Compare changes with those of a plain loop."""
    before = dict(zip(older_rows.tolist(), segments[older_rows].tolist(), strict=True))
    now = dict(zip(newer_rows.tolist(), moved[newer_rows].tolist(), strict=True))
    expected = {
        (i, before.get(i), now.get(i)) for i in before.keys() | now.keys()
        if before.get(i) != now.get(i)
    }  # fmt: skip
    ids = ids_of(make, kind, [i for i, _, _ in expected])
    rows = list(zip(ids.to_pylist(), *list(zip(*expected, strict=True))[1:], strict=True))
    is_number = pa.types.is_integer(kind)
    keys = ids.to_pylist() if is_number else [sort_key(value) for value in ids]
    ordered = [row for _, row in sorted(zip(keys, rows, strict=True), key=lambda pair: pair[0])]
    assert changes.column_names == ["customer", "from", "to"]
    assert list(zip(*(column.to_pylist() for column in changes.columns), strict=True)) == ordered
    assert changes.schema.types[1:] == [pa.int32(), pa.int32()]


def sort_key(value: pa.Scalar) -> bytes:
    """Return the bytes by which an id that is no integer is sorted."""
    shown = value.as_py()
    return shown if isinstance(shown, bytes) else str(value.cast(pa.string())).encode()


@pytest.mark.slow
@settings(
    max_examples=100 if THOROUGH else 15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    data=st.tuples(
        *[
            st.lists(
                st.tuples(st.one_of(st.none(), st.integers(0, 12)), st.integers(-1, 3)), max_size=30
            )
        ]
        * 2
    ),
    text=st.booleans(),
    seed=st.integers(0, 99),
    groups=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_small_outputs_add_up(
    joins: Joins,
    data: tuple[list[tuple[int | None, int]], ...],
    text: bool,
    seed: int,
    groups: tuple[int, int],
) -> None:
    """Ids that repeat and missing ids are left out, and the sums are the rows."""
    digests, order = set(), np.random.default_rng(seed)
    for _ in range(2):
        outputs = []
        for rows, group in zip(data, groups, strict=True):
            shuffled = [rows[j] for j in order.permutation(len(rows))]
            ids = [i if i is None or not text else f"{i}" for i, _ in shuffled]
            column = pa.array(ids, pa.string() if text else pa.int64())
            outputs.append(joins.output(column, [s for _, s in shuffled], 2, group))
        joined = joins.join(*outputs, context=TaskContext(2))
        digests.add(joins.digest())
    assert len(digests) == 1
    counts = cells(joined)
    assert counts == duckdb_cells(*outputs)
    for place, (rows, left_out) in enumerate(zip(data, (joined.older, joined.newer), strict=True)):
        counted = sum(n for pair, n in counts.items() if pair[place] is not None)
        assert counted + left_out.repeated + left_out.missing == len(rows)
        assert left_out.missing == sum(i is None for i, _ in rows)
    migration = joined.migration
    assert migration is not None
    assert joined.changes == migration.moved + migration.came + migration.left
    assert joined.changes == len(joins.changes())
