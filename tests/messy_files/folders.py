"""Folders whose files differ, or are not all data."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from messy_files.libraries import INPUT
from messy_files.messy_file import CUSTOMERS, Customer, MessyFile, Refusal, customers_table


def differing_parts(folder: Path) -> MessyFile:
    """Write parts as several programs do: an empty one, one of nulls, int64 and double."""
    path = folder / "parts"
    path.mkdir()
    id, orders, spend = ([c[i] for c in CUSTOMERS] for i in (0, 2, 3))
    parts = (
        {"id": pa.nulls(0), "orders": pa.nulls(0), "spend": pa.nulls(0), "note": pa.nulls(0)},
        {"id": id[:2], "orders": orders[:2], "spend": spend[:2], "note": pa.nulls(2)},
        {
            "id": pa.array(id[2:4], pa.int32()), "orders": pa.array(orders[2:4], pa.float64()),
            "spend": pa.array(spend[2:4], pa.float32()), "note": ["a", "b"],
        },
        {"id": id[4:], "orders": orders[4:], "spend": [int(spend[4])], "note": [7]},
    )  # fmt: skip
    for number, part in enumerate(parts):
        pq.write_table(pa.table(part), path / f"part-{number}.parquet")
    return MessyFile(path, INPUT, customers_table())


def files_of_the_desktop(folder: Path) -> MessyFile:
    """Write customers beside an export of them as CSV, and files that Windows and macOS leave."""
    path = folder / "customers"
    path.mkdir()
    _write_customers(path / "customers.parquet", CUSTOMERS)
    rows = [f"{c.id},{c.orders},{c.spend}" for c in CUSTOMERS]
    (path / "customers.csv").write_text("\n".join(["id,orders,spend", *rows, ""]))
    (path / "desktop.ini").write_bytes(b"\xff\xfe" + "[.ShellClassInfo]\r\n".encode("utf-16-le"))
    (path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    (path / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1" + bytes(56))
    (path / "~$book.xlsx").write_bytes(b"\x04Anna" + bytes(160))
    parquet_files = {"input": {"path": f"{path}/*.parquet"}}
    return MessyFile(
        path, INPUT, customers_table(), [Refusal("input.mixed_formats", parquet_files)]
    )


def _write_customers(path: Path, customers: tuple[Customer, ...]) -> None:
    columns = {name: [getattr(c, name) for c in customers] for name in ("id", "orders", "spend")}
    pq.write_table(pa.table(columns), path)


FILES = (differing_parts, files_of_the_desktop)
