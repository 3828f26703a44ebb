"""Quality of the lines: findings, actions, and the affected lines and customers."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.customers import COUNTS
from gpuseg.features.transactions import ScanCounts


@dataclass(frozen=True)
class LineCounts:
    """Counts of customers by their lines; they add up over buckets.

    Attributes
    ----------
    customers : int
        Customers with a purchase before the snapshot; they have features.
    only_returns, only_later, only_unusable : int
        Customers without one: with returns, otherwise with later lines, otherwise the rest.
    repeated_lines : int
        Purchases and returns that equal another line in all columns.
    """

    customers: int = 0
    only_returns: int = 0
    only_later: int = 0
    only_unusable: int = 0
    repeated_lines: int = 0

    def __add__(self, other: "LineCounts") -> "LineCounts":
        return LineCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def count_lines(counts: NDArray[np.int64]) -> LineCounts:
    """Sum the counts of `backends.customers.CustomerFeatures`."""
    column = dict(zip(COUNTS, counts.T, strict=True))
    purchased = column["purchases"] > 0
    returned = ~purchased & (column["returns"] > 0)
    later = ~purchased & ~returned & (column["later"] > 0)
    rest = ~purchased & ~returned & ~later
    a, b, c, d = (int(np.count_nonzero(flags)) for flags in (purchased, returned, later, rest))
    return LineCounts(a, b, c, d, int(column["repeated"].sum()))


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
        """Return findings and actions in the order of the checks."""
        f, t = self.scanned, self.counts
        return [
            QualityIssue("lines without a customer", "dropped", f.without_customer),
            QualityIssue("lines without a time", "dropped", f.without_time),
            QualityIssue("lines without an amount", "dropped", f.without_amount),
            QualityIssue("quantity of zero", "dropped", f.zero_quantity),
            QualityIssue("price of zero", "dropped", f.zero_price),
            QualityIssue("negative price", "dropped", f.negative_price),
            QualityIssue(
                "on or after the snapshot", "dropped", f.on_or_after_snapshot, t.only_later
            ),
            QualityIssue("returns", "counted as returns", f.returns, t.only_returns),
            QualityIssue("none of the above, but no purchase", "dropped", 0, t.only_unusable),
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
