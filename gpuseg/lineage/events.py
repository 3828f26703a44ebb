"""What became of the segments: survived, split, merged, emerged, disappeared.

The rules count as matching does: rows that are noise in one of the models and far rows are left out
(`lineage.matching`), so that shares of an old segment are those of its inside rows, and shares of a
new one those of its rows that come from inside of old ones. With the thresholds of a job:

merged
    At least two old segments each gave at least `match` of themselves to one new segment. It does
    not matter how large they are: a small one that a large survivor takes in has merged with it.
split
    At least two new segments each got at least `split` of one old segment, and consist of it by at
    least `match`. So a survivor that loses customers to a neighbor, however many, has not split.
survived
    The old segment is matched with a new one, and neither has split or merged.
disappeared
    An old segment for which none of these holds: nobody is left in it (`_is_deserted`), or its
    customers went to several others.
emerged
    A new segment for which none of these holds: most of its customers were noise or far from all
    old segments, or it took slices of several, or a slice of one that is too small for a split.
    The first two hold even for a new segment that otherwise would be a piece of a split.

Each old and each new segment has one event, but for one case: a segment may split, and one of its
pieces take in another old segment. Then it has split, and the piece is merged, too.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gpuseg.formatting import count_with, listing, percent
from gpuseg.lineage.matching import Matching, group_sums
from gpuseg.lineage.overlap import OverlapTable
from gpuseg.record import NOISE
from gpuseg.refresh_record import Definition, EventKind, MatchThresholds, SegmentEvent

_DESERTED = 0.25
"""Part of the rows that an old segment would have with its share of the fit, below which those that
the old model still gives to it are taken for the margins of its neighbors."""

_DESERTED_OF_MEAN = 0.01
"""The same as a part of the mean of all old segments, where sizes at the fit are not known."""

_MAX_NAMED = 3
"""Segments that a sentence names with their shares."""


@dataclass(frozen=True)
class SegmentNames:
    """Names of the segments by number, for the sentences; segments without one are left out.

    Attributes
    ----------
    old, new : mapping of int to str
    """

    old: Mapping[int, str] = field(default_factory=dict)
    new: Mapping[int, str] = field(default_factory=dict)


def definition(
    column: str,
    table: OverlapTable,
    matching: Matching,
    thresholds: MatchThresholds,
    names: SegmentNames | None = None,
) -> Definition:
    """Return how the definition of the segments of one level moved.

    Parameters
    ----------
    column : str
        Column of the output: ``segment``, or that of a level of a hierarchy.
    table : OverlapTable
        With positions in `now`.
    matching : Matching
        Of the same table.
    thresholds : MatchThresholds
        Those that matching had.
    names : SegmentNames, optional
    """
    numbered = table.renumbered(matching.ids)
    return Definition(
        column=column,
        overlap=numbered.cells(),
        changed=int(numbered.rows[numbered.before != numbered.now].sum()),
        matched_by_centers=matching.matched_by_centers,
        events=segment_events(matching, thresholds, names),
    )


def segment_events(
    matching: Matching,
    thresholds: MatchThresholds,
    names: SegmentNames | None = None,
) -> tuple[SegmentEvent, ...]:
    """Return what became of the segments, in the order of their numbers; see `definition`."""
    names = names or SegmentNames()
    numbered = matching.table.renumbered(matching.ids)
    flows = _Flows.of(numbered, matching)
    words = _Sentences(numbered, flows, matching, names)
    merges = flows.merges(thresholds)
    splits = flows.splits(thresholds)
    parted = {old for olds in merges.values() for old in olds} | set(splits)
    made = {new for news in splits.values() for new in news} | set(merges)
    olds, news = matching.old_ids.tolist(), matching.ids.tolist()
    events = [
        *(words.merged(merged, new) for new, merged in merges.items()),
        *(words.split(old, pieces) for old, pieces in splits.items()),
        *(words.survived(each) for each in flows.survivors - parted - made),
        *(words.disappeared(old) for old in set(olds) - parted - flows.survivors),
        *(words.emerged(new) for new in set(news) - made - flows.survivors),
    ]
    return tuple(sorted(events, key=lambda event: ((event.before or event.now)[0], event.kind)))


@dataclass(frozen=True, eq=False)
class _Flows:
    """Cells of inside rows between segments, with the share of each in its two segments."""

    before: NDArray[np.int64]
    now: NDArray[np.int64]
    share_of_old: NDArray[np.float64]
    share_of_new: NDArray[np.float64]
    survivors: frozenset[int]
    deserted: frozenset[int]
    """Old segments in which hardly anybody is left."""
    newcomers: frozenset[int]
    """New segments most of whose rows were noise, or far."""

    @classmethod
    def of(cls, table: OverlapTable, matching: Matching) -> "_Flows":
        counts = (table.before != NOISE) & (table.now != NOISE) & (table.inside > 0)
        before, now, inside = table.before[counts], table.now[counts], table.inside[counts]
        survivors = frozenset(matching.ids[matching.survived].tolist())
        return cls(
            before,
            now,
            inside / group_sums(before, inside),
            inside / group_sums(now, inside),
            survivors,
            frozenset(_deserted(table, matching)) - survivors,
            frozenset(_newcomers(table)),
        )

    def merges(self, thresholds: MatchThresholds) -> dict[int, list[int]]:
        """Return the old segments that merged, by new one."""
        gave = self.share_of_old >= thresholds.match
        into: dict[int, int] = {}
        for old, new in self._pairs(gave):
            if old not in self.deserted and (old not in self.survivors or old == new):
                into.setdefault(old, new)  # the one that got most
        groups = defaultdict(list)
        for old, new in sorted(into.items()):
            groups[new].append(old)
        return {new: olds for new, olds in groups.items() if len(olds) > 1}

    def splits(self, thresholds: MatchThresholds) -> dict[int, list[int]]:
        """Return the pieces, the largest first, by old segment that split."""
        got = self.share_of_old >= thresholds.split
        got &= self.share_of_new >= thresholds.match
        groups = defaultdict(list)
        for old, new in self._pairs(got):
            if old not in self.deserted and (new not in self.survivors or old == new):
                groups[old].append(new)
        pieces = {old: self._without_newcomers(old, news) for old, news in groups.items()}
        return {old: news for old, news in pieces.items() if len(news) > 1}

    def _without_newcomers(self, old: int, pieces: list[int]) -> list[int]:
        """Return the near pieces; all if no piece is near, or even the survivor is not."""
        near = [new for new in pieces if new not in self.newcomers]
        return near if near and (old in near or old not in pieces) else pieces

    def _pairs(self, chosen: NDArray[np.bool_]) -> Iterable[tuple[int, int]]:
        """Return old and new segments of some cells, the largest share of the old one first."""
        order = np.argsort(-self.share_of_old, kind="stable")
        order = order[chosen[order]]
        return zip(self.before[order].tolist(), self.now[order].tolist(), strict=True)


def _deserted(table: OverlapTable, matching: Matching) -> list[int]:
    """Return the old segments that have far fewer inside rows than one would expect."""
    sizes = matching.old_sizes
    left = _by_segment(table.before, table.inside)
    n_old, n_now = max(sum(sizes.values()), 1), table.n_rows
    mean = n_now / max(len(matching.old_ids), 1)

    def least(old: int) -> float:
        if old in sizes:
            return _DESERTED * sizes[old] / n_old * n_now
        return _DESERTED_OF_MEAN * mean

    return [old for old in matching.old_ids.tolist() if left.get(old, 0) < max(least(old), 1)]


def _newcomers(table: OverlapTable) -> list[int]:
    """Return the new segments of whose rows less than half were inside of old segments."""
    rows = _by_segment(table.now, table.rows)
    inside = _by_segment(table.now, _inside_of_segments(table))
    return [new for new, n in rows.items() if 2 * inside[new] < n]


def _inside_of_segments(table: OverlapTable) -> NDArray[np.int64]:
    """Return the rows of each cell inside of an old segment: of noise, none."""
    return np.where(table.before == NOISE, 0, table.inside)


def _by_segment(segments: NDArray[np.int64], rows: NDArray[np.int64]) -> dict[int, int]:
    """Return sums of rows by segment."""
    numbers, first = np.unique(segments, return_index=True)
    sums = group_sums(segments, rows)[first]
    return dict(zip(numbers.tolist(), map(int, sums), strict=True))


class _Sentences:
    """Writes events in words."""

    def __init__(
        self, table: OverlapTable, flows: _Flows, matching: Matching, names: SegmentNames
    ) -> None:
        self._cells = {(cell.before, cell.now): cell for cell in table.cells()}
        self._rows_now = _by_segment(table.now, table.rows)
        self._inside_now = _by_segment(table.now, _inside_of_segments(table))
        self._rows_before = _by_segment(table.before, table.rows)
        self._left = _by_segment(table.before, table.inside)
        self._flows = flows
        self._matching = matching
        self._names = names
        shares = zip(
            flows.before.tolist(),
            flows.now.tolist(),
            flows.share_of_old.tolist(),
            flows.share_of_new.tolist(),
            strict=True,
        )
        self._of_old: dict[int, dict[int, float]] = defaultdict(dict)
        self._of_new: dict[int, dict[int, float]] = defaultdict(dict)
        for old, new, of_old, of_new in shares:
            self._of_old[old][new] = of_old
            self._of_new[new][old] = of_new

    def merged(self, olds: Sequence[int], new: int) -> SegmentEvent:
        shares = listing([percent(self._of_old[old][new]) for old in olds])
        names = listing([self._old(old) for old in olds])
        sentence = f"Segments {names} merged into {self._new(new)}: {shares} of their customers."
        return self._event("merged", olds, (new,), sentence)

    def split(self, old: int, news: Sequence[int]) -> SegmentEvent:
        shares = listing([percent(self._of_old[old][new]) for new in news])
        names = listing([self._new(new) for new in news])
        sentence = f"Segment {self._old(old)} split into {names}: {shares} of its customers."
        return self._event("split", (old,), news, sentence)

    def survived(self, segment: int) -> SegmentEvent:
        subject = f"Segment {self._old(segment)} survived"
        name = self._names.new.get(segment)
        if name is not None and name != self._names.old.get(segment):
            subject += f' as "{name}"'
        if self._matching.matched_by_centers:
            sentence = f"{subject}: its center is the nearest; no customers could be compared."
        elif segment not in self._of_old[segment]:  # rows were appended to others
            sentence = f"{subject}: none of these customers were in it."
        else:
            sentence = f"{subject} with {percent(self._of_old[segment][segment])} of its customers."
        return self._event("survived", (segment,), (segment,), sentence)

    def disappeared(self, old: int) -> SegmentEvent:
        subject = f"Segment {self._old(old)} disappeared"
        left, went = self._left.get(old, 0), self._largest(self._of_old[old])
        if old in self._flows.deserted:
            rest = count_with(left, "customer", "is", "are") if left else "nobody is"
            sentence = f"{subject}: {rest} left in it."
        elif went:
            named = [(share, self._new(new)) for new, share in went]
            sentence = f"{subject}: {_parts_of_customers('went', 'to', named)}."
        else:
            sentence = f"{subject}: its customers belong to no segment now."
        return self._event("disappeared", (old,), (), sentence)

    def emerged(self, new: int) -> SegmentEvent:
        subject = f"Segment {self._new(new)} emerged"
        came, rows = self._largest(self._of_new[new]), self._rows_now.get(new, 0)
        if not rows:
            sentence = f"{subject}: no customers could be compared."
        elif new in self._flows.newcomers or not came:
            outside = percent(1 - self._inside_now.get(new, 0) / rows)
            sentence = f"{subject}: {outside} of its customers were in no segment before."
        else:
            named = [(share, self._old(old)) for old, share in came]
            sentence = f"{subject}: {_parts_of_customers('were', 'in', named)}."
        return self._event("emerged", (), (new,), sentence)

    def _event(
        self, kind: EventKind, before: Sequence[int], now: Sequence[int], sentence: str
    ) -> SegmentEvent:
        rows = self._rows_of(before, now)
        return SegmentEvent(
            kind=kind, before=tuple(before), now=tuple(now), rows=rows, sentence=sentence
        )

    def _rows_of(self, before: Sequence[int], now: Sequence[int]) -> int:
        if not before:
            return sum(self._rows_now.get(new, 0) for new in now)
        if not now:
            return sum(self._rows_before.get(old, 0) for old in before)
        cells = (self._cells.get((old, new)) for old in before for new in now)
        return sum(cell.rows for cell in cells if cell is not None)

    def _old(self, segment: int) -> str:
        return _named(segment, self._names.old)

    def _new(self, segment: int) -> str:
        return _named(segment, self._names.new)

    @staticmethod
    def _largest(shares: Mapping[int, float]) -> list[tuple[int, float]]:
        return sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:_MAX_NAMED]


def _parts_of_customers(verb: str, place: str, named: Sequence[tuple[float, str]]) -> str:
    """Return how the customers of a segment part, such as "60% … went to 3 and 40% to 5"."""
    where = [f"{percent(share)} {place} {segment}" for share, segment in named]
    share, segment = named[0]
    where[0] = f"{percent(share)} of its customers {verb} {place} {segment}"
    return listing(where)


def _named(segment: int, names: Mapping[int, str]) -> str:
    """Return the number of a segment, and its name in quotes if it has one."""
    name = names.get(segment)
    return f"{segment}" if name is None else f'{segment} "{name}"'
