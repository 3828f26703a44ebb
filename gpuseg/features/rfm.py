"""Scores of recency, frequency and money (RFM): quintiles from 1 to 5, and names for their cells.

A score is 1 plus the number of quintile borders below the value; for recency, where few days are
good, it is 5 minus that number. The borders are the quantiles at 20, 40, 60 and 80 %, interpolated
linearly, as `pandas.qcut` computes them. Equal values therefore have equal scores, and a score may
have no customers, for example where most customers have one order. `NTILE(5)` of SQL divides equal
values by the order of the rows, so that its scores change from run to run.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.arrow import from_numpy, to_numpy

SCORED = {
    "recency_score": "recency_days",
    "frequency_score": "orders",
    "monetary_score": "spend",
}
"""The feature of each score."""

N_SCORES = 5

SEGMENTS = {
    "Champions": ("55", "54"),
    "Loyal Customers": ("45", "44", "35", "34"),
    "Potential Loyalists": ("53", "52", "43", "42"),
    "New Customers": ("51",),
    "Promising": ("41",),
    "Need Attention": ("33",),
    "About to Sleep": ("32", "31"),
    "Cannot Lose Them": ("25", "15"),
    "At Risk": ("24", "23", "14", "13"),
    "Hibernating": ("22", "21", "12"),
    "Lost": ("11",),
}
"""The cells of each name: the score of recency, then the score of frequency.

The names are those of Putler's RFM analysis (www.putler.com/rfm-analysis). The ranges that it gives
for them overlap, so each of the 25 cells has one name here.
"""

Borders = Mapping[str, tuple[float, ...]]
"""The four borders of each feature that is scored, rising."""


def ranks(count: int) -> list[tuple[int, int, float]]:
    """Return the ranks below and above each border, and the share of the way between them.

    Whole numbers give them: a product with 0.2 may be rounded beyond a rank.
    """
    positions = [divmod(i * (count - 1), N_SCORES) for i in range(1, N_SCORES)]
    return [(rank, rank + (rest > 0), rest / N_SCORES) for rank, rest in positions]


def border(below: float, above: float, share: float) -> float:
    """Return the value at a share of the way between two values."""
    return below + share * (above - below)


def borders_of(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the borders of values without NaN (n,)."""
    ordered = np.sort(values)
    return tuple(
        border(float(ordered[below]), float(ordered[above]), share)
        for below, above, share in ranks(len(ordered))
    )


def borders_of_table(table: pa.Table) -> Borders:
    """Return the borders of the features of all customers."""
    return {name: borders_of(values_of(table, name)) for name in SCORED.values()}


def values_of(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a feature that every customer has as numbers."""
    values: NDArray[np.float64] = to_numpy(table[name].combine_chunks()).astype(np.float64)
    return values


def with_scores(table: pa.Table, borders: Borders) -> pa.Table:
    """Return features with the scores, their text such as "543", and the name of the cell."""
    scores = {
        score: _scores(values_of(table, feature), borders[feature], feature == "recency_days")
        for score, feature in SCORED.items()
    }
    for name, values in scores.items():
        table = table.append_column(name, from_numpy(values))
    recency, frequency, money = scores.values()
    texts = pa.array([f"{code:03}" for code in range(556)])
    table = table.append_column(
        "rfm_score", texts.take(from_numpy(recency * 100 + frequency * 10 + money))
    )
    return table.append_column("rfm_segment", _cells().take(from_numpy(recency * 10 + frequency)))


def _scores(
    values: NDArray[np.float64], borders: Sequence[float], is_reversed: bool
) -> NDArray[np.int64]:
    below = np.searchsorted(np.array(borders), values, side="left").astype(np.int64)
    return N_SCORES - below if is_reversed else below + 1


@cache
def _cells() -> pa.Array:
    """Return the name of each cell at the number that its two scores give.

    It is made at its first use: with it pyarrow imports pandas.
    """
    names: list[str | None] = [None] * 56
    for name, cells in SEGMENTS.items():
        for cell in cells:
            names[int(cell)] = name
    return pa.array(names, pa.string())
