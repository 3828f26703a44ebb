"""The features of a customer: names, units and definitions, as data.

A purchase is a line before the snapshot with a customer, a positive quantity and a positive price
(or, if lines have amounts, a positive amount). A return is the same with a negative quantity or
amount. The amount of a return is quantity · price; sums of returns count it as positive.

Times are local; a column with a time zone gives the local time in that zone. A day has 86,400
seconds. Shares of spend are sums of amounts of purchases divided by `spend`. Lines with one order
number form an order; without an order number, lines with one timestamp do. The time of an order is
that of its first line. If lines have amounts, a line without a quantity adds no items.
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
        The role of a column that the feature needs.
    whole : bool
        Whether values are integers.
    always : bool
        Whether every customer has a value; otherwise some are null.
    clustered : bool
        Whether jobs cluster by it by default.
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
    Feature("gap_mean_days", "days", "mean time between consecutive orders; null for one order",
            always=False),
    Feature("gap_std_days", "days", "population standard deviation of these times; null for one "
            "order", always=False),
    Feature("return_share", "share", "amount of returns divided by spend; above 1 if returns "
            "exceed purchases"),
    Feature("spend_30d", "money", "spend in the 30 days before the snapshot"),
    Feature("spend_90d", "money", "spend in the 90 days before the snapshot"),
    Feature("spend_365d", "money", "spend in the 365 days before the snapshot"),
    Feature("spend_trend", "-1 to 1", "(a - b) / (a + b) of the spend a in the 90 days before the "
            "snapshot and b in the 90 days before those; 0 if both are 0"),
    Feature("weekend_share", "share", "of spend, on Saturdays and Sundays"),
    Feature("night_share", "share", "of spend, from 22:00 to 06:00"),
    Feature("top_category_share", "share", "of spend, in the category with the highest spend",
            "category"),
)  # fmt: skip


RFM = (
    Feature("recency_score", "1 to 5", "quintile of recency_days; 5 for the most recent purchases",
            whole=True),
    Feature("frequency_score", "1 to 5", "quintile of orders; 5 for the most orders", whole=True),
    Feature("monetary_score", "1 to 5", "quintile of spend; 5 for the highest spend", whole=True),
    Feature("rfm_score", "text", "the three scores in this order, such as 543"),
    Feature("rfm_segment", "text", "name of the cell of the recency and the frequency score"),
)  # fmt: skip
"""Features that compare customers with each other (`features.rfm`); built where asked for."""

RFM_SEGMENT = "rfm_segment"
"""The one in which the report compares the segments."""

RFM_TEXTS = ("rfm_score", RFM_SEGMENT)
"""Those that the segments of a job have too."""


def available(roles: Collection[str], rfm: bool = False) -> tuple[str, ...]:
    """Return the features of lines that have columns with these roles, and RFM if wanted."""
    built = [f.name for f in FEATURES if f.needs is None or f.needs in roles]
    return (*built, *(f.name for f in RFM if rfm))
