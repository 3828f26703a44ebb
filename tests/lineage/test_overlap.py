"""Overlap tables are exact counts, whichever way the rows are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lineage.overlap_cells import table_of

from gpuseg.lineage.overlap import OverlapTable, count_overlap
from gpuseg.refresh_record import OverlapCell
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.sharding.shard import Shard

ROWS = st.lists(
    st.tuples(st.sampled_from([-1, 0, 3, 2**31 - 1]), st.integers(-1, 4), st.booleans())
)


def count(rows: list[tuple[int, int, bool]]) -> OverlapTable:
    before, now, far = (np.array([row[i] for row in rows]) for i in range(3))
    return OverlapTable.of(before.astype(np.int32), now.astype(np.int32), far.astype(bool))


@settings(deadline=None)
@given(ROWS, ROWS)
def test_cells_count_rows(
    rows: list[tuple[int, int, bool]], more: list[tuple[int, int, bool]]
) -> None:
    pairs = sorted({row[:2] for row in rows + more})
    expected = tuple(
        OverlapCell(
            *pair,
            sum(row[:2] == pair for row in rows + more),
            sum(row == (*pair, True) for row in rows + more),
        )
        for pair in pairs
    )
    assert count(rows + more).cells() == expected
    assert count(rows).merge(count(more)).cells() == expected
    assert count(more).merge(count(rows)).cells() == expected
    assert count(rows).merge(count(more)).n_rows == len(rows + more)


def test_numbers_take_the_place_of_positions() -> None:
    table = table_of((0, 0, 5, 1), (0, -1, 2), (4, 1, 3))
    assert table.renumbered(np.array([9, 4])).cells() == ((0, -1, 2, 0), (0, 9, 5, 1), (4, 4, 3, 0))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n_segments", [3, 600])
def test_shard_is_counted_in_parts(threads: int, n_segments: int) -> None:
    n_rows = 300_000
    rng = np.random.default_rng(0)
    before, now, level = rng.integers(-1, n_segments, (3, n_rows)).astype(np.int32)
    shard = Shard(
        np.empty((n_rows, 1), np.float32),
        labels=now,
        labels_by_model=[level, now],
        previous={"segment": before, "segment_2": level},
        previous_far=before == now,
    )
    context = TaskContext(threads)
    by_hand = OverlapTable.of(before, now, before == now).cells()
    assert count_overlap(shard, context, "segment").cells() == by_hand
    of_level = count_overlap(shard, context, "segment_2", 0)
    assert (of_level.before == of_level.now).all() and of_level.n_rows == n_rows


def test_lost_labels_raise() -> None:
    shard = Shard(np.empty((1, 1), np.float32), labels=np.zeros(1, np.int32))
    with pytest.raises(CacheLost):
        count_overlap(shard, TaskContext(), "segment")
