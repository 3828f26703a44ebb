"""Overlap tables written cell by cell, and strategies that draw them."""

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

from gpuseg.lineage.matching import Matching, match_segments
from gpuseg.lineage.overlap import OverlapTable
from gpuseg.refresh_record import MatchThresholds

DEFAULT = MatchThresholds()


def table_of(*cells: tuple[int, ...]) -> OverlapTable:
    """Return a table from (before, now, rows) or (before, now, rows, far)."""
    rows = [(*cell[:3], cell[3] if len(cell) > 3 else 0) for cell in cells]
    return OverlapTable.merged([OverlapTable(*np.array(rows, np.int64).reshape(-1, 4).T)])


def matched(
    table: OverlapTable, old_ids: Iterable[int], n_new: int, thresholds: MatchThresholds = DEFAULT
) -> Matching:
    """Match without centers and sizes."""
    return match_segments(table, np.array(list(old_ids), np.int64), n_new, thresholds)


@st.composite
def tables(draw: st.DrawFn) -> tuple[OverlapTable, list[int], int]:
    """Draw a table, the numbers of the old segments, and how many new ones there are."""
    old_ids = draw(st.lists(st.integers(0, 20), max_size=5, unique=True))
    n_new = draw(st.integers(0, 5))
    cells = draw(
        st.lists(
            st.tuples(
                st.sampled_from([-1, *old_ids]),
                st.integers(-1, n_new - 1),
                st.integers(1, 12),
                st.integers(0, 12),
            ),
            max_size=16,
        )
    )
    return table_of(*((b, n, rows, min(far, rows)) for b, n, rows, far in cells)), old_ids, n_new
