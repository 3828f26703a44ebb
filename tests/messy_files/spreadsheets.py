"""Files that Excel writes in several countries, and its workbooks.

Excel on Windows writes "CSV" with the list separator, the numbers and the code page of the country.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from messy_files.messy_file import (
    CUSTOMERS,
    LINES,
    TITLE,
    TOTAL,
    UNREADABLE_NUMBER,
    UNREADABLE_TIME,
    MessyFile,
    Refusal,
    customers_table,
    dates_only,
    lines_table,
    named,
)


def delimited(rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Return rows as Excel writes them: a field has quotes where it needs them."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def number(value: float, thousands: str, decimal: str, decimals: int = 2) -> str:
    """Return a number as the format of a cell shows it."""
    signs = str.maketrans({",": thousands, ".": decimal})
    return f"{value:,.{decimals}f}".translate(signs)


def german(value: float) -> str:
    """Return a number as in Germany and Brazil."""
    return number(value, ".", ",")


def excel_of_germany(folder: Path) -> MessyFile:
    """Write lines with semicolons, decimal commas, days first, and Windows-1252."""
    header = ("Rechnungsdatum", "Kundennr.", "Rechnung", "Artikel", "Menge", "Stückpreis (€)")
    rows = [
        (f"{x.time:%d.%m.%Y %H:%M}", x.customer, x.invoice, x.product, x.quantity, german(x.price))
        for x in LINES
    ]
    path = folder / "Verkäufe.csv"
    path.write_text(delimited([header, *rows], ";"), "cp1252", newline="")
    time, customer, order, product, quantity, price = header
    return MessyFile(
        path,
        {
            "transactions": {
                "customer": customer, "time": time, "order": order, "product": product,
                "quantity": quantity, "price": price,
            },
        },
        lines_table(),
        [
            Refusal(UNREADABLE_TIME, {"transactions": {"time_format": "%d.%m.%Y %H:%M"}}),
            Refusal(UNREADABLE_NUMBER, {"transactions": {"decimal": ",", "thousands": "."}}),
        ],
    )  # fmt: skip


def excel_of_france(folder: Path) -> MessyFile:
    """Write customers with semicolons, narrow spaces between thousands, and a mark of UTF-8."""
    header = ("N° client", "Nom", "Commandes", "Chiffre d'affaires (€)")
    rows = [
        (c.id, c.name, number(c.orders, "\u202f", ",", 0), number(c.spend, "\u202f", ","))
        for c in CUSTOMERS
    ]
    path = folder / "clients.csv"
    path.write_text(delimited([header, *rows], ";"), "utf-8-sig", newline="")
    return MessyFile(
        path,
        {"input": {"id": header[0], "features": [header[2], header[3]]}},
        named(customers_table(), orders=header[2], spend=header[3]),
    )


def excel_of_the_united_states(folder: Path) -> MessyFile:
    """Write lines with months first, AM and PM, dollar signs, and returns in parentheses."""
    rows = [
        (american(x.time), x.customer, x.invoice, accounting(x.quantity * x.price)) for x in LINES
    ]
    path = folder / "orders.csv"
    header = ("Order Date", "Customer ID", "Order #", "Amount")
    path.write_text(delimited([header, *rows]), "cp1252", newline="")
    time, customer, order, amount = header
    return MessyFile(
        path,
        {"transactions": {"customer": customer, "time": time, "order": order, "amount": amount}},
        lines_table(),
        [
            Refusal(UNREADABLE_TIME, {"transactions": {"time_format": "%m/%d/%Y %I:%M %p"}}),
            Refusal(UNREADABLE_NUMBER, {"transactions": {"thousands": ","}}),
        ],
    )


def american(time: datetime) -> str:
    """Return a time as m/d/yyyy h:mm AM/PM."""
    return f"{time.month}/{time.day}/{time.year} {time.hour % 12 or 12}:{time:%M %p}"


def accounting(value: float) -> str:
    """Return an amount as the format "Currency" shows it."""
    return f"${value:,.2f}" if value >= 0 else f"(${-value:,.2f})"


def excel_of_japan(folder: Path) -> MessyFile:
    """Write lines in Shift-JIS, with the year first and commas between thousands."""
    header = ("購入日", "顧客番号", "注文番号", "商品", "数量", "単価")
    rows = [
        (
            f"{x.time.year}/{x.time.month}/{x.time.day}", x.customer, x.invoice, f"表示{x.product}",
            x.quantity, number(x.price, ",", "."),
        )
        for x in LINES
    ]  # fmt: skip
    path = folder / "購入.csv"
    path.write_text(delimited([header, *rows]), "cp932", newline="")
    time, customer, order, product, quantity, price = header
    return MessyFile(
        path,
        {
            "transactions": {
                "customer": customer, "time": time, "order": order, "product": product,
                "quantity": quantity, "price": price,
            },
        },
        lines_table(time_of=dates_only),
        [
            Refusal("file.unknown_encoding", {"transactions": {"encoding": "cp932"}}),
            Refusal(UNREADABLE_NUMBER, {"transactions": {"thousands": ","}}),
        ],
    )  # fmt: skip


def excel_of_brazil(folder: Path) -> MessyFile:
    """Write customers with semicolons, the sign R$, and decimal commas."""
    header = ("Código", "Nome", "Cidade", "Pedidos", "Receita")
    rows = [
        (c.id, c.name, "São Paulo", c.orders, f"{'-' * (c.spend < 0)}R$ {german(abs(c.spend))}")
        for c in CUSTOMERS
    ]
    path = folder / "clientes.csv"
    text = delimited([header, *rows], ";")
    path.write_text(text, "cp1252", errors="replace", newline="")
    return MessyFile(
        path,
        {"input": {"id": "Código", "features": ["Pedidos", "Receita"]}},
        named(customers_table(), orders="Pedidos", spend="Receita"),
    )


def unicode_text(folder: Path) -> MessyFile:
    """Write customers as "Unicode Text": UTF-16 with tabs."""
    rows = [("Customer", "Name", "Orders", "Spend"), *CUSTOMERS]
    path = folder / "customers.txt"
    path.write_bytes(b"\xff\xfe" + delimited(rows, "\t").encode("utf-16-le"))
    return MessyFile(
        path,
        {"input": {"id": "Customer", "features": ["Orders", "Spend"]}},
        named(customers_table(), orders="Orders", spend="Spend"),
    )


def separator_line(folder: Path) -> MessyFile:
    """Write customers below a line that tells Excel the separator."""
    rows = [("Customer", "Name", "Orders", "Spend")]
    rows += [(c.id, c.name, c.orders, str(c.spend).replace(".", ",")) for c in CUSTOMERS]
    path = folder / "customers.csv"
    path.write_text("sep=;\r\n" + delimited(rows, ";"), "utf-8-sig", newline="")
    return MessyFile(
        path,
        {"input": {"id": "Customer", "features": ["Orders", "Spend"]}},
        named(customers_table(), orders="Orders", spend="Spend"),
    )


def workbook(folder: Path) -> MessyFile:
    """Write a workbook with a title above the customers, and their total below."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Customers"
    sheet.append(["Customers of 2024"])
    sheet.merge_cells("A1:D1")
    sheet.append([])
    sheet.append(["Customer", "Name", "Orders", "Spend"])
    for customer in CUSTOMERS:
        sheet.append(list(customer))
        sheet.cell(sheet.max_row, 4).number_format = '#,##0.00 "€"'
    orders, spend = (sum(values) for values in list(zip(*CUSTOMERS, strict=True))[2:])
    sheet.append(["Total", None, orders, spend])
    path = folder / "customers.xlsx"
    book.save(path)
    return MessyFile(
        path,
        {"input": {"id": "Customer", "features": ["Orders", "Spend"]}},
        named(customers_table(), orders="Orders", spend="Spend"),
        [
            Refusal(TITLE, {"input": {"skip_rows": 2}}),
            Refusal(TOTAL, {"input": {"skip_footer": 1}}),
        ],
    )


FILES = (
    *(excel_of_germany, excel_of_france, excel_of_the_united_states, excel_of_japan),
    *(excel_of_brazil, unicode_text, separator_line, workbook),
)
