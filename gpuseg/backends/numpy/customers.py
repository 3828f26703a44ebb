"""The specification of `backends.customers`: one customer after the other, in plain Python."""

from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.customers import (
    COUNTS,
    DAY,
    NOTHING,
    PURCHASE,
    RETURN,
    VALUES,
    Customers,
    TransactionLines,
)
from gpuseg.backends.neighbors import ParallelMap

Row = tuple[Any, ...]
"""Time, order, product, category, quantity, amount."""


def describe_customers(
    lines: TransactionLines, n_customers: int, snapshot: int, each: ParallelMap
) -> Customers:
    """Describe each customer as of the snapshot, in microseconds since 1970."""
    found = Customers(
        np.full((n_customers, len(VALUES)), np.nan),
        np.zeros((n_customers, len(COUNTS)), np.int64),
    )
    np.add.at(found.counts, (lines.customer, lines.kind), 1)
    bought: dict[int, list[Row]] = defaultdict(list)
    returned: dict[int, list[Row]] = defaultdict(list)
    for customer, kind, *row in zip(*(column.tolist() for column in lines), strict=True):
        if kind in (PURCHASE, RETURN):
            (bought if kind == PURCHASE else returned)[customer].append(tuple(row))
    for customer in {*bought, *returned}:
        rows = sorted([*bought[customer], *returned[customer]])
        found.counts[customer, -1] = len(rows) - len(set(rows))
    for customer, rows in bought.items():
        if rows:
            back = 0.0 - _sum([row[5] for row in sorted(returned[customer])])
            found.values[customer] = _values(sorted(rows), back, snapshot)
    return found


def _values(rows: list[Row], returned: float, snapshot: int) -> NDArray[np.float64]:
    times = [row[0] for row in rows]
    spend = _sum([row[5] for row in rows])
    first_of: dict[int, int] = {}
    by_category: dict[int, float] = defaultdict(float)
    for time, order, _, category, _, amount in rows:
        first_of[order] = min(first_of.get(order, time), time)
        if category != NOTHING:
            by_category[category] += amount
    orders = sorted(first_of.values())

    def since(days: int, before: int = 0) -> float:
        low, high = snapshot - days * DAY, snapshot - before * DAY
        return _sum([row[5] for row in rows if low <= row[0] < high])

    quarter, before = since(90), since(180, 90)
    gap, spread = _gaps([(b - a) / DAY for a, b in pairwise(orders)])
    weekend = _sum([row[5] for row in rows if (row[0] // DAY + 3) % 7 >= 5])
    night = _sum([row[5] for row in rows if not 6 <= row[0] % DAY // (DAY // 24) < 22])
    return np.array([
        (snapshot - times[-1]) / DAY,
        len(orders),
        spend,
        (snapshot - times[0]) / DAY,
        len({row[2] for row in rows} - {int(NOTHING)}),
        _sum([row[4] for row in rows]),
        spend / len(orders),
        gap,
        spread,
        returned / spend,
        since(30),
        quarter,
        since(365),
        (quarter - before) / (quarter + before) if quarter + before > 0 else 0.0,
        weekend / spend,
        night / spend,
        max(by_category.values(), default=0.0) / spend,
    ])  # fmt: skip


def _gaps(gaps: list[float]) -> tuple[float, float]:
    """Return mean and population standard deviation; NaN without any."""
    if not gaps:
        return np.nan, np.nan
    mean = _sum(gaps) / len(gaps)
    return mean, np.sqrt(_sum([(gap - mean) * (gap - mean) for gap in gaps]) / len(gaps))


def _sum(values: list[float]) -> float:
    """Add one after the other, which `sum` does not promise."""
    total = 0.0
    for value in values:
        total += value
    return total
