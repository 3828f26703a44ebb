"""A shop refreshed month by month: ids stay, and tables add up, which DuckDB recomputes."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.helpers import THOROUGH

import gpuseg
from gpuseg.io.storage import Storage
from gpuseg.manifest import Manifest, ScoresManifest, read_any_manifest

RETAIL = Path(__file__).parents[3] / "shared" / "data" / "online_retail_to_2011-08.parquet"
MONTHS = [f"2011-{month:02d}-01" for month in range(3, 10, 1 if THOROUGH else 2)]

pytestmark = pytest.mark.skipif(not RETAIL.exists(), reason="the lines are not here")


def job(lines: Path, snapshot: str, out: Path) -> dict[str, Any]:
    return {
        "transactions": {
            "path": str(lines),
            "customer": "CustomerID", "time": "InvoiceDate", "order": "InvoiceNo",
            "product": "StockCode", "quantity": "Quantity", "price": "UnitPrice",
            "snapshot": f"{snapshot}T00:00:00",
            "features": ["recency_days", "orders", "spend", "tenure_days"],
        },
        "prepare": {"transform": {"orders": "log1p", "spend": "log1p"}, "clip": [0.0, 0.999]},
        "segment": {"n_clusters": 5},
        "runtime": {"backend": "numba"},
        "output": {"path": str(out)},
    }  # fmt: skip


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The output of each month; each but the first one continues that before it."""
    folder = tmp_path_factory.mktemp("retail")
    outs: list[Path] = []
    for snapshot in MONTHS:
        lines, out = folder / f"lines-{snapshot}.parquet", folder / f"out-{snapshot}"
        duckdb.sql(
            f"COPY (FROM '{RETAIL}' WHERE InvoiceDate < TIMESTAMP '{snapshot}') TO '{lines}'"
        )
        values = job(lines, snapshot, out)
        if outs:
            gpuseg.refresh(values, outs[-1])
        else:
            gpuseg.run(values)
        outs.append(out)
    return outs


def manifest(out: Path) -> Manifest | ScoresManifest:
    return read_any_manifest(Storage.from_url(str(out), {}, "path"))


def pairs(outputs: list[Path]) -> Iterator[tuple[Path, Path]]:
    yield from pairwise(outputs)


def test_the_migration_table_is_that_of_duckdb(outputs: list[Path]) -> None:
    for older, newer in pairs(outputs):
        refresh = manifest(newer).refresh
        assert refresh is not None and refresh.migration is not None
        expected = duckdb.sql(
            f"""SELECT a.segment, b.segment, count(*)
            FROM '{older}/part-*.parquet' a
            FULL OUTER JOIN '{newer}/part-*.parquet' b USING (customer_id)
            GROUP BY ALL ORDER BY a.segment NULLS LAST, b.segment NULLS LAST"""
        ).fetchall()
        assert [tuple(cell) for cell in refresh.migration.cells] == expected
        changed = sum(n for before, now, n in expected if before != now)
        assert refresh.changes == changed
        if changed:
            n_rows = duckdb.sql(f"SELECT count(*) FROM '{newer}/_changes/*.parquet'").fetchall()
            assert n_rows == [(changed,)]


def test_tables_add_up_to_the_outputs(outputs: list[Path]) -> None:
    for older, newer in pairs(outputs):
        before, now = manifest(older), manifest(newer)
        assert now.refresh is not None and now.refresh.migration is not None
        cells = now.refresh.migration.cells
        for record, axis in ((before, 0), (now, 1)):
            for segment in record.segments:
                rows = sum(cell[2] for cell in cells if cell[axis] == segment.segment)
                size = segment.size if hasattr(segment, "size") else segment.rows
                assert rows == size
        for definition in now.refresh.definitions:
            assert sum(cell.rows for cell in definition.overlap) == now.input.rows


def test_ids_follow_the_matching_rule(outputs: list[Path]) -> None:
    """A new number is larger than any before; an old one shares half of its rows on both sides."""
    for older, newer in pairs(outputs):
        before, now = manifest(older), manifest(newer)
        assert now.refresh is not None
        old_lineage, lineage = before.lineage[0], now.lineage[0]
        alive = {a.segment for a in lineage.segments if a.retired is None}
        known = {a.segment for a in old_lineage.segments}
        assert all(number >= old_lineage.next_segment for number in alive - known)
        assert known <= {a.segment for a in lineage.segments}
        for definition in now.refresh.definitions:
            inside = {(c.before, c.now): c.rows - c.far for c in definition.overlap}
            for number in alive & known:
                kept = inside[number, number]
                assert kept >= 0.5 * sum(n for (old, _), n in inside.items() if old == number)
                assert kept >= 0.5 * sum(n for (_, new), n in inside.items() if new == number)


def test_the_history_has_all_months(outputs: list[Path]) -> None:
    history = gpuseg.history([str(outputs[-1])])
    assert [entry.run_id for entry in history] == [manifest(out).run_id for out in outputs]
