"""Files that shops, web statistics and databases write, and data sets of the web."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from messy_files.messy_file import (
    CUSTOMERS,
    LINES,
    NO_HEADER,
    TITLE,
    TOTAL,
    UNREADABLE_TIME,
    MessyFile,
    Refusal,
    customers_table,
    dates_only,
    lines_table,
    named,
)
from messy_files.spreadsheets import delimited

ROLES = {
    "customer": "CustomerID", "time": "InvoiceDate", "order": "InvoiceNo", "product": "StockCode",
    "quantity": "Quantity", "price": "UnitPrice",
}  # fmt: skip


def online_retail(folder: Path) -> MessyFile:
    """Write lines as Kaggle's "Online Retail": Latin-1, months first, lines without a customer."""
    header = (
        *("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice"),
        *("CustomerID", "Country"),
    )
    rows = [
        (
            x.invoice, x.product, "RETRO SPOT, £1 MUG" if x.product == "84879" else "CAFÉ SIGN",
            x.quantity, kaggle_time(x.time), x.price, x.customer, "EIRE",
        )
        for x in LINES
    ]  # fmt: skip
    time = kaggle_time(LINES[-1].time)
    rows.insert(3, ("536414", "22139", "", 56, time, 0.0, "", "United Kingdom"))
    path = folder / "data.csv"
    path.write_text(delimited([header, *rows]), "latin-1", newline="")
    return MessyFile(
        path, {"transactions": ROLES}, lines_table(),
        [Refusal(UNREADABLE_TIME, {"transactions": {"time_format": "%m/%d/%Y %H:%M"}})],
    )  # fmt: skip


def kaggle_time(time: datetime) -> str:
    """Return a time such as 12/1/2010 8:26."""
    return f"{time.month}/{time.day}/{time.year} {time.hour}:{time:%M}"


def floating_ids(folder: Path) -> MessyFile:
    """Write lines by pandas, whose ids are floats since some are missing."""
    import pandas as pd

    frame = pd.DataFrame({
        "CustomerID": [*(float(x.customer) for x in LINES), None],
        "InvoiceNo": [*(x.invoice for x in LINES), "536414"],
        "StockCode": [*(x.product for x in LINES), "22139"],
        "InvoiceDate": pd.to_datetime([*(x.time for x in LINES), LINES[-1].time]),
        "Quantity": [*(x.quantity for x in LINES), 56],
        "UnitPrice": [*(x.price for x in LINES), 0.0],
    })  # fmt: skip
    path = folder / "lines.csv"
    frame.to_csv(path)
    return MessyFile(
        path, {"transactions": ROLES}, lines_table(id_of=lambda customer: f"{customer}.0")
    )


def cdnow(folder: Path) -> MessyFile:
    """Write lines as CDNOW's: aligned by blanks, no header, times as 19970101."""
    lines = [line for line in LINES if line.quantity > 0]
    rows = [
        f" {x.customer:05} {x.time:%Y%m%d} {x.quantity:2} {x.quantity * x.price:7.2f}\r\n"
        for x in lines
    ]
    path = folder / "CDNOW_master.txt"
    path.write_text("".join(rows), "ascii", newline="")
    by_day = [x._replace(invoice=f"{x.time:%Y%m%d}") for x in lines]
    return MessyFile(
        path,
        {
            "transactions": {
                "customer": "customer", "time": "date", "quantity": "cds", "amount": "dollars",
            },
        },
        lines_table(by_day, time_of=dates_only),
        [
            Refusal(
                NO_HEADER, {"transactions": {"header": ["customer", "date", "cds", "dollars"]}},
                ("17850", "20101201", "6", "15.30"),
            ),
            Refusal(UNREADABLE_TIME, {"transactions": {"time_format": "%Y%m%d"}}),
        ],
    )  # fmt: skip


def web_statistics(folder: Path) -> MessyFile:
    """Write customers as Google Analytics: comments above, dollar signs, and a total below."""
    rule = "# ----------------------------------------"
    comments = [rule, "# All Web Site Data", "# User Explorer", "# 20240101-20240131", rule, ""]
    header = ("Client Id", "Sessions", "Avg. Session Duration", "Revenue")
    rows = [
        (client_id(c.id), f"{c.orders:,}", "00:03:12", f"{'-' * (c.spend < 0)}${abs(c.spend):,.2f}")
        for c in CUSTOMERS
    ]
    total = ("", f"{sum(c.orders for c in CUSTOMERS):,}", "00:03:12", "$1,235,787.24")
    path = folder / "analytics.csv"
    text = "\n".join([*comments, delimited([header, *rows, total]).replace("\r\n", "\n")])
    path.write_text(text, "utf-8", newline="")
    return MessyFile(
        path,
        {"input": {"id": "Client Id", "features": ["Sessions", "Revenue"]}},
        named(customers_table(client_id), orders="Sessions", spend="Revenue"),
        [
            Refusal(TITLE, {"input": {"skip_rows": 6}}),
            Refusal(TOTAL, {"input": {"skip_footer": 1}}),
        ],
    )


def client_id(customer: int) -> str:
    """Return an id of two numbers with a point, which is no decimal number."""
    return f"{customer}567890.1704067200"


def shop_orders(folder: Path) -> MessyFile:
    """Write lines as Shopify: line breaks in names of columns, and times with an offset."""
    header = ("Name", "Customer\nID", "Created at", "Lineitem\nquantity", "Lineitem\nprice (EUR)")
    rows = [
        (
            f"#{x.invoice}", x.customer, f"{x.time:%Y-%m-%d %H:%M:%S} +0100", x.quantity,
            f"{x.price:.2f}",
        )
        for x in LINES
    ]  # fmt: skip
    path = folder / "orders_export_1.csv"
    path.write_text(delimited([header, *rows]).replace("\r\n", "\n"), "utf-8", newline="")
    order, customer, time, quantity, price = header
    return MessyFile(
        path,
        {
            "transactions": {
                "customer": customer, "time": time, "order": order, "quantity": quantity,
                "price": price,
            },
        },
        lines_table(time_of=lambda time: time - timedelta(hours=1)),
    )  # fmt: skip


def mysql_outfile(folder: Path) -> MessyFile:
    r"""Write lines by MySQL's `INTO OUTFILE`: tabs, no header, \N for null."""
    rows = [[x.customer, x.invoice, x.time, x.quantity, x.price] for x in LINES]
    rows.insert(2, [None, "536414", LINES[-1].time, 56, None])
    path = folder / "lines.txt"
    path.write_text("".join(map(mysql_row, rows)), "utf-8", newline="")
    return MessyFile(
        path,
        {
            "transactions": {
                "customer": "customer", "time": "at", "order": "invoice", "quantity": "quantity",
                "price": "price",
            },
        },
        lines_table(),
        [
            Refusal(
                NO_HEADER,
                {"transactions": {"header": ["customer", "invoice", "at", "quantity", "price"]}},
                ("17850", "536365", "2010-12-01 08:26:00", "6", "2.55"),
            ),
        ],
    )  # fmt: skip


def mysql_row(values: Sequence[Any]) -> str:
    r"""Return values with tabs between, and \N for None."""
    return "\t".join(r"\N" if value is None else str(value) for value in values) + "\n"


def postgresql_copy(folder: Path) -> MessyFile:
    """Write customers by PostgreSQL's `COPY`: t and f, and Infinity where it divided by zero."""
    path = folder / "customers.csv"
    rows = [
        (c.id, "tf"[c.id % 2], c.orders, c.spend, "Infinity" if c.orders == 1 else c.orders / 2)
        for c in CUSTOMERS
    ]
    header = ("customer", "is_member", "orders", "spend", "ratio")
    path.write_text(delimited([header, *rows]).replace("\r\n", "\n"), "utf-8", newline="")
    known = [c.orders / 2 for c in CUSTOMERS if c.orders != 1]
    names = ["is_member", "orders", "spend", "ratio"]
    return MessyFile(
        path,
        {"input": {"id": "customer", "features": names}},
        {
            c.id: {
                "is_member": 1 - c.id % 2, "orders": c.orders, "spend": c.spend,
                "ratio": median(known) if c.orders == 1 else c.orders / 2,
            }
            for c in CUSTOMERS
        },
        [
            Refusal(
                "feature.infinite",
                {"input": {"null_values": ["Infinity"]}, "prepare": {"missing": "median"}},
            ),
        ],
    )  # fmt: skip


def epoch_seconds(folder: Path) -> MessyFile:
    """Write lines whose times are seconds since 1970."""
    return _epochs(folder, 1, "epoch_s")


def epoch_milliseconds(folder: Path) -> MessyFile:
    """Write lines whose times are milliseconds since 1970, as JavaScript has them."""
    return _epochs(folder, 1000, "epoch_ms")


def _epochs(folder: Path, per_second: int, format: str) -> MessyFile:
    header = tuple(ROLES.values())
    rows = [
        (
            x.customer, int(x.time.replace(tzinfo=UTC).timestamp()) * per_second, x.invoice,
            x.product, x.quantity, x.price,
        )
        for x in LINES
    ]  # fmt: skip
    path = folder / "events.csv"
    path.write_text(delimited([header, *rows]), "utf-8", newline="")
    return MessyFile(
        path, {"transactions": ROLES}, lines_table(),
        [Refusal(UNREADABLE_TIME, {"transactions": {"time_format": format}})],
    )  # fmt: skip


FILES = (
    *(online_retail, floating_ids, cdnow, web_statistics, shop_orders, mysql_outfile),
    *(postgresql_copy, epoch_seconds, epoch_milliseconds),
)
