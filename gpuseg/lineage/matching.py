"""Match the segments of a new fit to those of the old model, so that survivors keep their ids.

Rule
----
The old and the new model score the same rows, and the overlap table counts them. Two groups of rows
do not count:

- rows that are noise in either model;
- *far* rows. The old model puts the customers of a brand-new segment into the old segment that is
  nearest to them, so that the table alone cannot tell a segment that split from a new one beside
  it. A row beyond the distance that about 1 in 1,000 rows of the old segment exceeded at its fit is
  no customer of that segment. Where the sizes of the old segments at their fit are known, they tell
  newcomers apart that come nearer (`lineage.newcomers`).

What is left are the rows *inside* of an old segment. An old and a new segment may be the same if

1. at least `thresholds.match` of the inside rows of the old segment are in the new one, and
2. they are at least `thresholds.match` of the inside rows of the new segment.

The first condition keeps the id from a newcomer that took a slice of the old segment. The second
one keeps it from a segment that mostly consists of others. A survivor may take in any number of
newcomers: these are far, and do not count.

Of all assignments of new segments to old ones by these pairs, the one with the most rows wins. From
0.5 on at most one pair of a segment can be above the threshold. If several assignments have as many
rows, the old segments choose in the order of their numbers, and each takes the first position that
leaves as many rows to the others. With a lower threshold, more than 128 segments may be connected
by such pairs: then the first assignment that the Hungarian algorithm finds is taken, which is
always the same for the same table.

Where no row at all is inside of an old segment and of a new one, centers decide: see
`_match_by_centers`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.lineage.newcomers import with_newcomers_far
from gpuseg.lineage.overlap import OverlapTable
from gpuseg.record import NOISE
from gpuseg.refresh_record import MatchThresholds

_MAX_TIED = 128
"""Segments that are connected by pairs, up to which ties are resolved: that takes many assignments.
From a threshold of 0.5 on, only segments with pairs of exactly one half are connected."""

_MAX_CENTER_PAIRS = 2**22
"""Pairs of an old and a new center whose distances are in memory at a time: 32 MiB."""


@dataclass(frozen=True, eq=False)
class Matching:
    """Which new segment is which old one, and the numbers of all.

    Attributes
    ----------
    old_ids : int32 (k_old,)
        Numbers of the segments of the old model.
    ids : int32 (k_new,)
        Numbers of the new segments by position: those of the old ones that survive in them, and
        otherwise numbers that no segment has had.
    survived : bool (k_new,)
        Which of them are old ones.
    next_segment : int
        The number of the next new segment.
    old_sizes : mapping of int to int
        Rows of the old segments at their fit; empty where that is not known.
    table : OverlapTable
        What was matched, with positions in `now`: rows of newcomers are far.
    matched_by_centers : bool
        Whether no row could be compared, so that centers were.
    """

    old_ids: NDArray[np.int32]
    ids: NDArray[np.int32]
    survived: NDArray[np.bool_]
    next_segment: int
    old_sizes: Mapping[int, int]
    table: OverlapTable
    matched_by_centers: bool = False


def match_segments(
    table: OverlapTable,
    old_ids: NDArray[np.integer],
    n_new: int,
    thresholds: MatchThresholds,
    old_centers: NDArray[np.float64] | None = None,
    new_centers: NDArray[np.float64] | None = None,
    *,
    old_sizes: Mapping[int, int] | None = None,
    next_segment: int | None = None,
) -> Matching:
    """Give the segments of a new fit their numbers.

    Parameters
    ----------
    table : OverlapTable
        With positions in `now`.
    old_ids : int (k_old,)
        Numbers of the segments of the old model, in the order of `old_centers`.
    n_new : int
        Number of segments of the new fit.
    thresholds : MatchThresholds
        When segments are the same.
    old_centers, new_centers : float64 (k, d), optional
        In the scaled units of the old model; None where segments have no centers.
    old_sizes : mapping of int to int, optional
        Rows of all old segments at their fit, by number, with those of noise if there was any.
    next_segment : int, optional
        The number of the next new segment, from the lineage of the old model. By default it is
        above all of `old_ids`, which is right for a model that no refresh has numbered.
    """
    first_free = max((*old_ids.tolist(), -1)) + 1
    counter = first_free if next_segment is None else max(next_segment, first_free)
    table = with_newcomers_far(table, old_sizes or {})
    counts = table.before != NOISE
    counts &= table.now != NOISE
    counts &= table.inside > 0
    pairs: list[tuple[int, int]] = []
    by_centers = False
    if counts.any():
        before, now, inside = table.before[counts], table.now[counts], table.inside[counts]
        pairs = _match_by_rows(before, now, inside, thresholds.match)
    elif old_centers is not None and new_centers is not None:
        pairs, by_centers = _match_by_centers(old_ids, old_centers, new_centers), True
    ids = np.full(n_new, NOISE, np.int64)
    for old, position in pairs:
        ids[position] = old
    survived = ids != NOISE
    ids[~survived] = counter + np.arange(n_new - len(pairs))
    return Matching(
        old_ids.astype(np.int32),
        ids.astype(np.int32),
        survived,
        counter + n_new - len(pairs),
        old_sizes or {},
        table,
        by_centers,
    )


def _match_by_rows(
    before: NDArray[np.int64], now: NDArray[np.int64], inside: NDArray[np.int64], match: float
) -> list[tuple[int, int]]:
    """Return pairs of an old number and a new position by the rows that they share.

    Sums of rows are exact below 2**53 rows.
    """
    is_pair = inside >= match * group_sums(before, inside)
    is_pair &= inside >= match * group_sums(now, inside)
    before, now, inside = before[is_pair], now[is_pair], inside[is_pair]
    pairs = []
    for edges in _components(before, now):
        old, i = np.unique(before[edges], return_inverse=True)
        new, j = np.unique(now[edges], return_inverse=True)
        overlap = np.zeros((len(old), len(new)))
        overlap[i, j] = inside[edges]
        pairs += [(int(old[i]), int(new[j])) for i, j in _best_pairs(overlap)]
    return pairs


def group_sums(group: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of `rows` over all cells of the same group, for each cell."""
    _, at = np.unique(group, return_inverse=True)
    sums = np.zeros(int(at.max(initial=-1)) + 1)
    np.add.at(sums, at, rows)
    return sums[at]


def _components(before: NDArray[np.int64], now: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Return the indices of the pairs of each connected part, in the order of the old numbers."""
    old, i = np.unique(before, return_inverse=True)
    new, j = np.unique(now, return_inverse=True)
    if len(old) == len(new) == len(before):  # each pair stands alone, as it mostly does
        return [np.array([at]) for at in np.argsort(before).tolist()]
    from scipy.sparse import coo_array  # takes 0.2 s to import
    from scipy.sparse.csgraph import connected_components

    n_nodes = len(old) + len(new)
    graph = coo_array((np.ones(len(i), bool), (i, j + len(old))), shape=(n_nodes, n_nodes))
    _, part = connected_components(graph, directed=False)
    order = np.argsort(part[i], kind="stable")
    return np.split(order, np.flatnonzero(np.diff(part[i][order])) + 1)


def _best_pairs(overlap: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the assignment with the most rows, and of several the first one; 0 is no pair."""
    best = _assignment(overlap)
    if max(overlap.shape) > _MAX_TIED:
        return sorted(best.items())
    total = sum(overlap[i, j] for i, j in best.items())
    pairs: list[tuple[int, int]] = []
    for i in range(len(overlap)):
        for j in np.flatnonzero(overlap[i]).tolist():
            rest = overlap.copy()
            rest[i], rest[:, j] = 0, 0
            following = best if best.get(i) == j else _assignment(rest)
            is_best = sum(rest[at] for at in following.items()) + overlap[i, j] == total
            if is_best:
                pairs.append((i, j))
                overlap, best, total = rest, following, total - overlap[i, j]
                break
    return pairs


def _assignment(overlap: NDArray[np.float64]) -> dict[int, int]:
    """Return an assignment of columns to rows with the largest sum; pairs of 0 are left out."""
    if overlap.shape == (1, 1):
        return {0: 0}
    from scipy.optimize import linear_sum_assignment  # takes 0.3 s to import

    rows, columns = linear_sum_assignment(overlap, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {i: j for i, j in pairs if overlap[i, j] > 0}


def _match_by_centers(
    old_ids: NDArray[np.integer], old: NDArray[np.float64], new: NDArray[np.float64]
) -> list[tuple[int, int]]:
    """Return pairs of an old number and a new position by the distances of their centers.

    A new center may be an old one if it is nearer to it than half of the way from the old center to
    the nearest other one, so that there is no doubt which old center is nearest. A single old
    center has no other, and takes any. Of several new centers each old one gets the nearest, of
    equal ones the first: as no new center is that near to two old ones, this is the assignment
    with the most pairs and, for them, the smallest squares of distances.
    """
    reach = np.full(len(old), np.inf)
    for rows, squares in _squares(old, old):
        squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = np.inf
        reach[rows] = squares.min(axis=1, initial=np.inf) / 4
    nearest = []
    for rows, squares in _squares(old, new):
        squares[squares >= reach[rows, None]] = np.inf
        for i in np.flatnonzero(np.isfinite(squares).any(axis=1)).tolist():
            nearest.append((int(old_ids[rows.start + i]), int(squares[i].argmin())))
    return nearest


def _squares(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield squared distances of some points of `a` to all of `b`, added up feature by feature."""
    step = max(_MAX_CENTER_PAIRS // max(len(b), 1), 1)
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        squares = np.zeros((rows.stop - rows.start, len(b)))
        for x, y in zip(a[rows].T, b.T, strict=True):
            squares += (x[:, None] - y[None, :]) ** 2
        yield rows, squares
