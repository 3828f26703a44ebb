"""The specification of customer features: one customer after the other, in plain Python."""

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.customers import (
    DAY,
    NOTHING,
    PURCHASE,
    RETURN,
    VALUES,
    CustomerFeatures,
    TransactionLines,
)
from gpuseg.backends.protocols import ParallelMap


class _Line(NamedTuple):
    """A purchase or a return; lines sort by their values in this order."""

    time: int
    order: int
    product: int
    category: int
    quantity: float
    amount: float


class NumpyCustomers:
    """See `backends.protocols.CustomerKernels`."""

    def aggregate(
        self,
        lines: TransactionLines,
        n_customers: int,
        snapshot: int,
        parallel_map: ParallelMap,
    ) -> CustomerFeatures:
        features = CustomerFeatures.empty(n_customers)
        np.add.at(features.counts, (lines.customer, lines.kind), 1)
        purchases: dict[int, list[_Line]] = defaultdict(list)
        returns: dict[int, list[_Line]] = defaultdict(list)
        for customer, kind, *values in zip(*(column.tolist() for column in lines), strict=True):
            if kind in (PURCHASE, RETURN):
                (purchases if kind == PURCHASE else returns)[customer].append(_Line(*values))
        for customer in {*purchases, *returns}:
            both = purchases[customer] + returns[customer]
            features.counts[customer, -1] = len(both) - len(set(both))
        for customer, bought in purchases.items():
            if bought:
                returned = 0.0 - _sum([line.amount for line in sorted(returns[customer])])
                features.values[customer] = _values(sorted(bought), returned, snapshot)
        return features


def _values(lines: list[_Line], returned: float, snapshot: int) -> NDArray[np.float64]:
    spend = _sum([line.amount for line in lines])
    first_time: dict[int, int] = {}
    by_category: dict[int, float] = defaultdict(float)
    for line in lines:
        first_time[line.order] = min(first_time.get(line.order, line.time), line.time)
        if line.category != NOTHING:
            by_category[line.category] += line.amount

    def spend_since(days: int, before: int = 0) -> float:
        low, high = snapshot - days * DAY, snapshot - before * DAY
        return _sum([line.amount for line in lines if low <= line.time < high])

    quarter, quarter_before = spend_since(90), spend_since(180, 90)
    both = quarter + quarter_before
    gap_mean, gap_std = _gaps([(b - a) / DAY for a, b in pairwise(sorted(first_time.values()))])
    values = {
        "recency_days": (snapshot - lines[-1].time) / DAY,
        "orders": len(first_time),
        "spend": spend,
        "tenure_days": (snapshot - lines[0].time) / DAY,
        "products": len({line.product for line in lines} - {int(NOTHING)}),
        "items": _sum([line.quantity for line in lines]),
        "avg_order_value": spend / len(first_time),
        "gap_mean_days": gap_mean,
        "gap_std_days": gap_std,
        "return_share": returned / spend,
        "spend_30d": spend_since(30),
        "spend_90d": quarter,
        "spend_365d": spend_since(365),
        "spend_trend": (quarter - quarter_before) / both if both > 0 else 0.0,
        "weekend_share": _sum([line.amount for line in lines if _is_weekend(line.time)]) / spend,
        "night_share": _sum([line.amount for line in lines if _is_night(line.time)]) / spend,
        "top_category_share": max(by_category.values(), default=0.0) / spend,
    }
    return np.array([values[name] for name in VALUES])


def _is_weekend(time: int) -> bool:
    return (time // DAY + 3) % 7 >= 5  # 1970 began on a Thursday


def _is_night(time: int) -> bool:
    return not 6 <= time % DAY // (DAY // 24) < 22


def _gaps(gaps: list[float]) -> tuple[float, float]:
    """Return mean and population standard deviation; NaN without any."""
    if not gaps:
        return np.nan, np.nan
    mean = _sum(gaps) / len(gaps)
    return mean, np.sqrt(_sum([(gap - mean) * (gap - mean) for gap in gaps]) / len(gaps))


def _sum(values: list[float]) -> float:
    """Add one after the other; `sum` does not promise that order of rounding."""
    total = 0.0
    for value in values:
        total += value
    return total
