"""Newcomers beside an old segment: cells of the overlap table that are not of its customers.

With many features a segment is wide. Of new customers whose center is five standard deviations from
an old one, half are within the distance that all but 1 in 1,000 old customers kept, so that far
rows alone do not tell them from a piece of the old segment. Its size does: customers that come make
it larger, and customers that part do not.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.lineage.overlap import OverlapTable
from gpuseg.record import NOISE

_FAR_SHARE = 0.1
"""Share of far rows of a cell from which on it may be one of newcomers: 100 times that of a fit."""


def with_newcomers_far(table: OverlapTable, old_sizes: Mapping[int, int]) -> OverlapTable:
    """Return the table in which all rows of newcomers are far.

    A cell of an old segment is one of newcomers if at least a tenth of its rows are far, and if
    without it the old segment is nearer to the size that it would have with its share of the fit:
    sizes are compared by their ratio. Cells with a larger share of far rows are tried first.

    Parameters
    ----------
    table : OverlapTable
    old_sizes : mapping of int to int
        Rows of all old segments at their fit, by number, with those of noise if there was any.
        Without sizes nothing is known about newcomers.
    """
    per_row = table.n_rows / max(sum(old_sizes.values()), 1)
    far_share = table.far / table.rows
    may_come = (table.before != NOISE) & (table.now != NOISE) & (far_share >= _FAR_SHARE)
    far = table.far.copy()
    for old in np.unique(table.before[may_come]).tolist():
        first, last = np.searchsorted(table.before, [old, old + 1])
        cells = np.arange(first, last)
        order = np.lexsort((-table.rows[cells], -far_share[cells]))
        chosen = cells[order][may_come[cells[order]]]
        n_rows, expected = int(table.rows[cells].sum()), old_sizes.get(old, np.inf) * per_row
        newcomers = chosen[_newcomers(table.rows[chosen], n_rows, expected)]
        far[newcomers] = table.rows[newcomers]
    return replace(table, far=far)


def _newcomers(rows: NDArray[np.int64], n_rows: int, expected: float) -> list[int]:
    """Return which cells are left out so that the rest of `n_rows` comes nearest to a size."""
    newcomers: list[int] = []
    for i, n in enumerate(rows.tolist()):
        if n_rows * (n_rows - n) > expected**2:  # |log| of the ratio to `expected` is smaller
            newcomers.append(i)
            n_rows -= n
    return newcomers
