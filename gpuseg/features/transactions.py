"""Transaction lines: the roles of columns, and parsed lines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.privacy.pseudonyms import Key
from gpuseg.io.text_files.number_format import PLAIN, NumberFormat
from gpuseg.validation import broken_rule

DescribeRow = Callable[[int], str]
"""Takes the number of a row in a batch and returns a description of its origin."""


def as_moment(value: Any) -> datetime | None:
    """Convert a date, a time or their text to a time; None stays None.

    Raises
    ------
    ValueError
    """
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, np.datetime64) and not np.isnat(value):
        value = str(value.astype("M8[us]"))
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(
            "must be a date or a time such as 2011-09-01 or 2011-09-01T12:00:00"
        ) from None


@dataclass(frozen=True)
class Roles:
    """Names of columns by role.

    Attributes
    ----------
    customer, time : str
    order, product, category, quantity, price, amount : str or None
        Exactly one of price and amount is set.
    snapshot : datetime or None
        Local time; None: the midnight after the last line.
    id_key : Key or None
        With a key, keyed hashes replace ids as soon as they are read
        (`io.privacy.pseudonyms`).
    null_values : tuple of str
        Text that is read as missing in every column, as blank text is.
    time_format : tuple of str
        Formats of times in text and numbers (`features.time_format`); empty for ISO 8601.
    number_format : NumberFormat
        Format of numbers in text.
    are_of_job : bool
        Whether a job file names the columns; others may convert the lines with pandas.
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
    null_values: tuple[str, ...] = NULL_VALUES
    time_format: tuple[str, ...] = ()
    number_format: NumberFormat = PLAIN
    are_of_job: bool = False

    def __post_init__(self) -> None:
        if self.snapshot is not None and self.snapshot.tzinfo is not None:
            raise broken_rule(
                "snapshot.has_time_zone",
                "must have no time zone, as the times of lines are local",
                "snapshot",
                value=self.snapshot.isoformat(),
            )
        if (self.price is None) == (self.amount is None):
            raise broken_rule(
                "transactions.price_or_amount",
                "needs a price (times quantity) or an amount, not both",
                hint="name one of the two",
            )

    def columns(self) -> dict[str, str]:
        """Return the column of each role that has one."""
        others = {
            *("snapshot", "id_key", "null_values", "time_format", "number_format", "are_of_job")
        }
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in others}
        return {role: name for role, name in columns.items() if name is not None}

    def snapshot_us(self) -> int | None:
        """Return the snapshot in microseconds since 1970, or None if it depends on the lines."""
        if self.snapshot is None:
            return None
        return int(np.datetime64(self.snapshot, "us").astype(np.int64))


@dataclass(frozen=True)
class Parsed:
    """Parsed lines of a batch, without lines that have no customer.

    Attributes
    ----------
    customer : pyarrow.Array (n,)
    hashed : uint64 (n,)
        Hash of the customer id.
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
class ScanCounts:
    """Counts of lines by kind, and the first and last time; they add up over batches.

    Attributes
    ----------
    lines, without_customer, purchases, returns, on_or_after_snapshot : int
    without_time, without_amount, zero_quantity, zero_price, negative_price : int
        Reasons why a line has none of the kinds above; the first one counts.
    with_null_values : int
        Lines of any kind in which text was read as missing; blank text does not count.
    times_with_offset, times_without_offset : int
        Times of any lines, by whether they have an offset from UTC.
    currencies : mapping
        Signs and codes of currencies in a column, by its role and name.
    earliest, latest : int
        The first and the last time of lines with a customer, in microseconds since 1970.
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
    with_null_values: int = 0
    times_with_offset: int = 0
    times_without_offset: int = 0
    currencies: Mapping[str, frozenset[str]] = field(default_factory=dict)
    earliest: int = 2**62
    latest: int = -(2**62)

    @property
    def period(self) -> tuple[np.datetime64, np.datetime64] | None:
        """The days of the first and the last time; None if there is none."""
        if self.latest == ScanCounts.latest:
            return None
        first, last = np.array([self.earliest, self.latest], "M8[us]").astype("M8[D]")
        return first, last

    def __add__(self, other: "ScanCounts") -> "ScanCounts":
        sums = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name not in ("currencies", "earliest", "latest")
        }
        currencies = dict(self.currencies)
        for column, signs in other.currencies.items():
            currencies[column] = currencies.get(column, frozenset()) | signs
        return ScanCounts(
            **sums,
            currencies=currencies,
            earliest=min(self.earliest, other.earliest),
            latest=max(self.latest, other.latest),
        )
