"""Customers from their lines, on the CPU; see `backends.customers`.

Lines are brought together by customer in one pass of counting. Then each customer's lines, few as
a rule, are sorted and looked through, in memory that a thread uses again and again.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
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

_CUSTOMERS_PER_TASK = 2**13
_REPEATED = len(COUNTS) - 1
_SIGN = np.uint64(2**63)
"""Makes unsigned numbers sort as signed ones."""


def describe_customers(
    lines: TransactionLines, n_customers: int, snapshot: int, each: ParallelMap
) -> Customers:
    """Describe each customer as of the snapshot, in microseconds since 1970."""
    found = Customers(
        np.full((n_customers, len(VALUES)), np.nan),
        np.zeros((n_customers, len(COUNTS)), np.int64),
    )
    start, place = _by_customer(lines, n_customers, found.counts)
    own = TransactionLines._make(column[place] for column in lines)
    runs = [
        (i, min(i + _CUSTOMERS_PER_TASK, n_customers))
        for i in range(0, n_customers, _CUSTOMERS_PER_TASK)
    ]
    list(each(lambda run: _describe(own, start, snapshot, run[0], run[1], found), runs))
    return found


class _Scratch(NamedTuple):
    """Memory for the lines of one customer: what is sorted, and what goes with it."""

    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    values: NDArray[np.int64]


@njit(nogil=True, cache=True)
def _by_customer(
    lines: TransactionLines, n_customers: int, counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the purchases and returns of each customer start, and those lines."""
    start = np.zeros(n_customers + 1, np.int64)
    for i in range(len(lines.customer)):
        counts[lines.customer[i], lines.kind[i]] += 1
        if lines.kind[i] <= RETURN:
            start[lines.customer[i] + 1] += 1
    start = np.cumsum(start)
    free, place = start.copy(), np.empty(start[-1], np.int64)
    for i in range(len(lines.customer)):
        if lines.kind[i] <= RETURN:
            place[free[lines.customer[i]]] = i
            free[lines.customer[i]] += 1
    return start, place


@njit(nogil=True, cache=True)
def _describe(
    lines: TransactionLines,
    start: NDArray[np.int64],
    snapshot: int,
    first: int,
    last: int,
    found: Customers,
) -> None:
    most = 0
    for c in range(first, last):
        most = max(most, start[c + 1] - start[c])
    scratch = _Scratch(
        np.empty(most, np.int64), np.empty(most, np.uint64), np.empty(most, np.int64)
    )
    for c in range(first, last):
        n = start[c + 1] - start[c]
        for k in range(n):
            scratch.rows[k] = start[c] + k
        _sort(lines, scratch.rows, n)
        bought, returned = 0, 0.0
        for k in range(n):
            i = scratch.rows[k]
            if k and not _before(lines, scratch.values[0], i):
                found.counts[c, _REPEATED] += 1
            scratch.values[0] = i  # the line before, since rows are moved
            if lines.kind[i] == PURCHASE:
                scratch.rows[bought] = i
                bought += 1
            else:
                returned += lines.amount[i]
        if bought:
            rows = scratch.rows[:bought]
            _sums(lines, rows, 0.0 - returned, snapshot, found.values[c])
            _orders(lines, rows, scratch, found.values[c])
            _products(lines, rows, scratch, found.values[c])
            _categories(lines, rows, scratch, found.values[c])


@njit(nogil=True, cache=True)
def _sums(
    lines: TransactionLines,
    rows: NDArray[np.int64],
    returned: float,
    snapshot: int,
    values: NDArray[np.float64],
) -> None:
    """Write times, sums and shares of spend."""
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
    values[0] = (snapshot - lines.time[rows[-1]]) / DAY
    values[2] = spend
    values[3] = (snapshot - lines.time[rows[0]]) / DAY
    values[5] = items
    values[9] = returned / spend
    values[10], values[11], values[12] = month, quarter, year
    values[13] = (quarter - before) / (quarter + before) if quarter + before > 0 else 0.0
    values[14], values[15] = weekend / spend, night / spend


@njit(nogil=True, cache=True)
def _orders(
    lines: TransactionLines, rows: NDArray[np.int64], scratch: _Scratch, values: NDArray[np.float64]
) -> None:
    """Write how many orders there are, their mean value, and the time between them."""
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
    values[1], values[6] = n, values[2] / n
    if n > 1:
        total, squares = 0.0, 0.0
        for k in range(1, n):
            total += (times[k] - times[k - 1]) / DAY
        mean = total / (n - 1)
        for k in range(1, n):
            off = (times[k] - times[k - 1]) / DAY - mean
            squares += off * off
        values[7], values[8] = mean, np.sqrt(squares / (n - 1))


@njit(nogil=True, cache=True)
def _products(
    lines: TransactionLines, rows: NDArray[np.int64], scratch: _Scratch, values: NDArray[np.float64]
) -> None:
    """Write how many products there are."""
    keys, n = scratch.keys, 0
    for k in range(len(rows)):
        keys[k], scratch.values[k] = lines.product[rows[k]], 0
    _sort_pairs(keys, scratch.values, len(rows))
    for k in range(len(rows)):
        n += keys[k] != NOTHING and (k == 0 or keys[k] != keys[k - 1])
    values[4] = n


@njit(nogil=True, cache=True)
def _categories(
    lines: TransactionLines, rows: NDArray[np.int64], scratch: _Scratch, values: NDArray[np.float64]
) -> None:
    """Write the share of the top category."""
    keys, places, most, total = scratch.keys, scratch.values, 0.0, 0.0
    for k in range(len(rows)):
        keys[k], places[k] = lines.category[rows[k]], k
    if (keys[: len(rows)] == NOTHING).all():
        values[16] = 0.0
        return
    _sort_pairs(keys, places, len(rows))
    for k in range(len(rows)):
        if keys[k] == NOTHING:
            continue
        if k and keys[k] != keys[k - 1]:
            total = 0.0
        total += lines.amount[rows[places[k]]]
        most = max(most, total)
    values[16] = most / values[2]


@njit(nogil=True, cache=True)
def _sort(lines: TransactionLines, rows: NDArray[np.int64], n: int) -> None:
    """Sort the first n rows (Shell, with Tokuda's gaps)."""
    gap = _first_gap(n)
    while gap > 1:
        gap = int(gap / 2.25)
        for k in range(gap, n):
            own, at = rows[k], k
            while at >= gap and _before(lines, own, rows[at - gap]):
                rows[at] = rows[at - gap]
                at -= gap
            rows[at] = own


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def _first_gap(n: int) -> int:
    gap = 1
    while gap < n:
        gap = int(2.25 * gap) + 1
    return gap


@njit(nogil=True, cache=True)
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
