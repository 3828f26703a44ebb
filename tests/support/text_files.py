"""Tables as text files, in the styles of the programs that write them."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import openpyxl
import pyarrow as pa


def csv_bytes(
    table: pa.Table,
    delimiter: str = ",",
    decimal: str = ".",
    encoding: str = "utf-8",
    line_end: str = "\n",
    above: str = "",
) -> bytes:
    """Write a table as CSV; no value has the delimiter in it."""

    def text(value: Any) -> str:
        if value is None:
            return ""
        return repr(value).replace(".", decimal) if isinstance(value, float) else str(value)

    rows = [table.column_names, *(map(text, row.values()) for row in table.to_pylist())]
    lines = [above + delimiter.join(rows[0]), *(delimiter.join(row) for row in rows[1:]), ""]
    return line_end.join(lines).encode(encoding)


def xlsx_bytes(
    table: pa.Table, sheet: str = "Data", above: Iterable[Sequence[Any]] = (), others: int = 0
) -> bytes:
    """Write a table as a workbook, below some rows, before other sheets."""
    workbook = openpyxl.Workbook()
    page = workbook.active
    page.title = sheet
    for row in above:
        page.append(list(row))
    page.append(table.column_names)
    for values in table.to_pylist():
        page.append(list(values.values()))
    for i in range(others):
        workbook.create_sheet(f"Other {i}").append(["a", "b"])
    content = io.BytesIO()
    workbook.save(content)
    return content.getvalue()


STYLES: dict[str, Callable[[pa.Table], tuple[str, bytes]]] = {
    "plain": lambda t: ("a.csv", csv_bytes(t)),
    "German Excel": lambda t: ("a.csv", csv_bytes(t, ";", ",", "cp1252", "\r\n")),
    "Excel's separator line": lambda t: ("a.csv", csv_bytes(t, "|", above="sep=|\n")),
    "Excel's Unicode text": lambda t: ("a.txt", csv_bytes(t, "\t", ",", "utf-16", "\r\n")),
    "UTF-16 without a mark": lambda t: ("a.csv", csv_bytes(t, encoding="utf-16-be")),
    "UTF-8 with a mark": lambda t: ("a.csv", csv_bytes(t, ";", encoding="utf-8-sig")),
    "old Mac": lambda t: ("a.csv", csv_bytes(t, line_end="\r")),
    "gzip": lambda t: ("a.tsv.gz", gzip.compress(csv_bytes(t, "\t"))),
    "bzip2": lambda t: ("a.csv.bz2", bz2.compress(csv_bytes(t))),
    "zstd": lambda t: ("a.csv.zst", pa.Codec("zstd").compress(csv_bytes(t), asbytes=True)),
    "Excel": lambda t: ("a.xlsx", xlsx_bytes(t, others=2)),
    "blanks": lambda t: ("a.txt", csv_bytes(t, "   ", above="  ")),
}
"""The name and the content of a file, by its style."""
