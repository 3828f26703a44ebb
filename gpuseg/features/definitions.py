"""The features of a customer: names, units and definitions, as data.

A purchase is a line before the snapshot, with a customer, of positive quantity and positive price,
or of positive amount where the lines have amounts. A return is the same with a negative quantity,
or amount. Its amount is quantity · price, and counts as positive where returns are summed up.

Times are those of the clock on the wall: of a column with a time zone, the local time there. A day
is 86,400 seconds. Shares of spend are sums of the amounts of purchases divided by `spend`. An order
is what has one order number; without a column of those, one time of purchase, and so is a line
that lacks its number. The time of an order is that of its first line. Where lines have amounts, one
without a quantity adds no items.
"""

from collections.abc import Collection
from dataclasses import dataclass

CUSTOMER_ID = "customer_id"


@dataclass(frozen=True)
class Feature:
    """A column of the features.

    Attributes
    ----------
    name, unit, meaning : str
    needs : str or None
        The role of lines without which there is no such column.
    whole : bool
        Whether values are whole numbers.
    always : bool
        Whether every customer has a value; others are null.
    clustered : bool
        Whether a job clusters by it where it does not name its features.
    """

    name: str
    unit: str
    meaning: str
    needs: str | None = None
    whole: bool = False
    always: bool = True
    clustered: bool = False


FEATURES = (
    Feature("recency_days", "days", "from the last purchase to the snapshot", clustered=True),
    Feature("orders", "count", "distinct orders among purchases", whole=True, clustered=True),
    Feature("spend", "money", "sum of the amounts of purchases", clustered=True),
    Feature("tenure_days", "days", "from the first purchase to the snapshot", clustered=True),
    Feature("products", "count", "distinct products among purchases", "product", whole=True,
            clustered=True),
    Feature("items", "count", "sum of the quantities of purchases", "quantity", clustered=True),
    Feature("avg_order_value", "money", "spend divided by orders", clustered=True),
    Feature("gap_mean_days", "days", "mean time between an order and the next; null for one order",
            always=False),
    Feature("gap_std_days", "days", "population standard deviation of those times; null for one "
            "order", always=False),
    Feature("return_share", "share", "amount of returns divided by spend; above 1 where more came "
            "back than was bought"),
    Feature("spend_30d", "money", "spend in the 30 days before the snapshot"),
    Feature("spend_90d", "money", "spend in the 90 days before the snapshot"),
    Feature("spend_365d", "money", "spend in the 365 days before the snapshot"),
    Feature("spend_trend", "-1 to 1", "(a - b) / (a + b) of the spend a in the 90 days before the "
            "snapshot and b in the 90 days before those; 0 where both are 0"),
    Feature("weekend_share", "share", "of spend, on Saturdays and Sundays"),
    Feature("night_share", "share", "of spend, from 22:00 to 06:00"),
    Feature("top_category_share", "share", "of spend, in the category with the most of it",
            "category"),
)  # fmt: skip

NAMES = tuple(feature.name for feature in FEATURES)


def available(roles: Collection[str]) -> tuple[str, ...]:
    """Return the features that lines with columns of these roles have."""
    return tuple(f.name for f in FEATURES if f.needs is None or f.needs in roles)
