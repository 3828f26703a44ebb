"""What is known of customers from their transaction lines: the primitive behind the features.

Definitions are those of `features.definitions`. The lines of a customer are put in one order (by
time, order, product, category, quantity and amount), and sums are taken in that order, one after
the other: so results depend neither on the order of the lines nor on that of files.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.neighbors import ParallelMap

PURCHASE, RETURN, LATER, UNUSABLE = range(4)
"""Kinds of lines: see `features.definitions`; on or after the snapshot; without what it takes."""

DAY = 86_400_000_000
"""Microseconds."""

NOTHING = np.uint64(0)
"""Stands for the hash of a product or category where there is none."""

VALUES = (
    *("recency_days", "orders", "spend", "tenure_days", "products", "items", "avg_order_value"),
    *("gap_mean_days", "gap_std_days", "return_share", "spend_30d", "spend_90d", "spend_365d"),
    *("spend_trend", "weekend_share", "night_share", "top_category_share"),
)
"""Columns of the values."""

COUNTS = ("purchases", "returns", "later", "unusable", "repeated")
"""Columns of the counts; repeated lines are equal to another one in everything that is read."""


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
        Hashed; product and category are `NOTHING` where there is none.
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


class Customers(NamedTuple):
    """What was found.

    Attributes
    ----------
    values : float64 (n_customers, len(VALUES))
        NaN for customers without a purchase, and for gaps of those with one order.
    counts : int64 (n_customers, len(COUNTS))
        Lines of each kind.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]


class Describe(Protocol):
    """The primitive."""

    def __call__(
        self, lines: TransactionLines, n_customers: int, snapshot: int, each: ParallelMap
    ) -> Customers:
        """Describe each customer as of the snapshot, in microseconds since 1970."""
        ...
