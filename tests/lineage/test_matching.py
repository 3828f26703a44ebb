"""Segments keep their ids by the rows that both models score."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lineage.overlap_cells import DEFAULT, matched, table_of, tables

from gpuseg.lineage.matching import match_segments
from gpuseg.lineage.overlap import OverlapTable
from gpuseg.refresh_record import MatchThresholds


@settings(deadline=None)
@given(tables(), st.integers(0, 40), st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_ids_are_unique_and_never_used_again(
    drawn: tuple[OverlapTable, list[int], int], next_segment: int, match: float
) -> None:
    table, old_ids, n_new = drawn
    thresholds = MatchThresholds(match=match)
    old = np.array(old_ids, np.int64)
    matching = match_segments(table, old, n_new, thresholds, next_segment=next_segment)
    ids = matching.ids.tolist()
    born = [number for number, old in zip(ids, matching.survived, strict=True) if not old]
    assert len(ids) == len(set(ids)) == n_new
    assert set(ids) - set(born) <= set(old_ids)
    first = max(next_segment, *(number + 1 for number in old_ids), 0)
    assert born == list(range(first, matching.next_segment))


@settings(deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_positions_only_number_new_segments(
    drawn: tuple[OverlapTable, list[int], int], random: "np.random.Generator"
) -> None:
    table, old_ids, n_new = drawn
    to = list(range(n_new))
    random.shuffle(to)
    first = matched(table, old_ids, n_new)
    second = matched(table.renumbered(np.array(to, np.int64)), old_ids, n_new)
    survivors = [int(i) if old else None for i, old in zip(first.ids, first.survived, strict=True)]
    moved = second.ids[to].tolist()
    also = [i if second.survived[p] else None for i, p in zip(moved, to, strict=True)]
    if len(set(table.inside.tolist())) == len(table.inside):  # ties go by position
        assert also == survivors
    assert second.next_segment == first.next_segment


@settings(deadline=None)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=8, unique=True), st.data())
def test_unchanged_data_keep_all_ids(old_ids: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(old_ids))))
    rows = data.draw(st.lists(st.integers(1, 99), min_size=len(order), max_size=len(order)))
    table = table_of(*zip(old_ids, order, rows, strict=True), (-1, -1, 7))
    matching = matched(table, old_ids, len(old_ids))
    assert matching.survived.all()
    assert matching.ids[list(order)].tolist() == old_ids


@settings(deadline=None)
@given(tables())
def test_assignment_is_the_first_of_the_best(drawn: tuple[OverlapTable, list[int], int]) -> None:
    table, old_ids, n_new = drawn
    match = 0.2
    counts = (table.before >= 0) & (table.now >= 0)
    inside = {
        (b, n): int(rows)
        for b, n, rows in zip(
            table.before[counts].tolist(),
            table.now[counts].tolist(),
            table.inside[counts],
            strict=True,
        )
    }
    pairs = {
        (b, n): rows
        for (b, n), rows in inside.items()
        if rows
        and rows >= match * sum(each for (old, _), each in inside.items() if old == b)
        and rows >= match * sum(each for (_, new), each in inside.items() if new == n)
    }
    olds = sorted(old_ids)
    places = [*range(n_new), *[n_new] * len(olds)]  # n_new: no new segment
    choices = {
        choice
        for choice in permutations(places, len(olds))
        if all(n == n_new or (b, n) in pairs for b, n in zip(olds, choice, strict=True))
    }
    best = min(
        choices,
        key=lambda choice: (
            -sum(pairs.get(pair, 0) for pair in zip(olds, choice, strict=True)),
            choice,
        ),
    )
    matching = matched(table, old_ids, n_new, MatchThresholds(match=match))
    seen = {
        old: position
        for position, old in enumerate(matching.ids.tolist())
        if matching.survived[position]
    }
    assert seen == {b: n for b, n in zip(olds, best, strict=True) if n < n_new}


def test_survivor_takes_in_newcomers() -> None:
    table = table_of((3, 0, 5000, 4000), (3, 1, 300), (5, 1, 900))
    assert matched(table, [3, 5], 2).ids.tolist() == [3, 5]


def test_newcomer_with_a_slice_gets_a_new_id() -> None:
    table = table_of((3, 0, 600), (3, 1, 5400, 5000))
    assert matched(table, [3], 2).ids.tolist() == [3, 4]


def test_size_at_the_fit_separates_a_large_near_newcomer() -> None:
    table = table_of((3, 0, 600, 1), (3, 1, 5000, 2500), (5, 2, 5000, 5))
    args = (table, np.array([3, 5]), 3, DEFAULT)
    sizes = {-1: 10, 3: 600, 5: 4000}
    assert match_segments(*args, old_sizes=sizes).ids.tolist() == [3, 6, 5]
    unknown = match_segments(*args)
    assert unknown.ids.tolist() == [6, 3, 5]


def test_segment_of_many_slices_is_a_new_one() -> None:
    table = table_of((0, 0, 70), (1, 0, 65), (2, 0, 60))
    assert matched(table, [0, 1, 2], 1).ids.tolist() == [3]


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (((0, 0, 5), (0, 1, 5)), [0, 7]),
        (((0, 0, 5), (6, 0, 5)), [0, 7]),
        (((0, 0, 5), (0, 1, 5), (6, 0, 5), (6, 1, 5)), [0, 6]),
        (((0, 1, 5), (6, 0, 5), (6, 1, 5)), [6, 0]),
    ],
    ids=["position", "number", "both", "most rows come first"],
)
def test_ties(cells: tuple[tuple[int, int, int], ...], ids: list[int]) -> None:
    assert matched(table_of(*cells), [0, 6], 2).ids.tolist() == ids


def test_noise_takes_no_part() -> None:
    table = table_of((-1, 0, 500), (4, 0, 10), (4, -1, 500), (-1, 1, 80))
    assert matched(table, [4], 2).ids.tolist() == [4, 5]


def test_many_segments() -> None:
    n = 10_000
    order = np.random.default_rng(0).permutation(n)
    table = OverlapTable.of(np.repeat(np.arange(n), 3), np.repeat(order, 3))
    matching = matched(table, range(n), n)
    assert matching.survived.all()
    assert (matching.ids[order] == np.arange(n)).all()


def test_centers_decide_where_no_row_can_be_compared() -> None:
    old = np.array([[0.0, 0], [10, 0], [0, 10]])
    new = np.array([[6.0, 0], [0, 14], [0, 5], [0.5, 0], [0, 12]])
    far = table_of((2, 0, 9, 9), (7, 1, 9, 9), (-1, 2, 5))
    for table in (OverlapTable(), far):
        matching = match_segments(table, np.array([2, 7, 4]), 5, DEFAULT, old, new)
        assert matching.matched_by_centers
        # (0, 5) is just as near to two old ones; (0, 14) is farther than (0, 12)
        assert matching.ids.tolist() == [7, 8, 9, 2, 4]
    assert matched(far, [2, 7, 4], 5).ids.tolist() == [8, 9, 10, 11, 12]
