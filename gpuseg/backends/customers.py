"""Values of the customer features that are computed from transaction lines.

Definitions are those of `features.definitions`. The lines of a customer are put in one order (by
time, order, product, category, quantity and amount), and sums are taken in that order, one after
the other: so results depend neither on the order of the lines nor on that of files.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PURCHASE, RETURN, LATER, UNUSABLE = range(4)
"""Kinds of lines: see `features.definitions`; on or after the snapshot; without a value that it
needs."""

DAY = 86_400_000_000
"""Microseconds per day."""

NOTHING = np.uint64(0)
"""The hash of a missing product or category."""

VALUES = (
    "recency_days",
    "orders",
    "spend",
    "tenure_days",
    "products",
    "items",
    "avg_order_value",
    "gap_mean_days",
    "gap_std_days",
    "return_share",
    "spend_30d",
    "spend_90d",
    "spend_365d",
    "spend_trend",
    "weekend_share",
    "night_share",
    "top_category_share",
)
"""Columns of the values."""

COUNTS = ("purchases", "returns", "later", "unusable", "repeated")
"""Columns of the counts; a repeated line equals another one in every value that is read."""


class TransactionLines(NamedTuple):
    """Lines of customers.

    Attributes
    ----------
    customer : int64 (n,)
        From 0 to n_customers - 1.
    kind : uint8 (n,)
    time : int64 (n,)
        Microseconds since 1970.
    order, product, category : uint64 (n,)
        Hashes; product and category are `NOTHING` where they are missing.
    quantity, amount : float64 (n,)
        Finite for purchases and returns; amounts of returns are negative.
    """

    customer: NDArray[np.int64]
    kind: NDArray[np.uint8]
    time: NDArray[np.int64]
    order: NDArray[np.uint64]
    product: NDArray[np.uint64]
    category: NDArray[np.uint64]
    quantity: NDArray[np.float64]
    amount: NDArray[np.float64]


class CustomerFeatures(NamedTuple):
    """Features of customers, and counts of their lines.

    Attributes
    ----------
    values : float64 (n_customers, len(VALUES))
        NaN for customers without a purchase, and for gaps of those with one order.
    counts : int64 (n_customers, len(COUNTS))
        Lines of each kind.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, n_customers: int) -> "CustomerFeatures":
        """Return the features of customers without lines."""
        values = np.full((n_customers, len(VALUES)), np.nan)
        return cls(values, np.zeros((n_customers, len(COUNTS)), np.int64))
