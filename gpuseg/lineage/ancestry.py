"""The lineage of segments: which exist or have existed, since when, and out of which others."""

import numpy as np
from numpy.typing import NDArray

from gpuseg.lineage.matching import Matching
from gpuseg.lineage.overlap import OverlapTable
from gpuseg.record import NOISE
from gpuseg.refresh_record import Ancestry, Lineage, Parent

_MIN_SHARE = 0.01
"""Share of a new segment from which on an old one is its parent: less are margins of neighbors."""


def first_lineage(ids: NDArray[np.integer], run_id: str, column: str) -> Lineage:
    """Return the lineage of segments that no refresh has numbered.

    Parameters
    ----------
    ids : int (k,)
        Their numbers.
    run_id : str
        Run that fitted them.
    column : str
        Column of the output: ``segment``, or that of a level of a hierarchy.
    """
    numbers = sorted(ids.tolist())
    return Lineage(
        column=column,
        segments=tuple(Ancestry(segment=number, born=run_id) for number in numbers),
        next_segment=max(numbers, default=-1) + 1,
    )


def continue_lineage(
    lineage: Lineage | None,
    matching: Matching,
    run_id: str,
    column: str,
    *,
    old_run_id: str,
) -> Lineage:
    """Return the lineage after a refresh.

    Parameters
    ----------
    lineage : Lineage or None
        That of the old model; None if no refresh has numbered its segments, or if an older version
        wrote it.
    matching : Matching
        Old and new segments.
    run_id : str
        The refresh.
    column : str
        Column of the output.
    old_run_id : str
        Run of the old model: in it the segments were born that `lineage` does not have.
    """
    first = first_lineage(matching.old_ids, old_run_id, column)
    known = {
        each.segment: each for each in (*first.segments, *(lineage.segments if lineage else ()))
    }
    alive = set(matching.ids.tolist())
    for number, ancestry in known.items():
        if ancestry.retired is None and number not in alive:
            known[number] = ancestry.model_copy(update={"retired": run_id})
    parents = _parents(matching.table.renumbered(matching.ids))
    for number in matching.ids[~matching.survived].tolist():
        known[number] = Ancestry(segment=number, born=run_id, parents=parents.get(number, ()))
    return Lineage(
        column=column,
        segments=tuple(known[number] for number in sorted(known)),
        next_segment=matching.next_segment,
    )


def _parents(table: OverlapTable) -> dict[int, tuple[Parent, ...]]:
    """Return the old segments in which the customers of each new one were, not far from them."""
    parents: dict[int, list[Parent]] = {}
    totals: dict[int, int] = {}
    for _, new, rows, _ in table.cells():
        totals[new] = totals.get(new, 0) + rows
    for old, new, rows, far in table.cells():
        share = (rows - far) / totals[new]
        if old != NOISE and share >= _MIN_SHARE:
            parents.setdefault(new, []).append(Parent(old, share))
    return {
        new: tuple(sorted(each, key=lambda parent: (-parent.share, parent.segment)))
        for new, each in parents.items()
    }
