"""Files that were damaged on their way: ids by Excel, totals, downloads that went wrong."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from messy_files.libraries import INPUT
from messy_files.messy_file import CUSTOMERS, TOTAL, MessyFile, Refusal, customers_table
from messy_files.spreadsheets import delimited

HEADER = ("id", "name", "orders", "spend")


def customers_csv(rows: Sequence[Sequence[Any]] = CUSTOMERS) -> str:
    """Return customers as plain CSV."""
    return delimited([HEADER, *rows])


def long_ids(folder: Path) -> MessyFile:
    """Write customers whose ids are digits, and no numbers: leading zeros, or 20 digits."""
    ids = {1001: "00123", 1002: "12345678901234567890", 1003: "00000000000000000124",
           1004: "123", 1005: "12345678901234567891"}  # fmt: skip
    path = folder / "customers.csv"
    path.write_text(customers_csv([(ids[c.id], *c[1:]) for c in CUSTOMERS]), newline="")
    return MessyFile(path, INPUT, customers_table(lambda id: ids[id]))


def ids_damaged_by_excel(folder: Path) -> MessyFile:
    """Write customers whose long ids Excel has saved as 1.23E+17, which no program can restore."""
    long = {c.id: f"1234567890123456{c.id}" for c in CUSTOMERS}
    path = folder / "customers.csv"
    damaged = [(f"{float(long[c.id]):.2E}", *c[1:]) for c in CUSTOMERS]
    path.write_text(customers_csv(damaged), newline="")

    def export_again(path: Path) -> None:
        path.write_text(customers_csv([(long[c.id], *c[1:]) for c in CUSTOMERS]), newline="")

    return MessyFile(
        path, INPUT, customers_table(lambda id: long[id]),
        [Refusal("id.damaged", repair_file=export_again)],
    )  # fmt: skip


def totals_and_blank_lines(folder: Path) -> MessyFile:
    """Write customers in groups with blank lines between, and a total at the end."""
    path = folder / "customers.csv"
    lines = customers_csv().splitlines(keepends=True)
    lines.insert(3, "\r\n")
    lines.insert(5, ",,,\r\n")
    total = ("Total", "", sum(c.orders for c in CUSTOMERS), sum(c.spend for c in CUSTOMERS))
    lines += ["\r\n", delimited([total])]
    path.write_text("".join(lines), newline="")
    return MessyFile(
        path, INPUT, customers_table(), [Refusal(TOTAL, {"input": {"skip_footer": 1}})]
    )


def page_of_an_error(folder: Path) -> MessyFile:
    """Write the page of a web server that has asked for a login in place of the file."""
    path = folder / "customers.csv"
    path.write_text(
        '<!DOCTYPE html>\n<html lang="en">\n<head><title>Sign in, please</title></head>\n'
        "<body><h1>403 Forbidden</h1>\n<p>Your session has expired, sign in again.</p></body>\n"
        "</html>\n"
    )

    def download_again(path: Path) -> None:
        path.write_text(customers_csv(), newline="")

    return MessyFile(
        path, INPUT, customers_table(), [Refusal("file.not_csv", repair_file=download_again)]
    )


def compressed_without_suffix(folder: Path) -> MessyFile:
    """Write customers compressed, under a name that does not say so."""
    path = folder / "customers.csv"
    path.write_bytes(gzip.compress(customers_csv().encode()))
    renamed = path.with_name("customers.csv.gz")
    return MessyFile(
        path, INPUT, customers_table(),
        [
            Refusal(
                "file.not_csv", {"input": {"path": str(renamed)}},
                repair_file=lambda path: path.rename(renamed),
            ),
        ],
    )  # fmt: skip


def workbook_named_csv(folder: Path) -> MessyFile:
    """Write a workbook under the name of a CSV file."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (HEADER, *CUSTOMERS):
        book.active.append(list(row))
    path = folder / "customers.csv"
    book.save(path)
    renamed = path.with_name("customers.xlsx")
    return MessyFile(
        path, INPUT, customers_table(),
        [
            Refusal(
                "file.not_csv", {"input": {"path": str(renamed)}},
                repair_file=lambda path: path.rename(renamed),
            ),
        ],
    )  # fmt: skip


FILES = (
    *(long_ids, ids_damaged_by_excel, totals_and_blank_lines, page_of_an_error),
    compressed_without_suffix,
    workbook_named_csv,
)
