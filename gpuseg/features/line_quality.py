"""Quality of the lines: findings, actions, and the affected lines and customers."""

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.arrow import is_text
from gpuseg.backends.customers import COUNTS
from gpuseg.features.transactions import Roles, ScanCounts

NULL_TEXT = "text for a missing value, such as NULL"
"""The finding of lines with one of the null values."""

_LARGE_SHARE = 0.05
_TIMES_THE_MEAN = 20

_MAX_LIST = 600
"""Most characters of a list of null values in a message."""


@dataclass(frozen=True)
class BusiestCustomer:
    """The customer with the most lines; of several, the last one in the order of their ids."""

    lines: int = 0
    id: str = ""


@dataclass(frozen=True)
class LineCounts:
    """Counts of customers by their lines; they add up over buckets.

    Attributes
    ----------
    customers : int
        Customers with a purchase before the snapshot; they have features.
    only_returns, only_later, only_unusable : int
        Customers without one: with returns, otherwise with later lines, otherwise the rest.
    only_unusable_lines : int
        Lines of the customers `only_unusable`.
    repeated_lines : int
        Purchases and returns that equal another line in all columns.
    lines : int
        Lines of customers, of any kind.
    busiest : BusiestCustomer
    """

    customers: int = 0
    only_returns: int = 0
    only_later: int = 0
    only_unusable: int = 0
    only_unusable_lines: int = 0
    repeated_lines: int = 0
    lines: int = 0
    busiest: BusiestCustomer = BusiestCustomer()

    def __add__(self, other: "LineCounts") -> "LineCounts":
        numbers = [f.name for f in fields(self) if f.name != "busiest"]
        sums = {name: getattr(self, name) + getattr(other, name) for name in numbers}
        busiest = max(self.busiest, other.busiest, key=lambda one: (one.lines, one.id))
        return LineCounts(**sums, busiest=busiest)

    def implausible_customer(self, roles: Roles, id_type: pa.DataType) -> str | None:
        """Describe the customer with the most lines, if that is hardly one customer.

        This is so if the customer has at least 5 % of the lines with a customer, and at least 20
        times as many as the mean of all customers. A hashed id is not shown, as no line has it.

        Parameters
        ----------
        roles : Roles
        id_type : DataType
            Type of the ids in the lines.
        """
        n_customers = self.customers + self.only_returns + self.only_later + self.only_unusable
        most = self.busiest.lines
        if not most or most < self.lines * max(_LARGE_SHARE, _TIMES_THE_MEAN / n_customers):
            return None
        share, is_hashed = f"{most / self.lines:.0%}", roles.id_key is not None
        if is_hashed:
            customer = "a customer"
            find = f": the most frequent id in column '{roles.customer}', with {most:,} lines"
        else:
            customer, find = f"customer {self.busiest.id!r}", ""
        step = _as_null_value(roles, "<that id>" if is_hashed else self.busiest.id)
        if not is_text(id_type):
            step = "make it null in the lines"
        return (
            f"{customer} has {share} of all lines with a customer{find}; if that id stands for no "
            f"customer or for many, {step}"
        )


def _as_null_value(roles: Roles, id: str) -> str:
    """Return the next step for an id of text that is no customer.

    A list that would be shortened in a terminal is not written.
    """
    words = ", ".join(map(_toml_string, (*roles.null_values, id)))
    if len(words) > _MAX_LIST:
        return f"add {_toml_string(id)} to your list null_values"
    return f"add it to null_values, which replaces the list in use: null_values = [{words}]"


def _toml_string(text: str) -> str:
    """Write text as a string of TOML, in which all that a terminal would hide is escaped."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def count_lines(counts: NDArray[np.int64], ids: pa.Array) -> LineCounts:
    """Sum the counts of `backends.customers.CustomerFeatures`.

    Parameters
    ----------
    ids : array (n_customers,)
    """
    column = dict(zip(COUNTS, counts.T, strict=True))
    purchased = column["purchases"] > 0
    returned = ~purchased & (column["returns"] > 0)
    later = ~purchased & ~returned & (column["later"] > 0)
    rest = ~purchased & ~returned & ~later
    a, b, c, d = (int(np.count_nonzero(flags)) for flags in (purchased, returned, later, rest))
    lines = counts[:, : COUNTS.index("repeated")].sum(axis=1)
    repeated = int(column["repeated"].sum())
    return LineCounts(
        a, b, c, d, int(lines[rest].sum()), repeated, int(lines.sum()), _busiest(lines, ids)
    )  # fmt: skip


def _busiest(lines: NDArray[np.int64], ids: pa.Array) -> BusiestCustomer:
    """Return the customer with the most lines, with an id if they may be implausibly many.

    A customer with a large share of the lines of all customers has one of these lines too.
    """
    most = int(lines.max(initial=0))
    if most < max(_TIMES_THE_MEAN, _LARGE_SHARE * int(lines.sum())):
        return BusiestCustomer(most)
    return BusiestCustomer(most, max(str(ids[row]) for row in np.flatnonzero(lines == most)))


@dataclass(frozen=True)
class QualityIssue:
    """One finding and the action taken."""

    finding: str
    action: str
    lines: int
    customers: int | None = None


@dataclass(frozen=True)
class Quality:
    """The record of the data's quality."""

    scanned: ScanCounts
    counts: LineCounts

    def steps(self) -> list[QualityIssue]:
        """Return findings and actions in the order of the checks.

        The lines of customers who have only unusable ones are also in the findings before.
        """
        f, t = self.scanned, self.counts
        return [
            QualityIssue(NULL_TEXT, "read as missing", f.with_null_values),
            QualityIssue("lines without a customer", "dropped", f.without_customer),
            QualityIssue("lines without a time", "dropped", f.without_time),
            QualityIssue("lines without an amount", "dropped", f.without_amount),
            QualityIssue("quantity of zero", "dropped", f.zero_quantity),
            QualityIssue("price of zero", "dropped", f.zero_price),
            QualityIssue("negative price", "dropped", f.negative_price),
            QualityIssue(
                "customers whose lines are all dropped above",
                "dropped",
                t.only_unusable_lines,
                t.only_unusable,
            ),
            QualityIssue(
                "on or after the snapshot", "dropped", f.on_or_after_snapshot, t.only_later
            ),
            QualityIssue("returns", "counted as returns", f.returns, t.only_returns),
            QualityIssue("repeated lines", "kept", t.repeated_lines),
            QualityIssue("purchases", "made into features", f.purchases, t.customers),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the record for the manifest; `customers` are the affected ones."""
        return {
            "lines": self.scanned.lines,
            "customers": self.counts.customers,
            "steps": [
                {
                    "finding": s.finding,
                    "action": s.action,
                    "lines": s.lines,
                    "customers": s.customers,
                }
                for s in self.steps()
                if s.lines or s.customers
            ],
        }
