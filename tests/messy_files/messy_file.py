"""What a messy file is: a job, how the job is refused and repaired, and the table of an analyst.

Most files hold the customers or the purchases of this module, each in its own manner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple

Job = Mapping[str, Mapping[str, Any]]
"""Sections of a job file; the test adds `[segment]` and `[output]`."""

Table = Mapping[Any, Mapping[str, float | None]]
"""Features by the ids of customers."""

UNREADABLE_TIME = "transactions.unreadable_time"
UNREADABLE_NUMBER = "transactions.unreadable_value"
NO_HEADER = "file.no_header"
TITLE = "file.title_above_header"
TOTAL = "file.total_row"


@dataclass(frozen=True)
class Refusal:
    """A job that is refused, and what its message says to do.

    Attributes
    ----------
    code : str
        Of the error.
    keys : job
        Sections with the keys that the message names, as they repair the job.
    first_line : sequence of str
        Values of a file without a header, as the message shows them.
    repair_file : function of a path, optional
        Repairs the file instead, where no key of a job can.
    """

    code: str
    keys: Job = field(default_factory=dict)
    first_line: Sequence[str] = ()
    repair_file: Callable[[Path], object] | None = None


@dataclass(frozen=True)
class MessyFile:
    """A file, and the jobs that a newcomer writes for it one after the other.

    Attributes
    ----------
    path : Path
        A file or a folder.
    job : job
        The first job, without the path.
    expected : table
        What an analyst reads in the file.
    refusals : sequence of Refusal
        How the first job is refused, and each repaired one after it but the last.
    """

    path: Path
    job: Job
    expected: Table
    refusals: Sequence[Refusal] = ()


class Customer(NamedTuple):
    """One row of a table of customers."""

    id: int
    name: str
    orders: int
    spend: float


CUSTOMERS = (
    Customer(1001, "Zoé Müller", 3, 1234.5),
    Customer(1002, "Smith, John", 1, 19.99),
    Customer(1003, "Łukasz O'Neil", 1204, 1234567.25),
    Customer(1004, 'Ana "Nina" Sá', 7, 0.5),
    Customer(1005, "Jörg Weiß", 2, -35.0),
)  # fmt: skip


class Line(NamedTuple):
    """One line of an invoice; a negative quantity is a return."""

    customer: int
    invoice: str
    product: str
    time: datetime
    quantity: int
    price: float


LINES = (
    Line(17850, "536365", "85123A", datetime(2010, 12, 1, 8, 26), 6, 2.55),
    Line(17850, "536365", "71053", datetime(2010, 12, 1, 8, 26), 6, 3.39),
    Line(13047, "536367", "84879", datetime(2010, 12, 1, 8, 34), 32, 1.69),
    Line(13047, "C536379", "84879", datetime(2010, 12, 1, 9, 41), -2, 1.69),
    Line(12583, "536370", "22728", datetime(2010, 12, 2, 18, 45), 24, 3.75),
    Line(12583, "536371", "POST", datetime(2010, 12, 10, 0, 0), 1, 1234.5),
    Line(17850, "536373", "85123A", datetime(2010, 12, 10, 15, 2), 1, 2.55),
    Line(14688, "536374", "21258", datetime(2010, 12, 10, 23, 59), 32, 10.95),
)


def customers_table(id_of: Callable[[int], Any] = int) -> Table:
    """Return orders and spend of `CUSTOMERS`, by ids as the file has them."""
    return {id_of(c.id): {"orders": c.orders, "spend": c.spend} for c in CUSTOMERS}


def named(table: Table, **names: str) -> Table:
    """Return a table with other names of its features."""
    return {
        id: {names.get(name, name): value for name, value in row.items()}
        for id, row in table.items()
    }


def lines_table(
    lines: Iterable[Line] = LINES,
    id_of: Callable[[int], Any] = str,
    time_of: Callable[[datetime], datetime] = lambda time: time,
) -> Table:
    """Return features of the customers of lines, by the definitions of the guide.

    Parameters
    ----------
    lines : Lines
    id_of : function
        Returns the id as the file has it.
    time_of : function
        Returns the time as the file has it, which may be less precise.
    """
    lines = [line._replace(time=time_of(line.time)) for line in lines]
    last = max(line.time for line in lines)
    snapshot = datetime(last.year, last.month, last.day) + timedelta(days=1)
    purchases: dict[int, list[Line]] = {}
    for line in lines:
        if line.quantity > 0:
            purchases.setdefault(line.customer, []).append(line)
    day = timedelta(days=1)
    return {
        id_of(customer): {
            "recency_days": (snapshot - max(line.time for line in bought)) / day,
            "orders": len({line.invoice for line in bought}),
            "spend": fsum(line.quantity * line.price for line in bought),
        }
        for customer, bought in purchases.items()
    }


def dates_only(time: datetime) -> datetime:
    """Return the midnight of a day, for files that have no times of day."""
    return datetime(time.year, time.month, time.day)
