"""Lineage goes on over any number of refreshes."""

import numpy as np
from lineage.overlap_cells import DEFAULT, matched, table_of

from gpuseg.lineage.ancestry import continue_lineage, first_lineage
from gpuseg.lineage.matching import match_segments
from gpuseg.refresh_record import Ancestry, Lineage, Parent


def test_three_refreshes() -> None:
    lineage = first_lineage(np.arange(2), "a", "segment")
    assert lineage.next_segment == 2
    steps = [
        ([0, 1], 3, [(0, 0, 60), (0, 1, 40), (1, 2, 9)]),  # 0 splits into 0 and 2
        ([0, 2, 1], 2, [(0, 0, 60), (2, 0, 40), (1, 1, 9)]),  # 2 merges into 0
        ([0, 1], 3, [(0, 0, 60), (1, 1, 9), (0, 2, 30, 29)]),  # one emerges: 2 stays retired
    ]
    for run, (old_ids, n_new, cells) in zip("bcd", steps, strict=True):
        matching = match_segments(
            table_of(*cells), np.array(old_ids), n_new, DEFAULT, next_segment=lineage.next_segment
        )
        lineage = continue_lineage(lineage, matching, run, "segment", old_run_id="?")
    assert lineage == Lineage(
        column="segment",
        segments=(
            Ancestry(segment=0, born="a"),
            Ancestry(segment=1, born="a"),
            Ancestry(segment=2, born="b", parents=(Parent(0, 1.0),), retired="c"),
            Ancestry(segment=3, born="d", parents=(Parent(0, 1 / 30),)),
        ),
        next_segment=4,
    )


def test_older_output_without_lineage() -> None:
    table = table_of((0, 0, 50), (7, 1, 5, 5), (0, 1, 30), (3, 1, 65))
    lineage = continue_lineage(None, matched(table, [0, 3, 7], 2), "b", "segment_2", old_run_id="a")
    assert lineage.segments == (
        Ancestry(segment=0, born="a"),
        Ancestry(segment=3, born="a"),
        Ancestry(segment=7, born="a", retired="b"),
    )
    assert (lineage.column, lineage.next_segment) == ("segment_2", 8)


def test_parents_are_by_share() -> None:
    cells = [(0, 0, 900), (1, 1, 900), (0, 2, 30), (1, 2, 40), (5, 2, 1), (5, 3, 90), (-1, 2, 30)]
    matching = matched(table_of(*cells), [0, 1, 5], 4)
    born = continue_lineage(None, matching, "b", "segment", old_run_id="a").segments[-1]
    assert born.parents == (Parent(1, 40 / 101), Parent(0, 30 / 101))
