"""Transaction lines: which columns play which role, and what lines are once they are read."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.io.privacy.pseudonyms import Key

Where = Callable[[int], str]
"""Takes the number of a row in a batch; returns words for where it came from."""


def as_moment(value: Any) -> datetime | None:
    """Return a date, a time or the text of one as a time; None for None.

    Raises
    ------
    ValueError
    """
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(
            "must be a date or a time such as 2011-09-01 or 2011-09-01T12:00:00"
        ) from None


@dataclass(frozen=True)
class Roles:
    """Names of columns; see docs/guide/transactions.md.

    Attributes
    ----------
    customer, time : str
    order, product, category, quantity, price, amount : str or None
        There is a price or an amount.
    snapshot : datetime or None
        By the clock on the wall; None: the midnight after the last line.
    id_key : Key or None
        Customers are then known by the keyed hashes of their ids alone
        (`io.privacy.pseudonyms`), from the moment that they are read.
    """

    customer: str
    time: str
    order: str | None = None
    product: str | None = None
    category: str | None = None
    quantity: str | None = None
    price: str | None = None
    amount: str | None = None
    snapshot: datetime | None = None
    id_key: Key | None = None

    def __post_init__(self) -> None:
        if self.snapshot is not None and self.snapshot.tzinfo is not None:
            raise ValueError(
                f"snapshot = {self.snapshot.isoformat()}: must be without a time zone, by the "
                "clock on the wall, as the times of the lines are taken"
            )
        if (self.price is None) == (self.amount is None):
            raise ValueError("needs a price (times quantity) or an amount: name one of the two")

    def columns(self) -> dict[str, str]:
        """Return the name of the column for each role that is played."""
        others = ("snapshot", "id_key")
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in others}
        return {role: name for role, name in named.items() if name is not None}

    def snapshot_us(self) -> int | None:
        """Return the snapshot in microseconds since 1970, None where it is to be found."""
        if self.snapshot is None:
            return None
        return int(np.datetime64(self.snapshot, "us").astype(np.int64))


@dataclass(frozen=True)
class Parsed:
    """The lines of a batch, those of no customer left out.

    Attributes
    ----------
    customer : pyarrow.Array (n,)
    hashed : uint64 (n,)
        Of the customer.
    kind, time, order, product, category, quantity, amount : arrays (n,)
        See `backends.customers.TransactionLines`.
    """

    customer: pa.Array
    hashed: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    time: NDArray[np.int64]
    order: NDArray[np.uint64]
    product: NDArray[np.uint64]
    category: NDArray[np.uint64]
    quantity: NDArray[np.float64]
    amount: NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What was seen in lines; all but `latest` are counts, and add up.

    Attributes
    ----------
    lines, without_customer, purchases, returns, on_or_after_snapshot : int
    without_time, without_amount, zero_quantity, zero_price, negative_price : int
        Reasons why a line is none of the kinds before; the first that holds is counted.
    latest : int
        The last time, in microseconds since 1970.
    """

    lines: int = 0
    without_customer: int = 0
    purchases: int = 0
    returns: int = 0
    on_or_after_snapshot: int = 0
    without_time: int = 0
    without_amount: int = 0
    zero_quantity: int = 0
    zero_price: int = 0
    negative_price: int = 0
    latest: int = -(2**62)

    def __add__(self, other: "Found") -> "Found":
        both = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Found(**{**both, "latest": max(self.latest, other.latest)})
