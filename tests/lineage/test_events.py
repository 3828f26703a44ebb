"""What became of segments is told by plain rules, once for each segment."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lineage.overlap_cells import DEFAULT, matched, table_of, tables

from gpuseg.lineage.events import SegmentNames, definition, segment_events
from gpuseg.lineage.overlap import OverlapTable
from gpuseg.refresh_record import MatchThresholds

CASES = {
    "survived": ([(3, 0, 99), (3, 1, 1), (5, 1, 50)], [
        "Segment 3 survived with 99.0% of its customers.",
        "Segment 5 survived with 100.0% of its customers.",
    ]),
    "loses customers to a neighbor": ([(3, 0, 78), (3, 1, 22), (5, 1, 50)], [
        "Segment 3 survived with 78.0% of its customers.",
        "Segment 5 survived with 100.0% of its customers.",
    ]),
    "split": ([(3, 0, 41), (3, 1, 58), (3, 2, 1), (5, 2, 50)], [
        "Segment 3 split into 3 and 6: 58.0% and 41.0% of its customers.",
        "Segment 5 survived with 100.0% of its customers.",
    ]),
    "split in three": ([(3, 0, 40), (3, 1, 35), (3, 2, 25)], [
        "Segment 3 split into 4, 5 and 6: 40.0%, 35.0% and 25.0% of its customers.",
    ]),
    "a far piece has emerged": ([(3, 0, 100), (3, 1, 150, 120)], [
        "Segment 3 survived with 76.9% of its customers.",
        "Segment 4 emerged: 80.0% of its customers were in no segment before.",
    ]),
    "all pieces are far": ([(3, 0, 100, 60), (3, 1, 100, 70)], [
        "Segment 3 split into 3 and 4: 57.1% and 42.9% of its customers.",
    ]),
    "a small piece has emerged": ([(3, 0, 85), (3, 1, 15)], [
        "Segment 3 survived with 85.0% of its customers.",
        "Segment 4 emerged: 100.0% of its customers were in 3.",
    ]),
    "merged": ([(3, 0, 60), (3, 1, 1), (5, 0, 50), (6, 1, 100)], [
        "Segments 3 and 5 merged into 3: 98.4% and 100.0% of their customers.",
        "Segment 6 survived with 100.0% of its customers.",
    ]),
    "a small segment merges with a large one": ([(3, 0, 9000), (5, 0, 90), (5, -1, 200)], [
        "Segments 3 and 5 merged into 3: 100.0% and 100.0% of their customers.",
    ]),
    "three merge": ([(3, 0, 70), (5, 0, 65), (6, 0, 60)], [
        "Segments 3, 5 and 6 merged into 7: 100.0%, 100.0% and 100.0% of their customers.",
    ]),
    "nobody is left": ([(3, 0, 100), (5, 0, 40, 40)], [
        "Segment 3 survived with 100.0% of its customers.",
        "Segment 5 disappeared: nobody is left in it.",
    ]),
    "a margin is left": ([(3, 0, 1000), (5, 0, 2, 1)], [
        "Segment 3 survived with 100.0% of its customers.",
        "Segment 5 disappeared: 1 customer is left in it.",
    ]),
    "dissolved": ([
        (3, 0, 99), (5, 1, 99), (6, 0, 40), (6, 1, 40), (6, -1, 90), (6, 2, 20), (7, 2, 99),
    ], [
        "Segment 3 survived with 100.0% of its customers.",
        "Segment 5 survived with 100.0% of its customers.",
        "Segment 6 disappeared: 40.0% of its customers went to 3, 40.0% to 5 and 20.0% to 7.",
        "Segment 7 survived with 100.0% of its customers.",
    ]),
    "noise now": ([(3, 0, 100), (5, -1, 100)], [
        "Segment 3 survived with 100.0% of its customers.",
        "Segment 5 disappeared: its customers belong to no segment now.",
    ]),
    "noise before": ([(3, 0, 100), (-1, 1, 90), (3, 1, 10)], [
        "Segment 3 survived with 90.9% of its customers.",
        "Segment 4 emerged: 90.0% of its customers were in no segment before.",
    ]),
    "slices": ([(3, 0, 80), (5, 1, 80), (6, 3, 80), (3, 2, 30), (5, 2, 20), (6, 2, 25)], [
        "Segment 3 survived with 72.7% of its customers.",
        "Segment 5 survived with 80.0% of its customers.",
        "Segment 6 survived with 76.2% of its customers.",
        "Segment 7 emerged: 40.0% of its customers were in 3, 33.3% in 6 and 26.7% in 5.",
    ]),
    "a piece takes in a small one": ([(3, 0, 58), (3, 1, 42), (5, 0, 9)], [
        "Segments 3 and 5 merged into 3: 58.0% and 100.0% of their customers.",
        "Segment 3 split into 3 and 6: 58.0% and 42.0% of its customers.",
    ]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_sentences(case: str) -> None:
    cells, sentences = CASES[case]
    table = table_of(*cells)
    old_ids = sorted({cell[0] for cell in cells} - {-1})
    n_new = max(cell[1] for cell in cells) + 1
    events = segment_events(matched(table, old_ids, n_new), DEFAULT)
    assert [event.sentence for event in events] == sentences


def test_names_are_in_quotes() -> None:
    table = table_of((3, 0, 58), (3, 1, 42), (5, 2, 9))
    names = SegmentNames({3: "recent", 5: "lapsed"}, {3: "recent", 6: "new", 5: "long lapsed"})
    first, second = segment_events(matched(table, [3, 5], 3), DEFAULT, names)
    assert first.sentence.startswith('Segment 3 "recent" split into 3 "recent" and 6 "new": 58.0%')
    assert second.sentence.startswith('Segment 5 "lapsed" survived as "long lapsed" with 100.0%')


@settings(deadline=None)
@given(
    tables(),
    st.sampled_from([0.2, 0.5, 0.8]),
    st.sampled_from([0.1, 0.2, 0.4, 0.6]),
)
def test_every_segment_has_an_event(
    drawn: tuple[OverlapTable, list[int], int], match: float, split: float
) -> None:
    table, old_ids, n_new = drawn
    thresholds = MatchThresholds(match=match, split=split)
    matching = matched(table, old_ids, n_new, thresholds)
    events = segment_events(matching, thresholds)
    before = Counter(old for event in events for old in event.before)
    now = Counter(new for event in events for new in event.now)
    assert set(before) == set(old_ids) and set(now) == set(matching.ids.tolist())
    kinds = {
        each: {event.kind for event in events if each in side(event)}
        for side in (lambda event: event.before, lambda event: event.now)
        for each in (*old_ids, *matching.ids.tolist())
    }
    assert all(len(each) <= 1 or each == {"split", "merged"} for each in kinds.values())
    merged = [old for event in events for old in event.before if event.kind == "merged"]
    assert len(merged) == len(set(merged))


def test_definition_counts_changed_rows() -> None:
    table = table_of((3, 0, 10), (3, 1, 2, 1), (5, 1, 20), (-1, -1, 4), (-1, 0, 1))
    matching = matched(table, [3, 5], 2)
    moved = definition("segment", table, matching, DEFAULT)
    assert moved.changed == 3
    assert moved.overlap == (
        (-1, -1, 4, 0), (-1, 3, 1, 0), (3, 3, 10, 0), (3, 5, 2, 1), (5, 5, 20, 0)
    )  # fmt: skip
    assert [event.rows for event in moved.events] == [10, 20]
