"""What was found in the lines, what was done, and what that cost in lines and customers."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.customers import COUNTS
from gpuseg.features.transactions import Found


@dataclass(frozen=True)
class LineCounts:
    """Customers, by what they have; numbers add up.

    Attributes
    ----------
    customers : int
        With a purchase before the snapshot: those that have features.
    only_returns, only_later, only_unusable : int
        Without one: with returns, else with lines on or after the snapshot, else with neither.
    repeated_lines : int
        Purchases and returns that equal another one in all that is read.
    """

    customers: int = 0
    only_returns: int = 0
    only_later: int = 0
    only_unusable: int = 0
    repeated_lines: int = 0

    def __add__(self, other: "LineCounts") -> "LineCounts":
        return LineCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def tally_of(counts: NDArray[np.int64]) -> LineCounts:
    """Tally the counts of `backends.customers.Customers`."""
    column = dict(zip(COUNTS, counts.T, strict=True))
    bought = column["purchases"] > 0
    returned = ~bought & (column["returns"] > 0)
    later = ~bought & ~returned & (column["later"] > 0)
    rest = ~bought & ~returned & ~later
    a, b, c, d = (int(np.count_nonzero(flags)) for flags in (bought, returned, later, rest))
    return LineCounts(a, b, c, d, int(column["repeated"].sum()))


@dataclass(frozen=True)
class Step:
    """One thing that was found, and done."""

    what: str
    done: str
    lines: int
    customers: int | None = None


@dataclass(frozen=True)
class Quality:
    """The record of the data's quality."""

    found: Found
    tally: LineCounts

    def steps(self) -> list[Step]:
        """Return what was found and done, in the order in which it is looked for."""
        f, t = self.found, self.tally
        return [
            Step("lines without a customer", "left out", f.without_customer),
            Step("lines without a time", "left out", f.without_time),
            Step("lines without an amount", "left out", f.without_amount),
            Step("quantity of zero", "left out", f.zero_quantity),
            Step("price of zero", "left out", f.zero_price),
            Step("negative price", "left out", f.negative_price),
            Step("on or after the snapshot", "left out", f.on_or_after_snapshot, t.only_later),
            Step("returns", "counted as returns", f.returns, t.only_returns),
            Step("none of the above, but no purchase", "left out", 0, t.only_unusable),
            Step("repeated lines", "kept", t.repeated_lines),
            Step("purchases", "made into features", f.purchases, t.customers),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the record for the manifest; `customers` are those lost, or made."""
        return {
            "lines": self.found.lines,
            "customers": self.tally.customers,
            "steps": [
                {"finding": s.what, "action": s.done, "lines": s.lines, "customers": s.customers}
                for s in self.steps()
                if s.lines or s.customers
            ],
        }
