"""Compute the features of customers from their lines.

Lines are grouped by customer in one counting pass. Then each customer's lines, usually few, are
sorted and read, in memory that a thread uses again and again.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.customers import (
    COUNTS,
    DAY,
    NOTHING,
    PURCHASE,
    RETURN,
    VALUES,
    CustomerFeatures,
    TransactionLines,
)
from gpuseg.backends.numba.kernel import kernel

_REPEATED = COUNTS.index("repeated")

_RECENCY_DAYS = VALUES.index("recency_days")
_ORDERS = VALUES.index("orders")
_SPEND = VALUES.index("spend")
_TENURE_DAYS = VALUES.index("tenure_days")
_PRODUCTS = VALUES.index("products")
_ITEMS = VALUES.index("items")
_AVG_ORDER_VALUE = VALUES.index("avg_order_value")
_GAP_MEAN_DAYS = VALUES.index("gap_mean_days")
_GAP_STD_DAYS = VALUES.index("gap_std_days")
_RETURN_SHARE = VALUES.index("return_share")
_SPEND_30D = VALUES.index("spend_30d")
_SPEND_90D = VALUES.index("spend_90d")
_SPEND_365D = VALUES.index("spend_365d")
_SPEND_TREND = VALUES.index("spend_trend")
_WEEKEND_SHARE = VALUES.index("weekend_share")
_NIGHT_SHARE = VALUES.index("night_share")
_TOP_CATEGORY_SHARE = VALUES.index("top_category_share")

_SIGN = np.uint64(2**63)
"""Exclusive or with it makes unsigned keys sort as the signed numbers that they hold."""


class _CustomerScratch(NamedTuple):
    """Memory for the lines of one customer: row numbers, sort keys, and values of the keys."""

    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    values: NDArray[np.int64]


@kernel
def group_by_customer(
    lines: TransactionLines, n_customers: int, counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count lines by kind; return where each customer's purchases and returns start, and those."""
    starts = np.zeros(n_customers + 1, np.int64)
    for i in range(len(lines.customer)):
        counts[lines.customer[i], lines.kind[i]] += 1
        if lines.kind[i] <= RETURN:
            starts[lines.customer[i] + 1] += 1
    starts = np.cumsum(starts)
    free, order = starts.copy(), np.empty(starts[-1], np.int64)
    for i in range(len(lines.customer)):
        if lines.kind[i] <= RETURN:
            order[free[lines.customer[i]]] = i
            free[lines.customer[i]] += 1
    return starts, order


@kernel
def aggregate(
    lines: TransactionLines,
    starts: NDArray[np.int64],
    snapshot: int,
    first: int,
    last: int,
    features: CustomerFeatures,
) -> None:
    """Write the features of the customers from `first` to `last`, whose lines are grouped."""
    max_lines = 0
    for c in range(first, last):
        max_lines = max(max_lines, starts[c + 1] - starts[c])
    scratch = _CustomerScratch(
        np.empty(max_lines, np.int64), np.empty(max_lines, np.uint64), np.empty(max_lines, np.int64)
    )
    for c in range(first, last):
        n = starts[c + 1] - starts[c]
        for k in range(n):
            scratch.rows[k] = starts[c] + k
        _sort(lines, scratch.rows, n)
        n_purchases, returned = 0, 0.0
        for k in range(n):
            i = scratch.rows[k]
            if k and not _before(lines, scratch.values[0], i):
                features.counts[c, _REPEATED] += 1
            scratch.values[0] = i  # the line before, since rows are moved
            if lines.kind[i] == PURCHASE:
                scratch.rows[n_purchases] = i
                n_purchases += 1
            else:
                returned += lines.amount[i]
        if n_purchases:
            rows = scratch.rows[:n_purchases]
            _sums(lines, rows, 0.0 - returned, snapshot, features.values[c])
            _orders(lines, rows, scratch, features.values[c])
            _products(lines, rows, scratch, features.values[c])
            _categories(lines, rows, scratch, features.values[c])


@kernel
def _sums(
    lines: TransactionLines,
    rows: NDArray[np.int64],
    returned: float,
    snapshot: int,
    values: NDArray[np.float64],
) -> None:
    """Write the features that are sums over lines, and those of the first and the last line."""
    spend, items, month, quarter, before, year = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    weekend, night = 0.0, 0.0
    for i in rows:
        amount, time = lines.amount[i], lines.time[i]
        spend += amount
        items += lines.quantity[i]
        age = snapshot - time
        month += amount if age <= 30 * DAY else 0.0
        quarter += amount if age <= 90 * DAY else 0.0
        before += amount if 90 * DAY < age <= 180 * DAY else 0.0
        year += amount if age <= 365 * DAY else 0.0
        weekend += amount if (time // DAY + 3) % 7 >= 5 else 0.0  # 1970 began on a Thursday
        night += amount if not 6 <= time % DAY // (DAY // 24) < 22 else 0.0
    values[_RECENCY_DAYS] = (snapshot - lines.time[rows[-1]]) / DAY
    values[_SPEND] = spend
    values[_TENURE_DAYS] = (snapshot - lines.time[rows[0]]) / DAY
    values[_ITEMS] = items
    values[_RETURN_SHARE] = returned / spend
    values[_SPEND_30D] = month
    values[_SPEND_90D] = quarter
    values[_SPEND_365D] = year
    values[_SPEND_TREND] = (quarter - before) / (quarter + before) if quarter + before > 0 else 0.0
    values[_WEEKEND_SHARE] = weekend / spend
    values[_NIGHT_SHARE] = night / spend


@kernel
def _orders(
    lines: TransactionLines,
    rows: NDArray[np.int64],
    scratch: _CustomerScratch,
    values: NDArray[np.float64],
) -> None:
    """Write the number of orders, their mean value, and the time between them."""
    keys, times, n = scratch.keys, scratch.values, 0
    for k in range(len(rows)):
        keys[k], times[k] = lines.order[rows[k]], lines.time[rows[k]]
    _sort_pairs(keys, times, len(rows))
    for k in range(len(rows)):
        if k == 0 or keys[k] != keys[k - 1]:
            times[n] = times[k]
            n += 1
    for k in range(n):
        keys[k] = np.uint64(times[k]) ^ _SIGN
    _sort_pairs(keys, times, n)
    values[_ORDERS] = n
    values[_AVG_ORDER_VALUE] = values[_SPEND] / n
    if n > 1:
        total, squares = 0.0, 0.0
        for k in range(1, n):
            total += (times[k] - times[k - 1]) / DAY
        mean = total / (n - 1)
        for k in range(1, n):
            deviation = (times[k] - times[k - 1]) / DAY - mean
            squares += deviation * deviation
        values[_GAP_MEAN_DAYS] = mean
        values[_GAP_STD_DAYS] = np.sqrt(squares / (n - 1))


@kernel
def _products(
    lines: TransactionLines,
    rows: NDArray[np.int64],
    scratch: _CustomerScratch,
    values: NDArray[np.float64],
) -> None:
    """Write the number of distinct products."""
    keys, n = scratch.keys, 0
    for k in range(len(rows)):
        keys[k], scratch.values[k] = lines.product[rows[k]], 0
    _sort_pairs(keys, scratch.values, len(rows))
    for k in range(len(rows)):
        n += keys[k] != NOTHING and (k == 0 or keys[k] != keys[k - 1])
    values[_PRODUCTS] = n


@kernel
def _categories(
    lines: TransactionLines,
    rows: NDArray[np.int64],
    scratch: _CustomerScratch,
    values: NDArray[np.float64],
) -> None:
    """Write the top category's share of spend."""
    keys, positions, max_total, total = scratch.keys, scratch.values, 0.0, 0.0
    for k in range(len(rows)):
        keys[k], positions[k] = lines.category[rows[k]], k
    if (keys[: len(rows)] == NOTHING).all():
        values[_TOP_CATEGORY_SHARE] = 0.0
        return
    _sort_pairs(keys, positions, len(rows))
    for k in range(len(rows)):
        if keys[k] == NOTHING:
            continue
        if k and keys[k] != keys[k - 1]:
            total = 0.0
        total += lines.amount[rows[positions[k]]]
        max_total = max(max_total, total)
    values[_TOP_CATEGORY_SHARE] = max_total / values[_SPEND]


@kernel
def _sort(lines: TransactionLines, rows: NDArray[np.int64], n: int) -> None:
    """Sort the first n rows (Shell, with Tokuda's gaps)."""
    gap = _first_gap(n)
    while gap > 1:
        gap = int(gap / 2.25)
        for k in range(gap, n):
            row, at = rows[k], k
            while at >= gap and _before(lines, row, rows[at - gap]):
                rows[at] = rows[at - gap]
                at -= gap
            rows[at] = row


@kernel
def _sort_pairs(keys: NDArray[np.uint64], values: NDArray[np.int64], n: int) -> None:
    """Sort the first n pairs."""
    gap = _first_gap(n)
    while gap > 1:
        gap = int(gap / 2.25)
        for k in range(gap, n):
            key, value, at = keys[k], values[k], k
            while at >= gap and (
                keys[at - gap] > key or (keys[at - gap] == key and values[at - gap] > value)
            ):
                keys[at], values[at] = keys[at - gap], values[at - gap]
                at -= gap
            keys[at], values[at] = key, value


@kernel
def _first_gap(n: int) -> int:
    gap = 1
    while gap < n:
        gap = int(2.25 * gap) + 1
    return gap


@kernel
def _before(lines: TransactionLines, i: int, j: int) -> bool:
    """Whether line i comes before line j."""
    if lines.time[i] != lines.time[j]:
        return bool(lines.time[i] < lines.time[j])
    if lines.order[i] != lines.order[j]:
        return bool(lines.order[i] < lines.order[j])
    if lines.product[i] != lines.product[j]:
        return bool(lines.product[i] < lines.product[j])
    if lines.category[i] != lines.category[j]:
        return bool(lines.category[i] < lines.category[j])
    if lines.quantity[i] != lines.quantity[j]:
        return bool(lines.quantity[i] < lines.quantity[j])
    return bool(lines.amount[i] < lines.amount[j])
