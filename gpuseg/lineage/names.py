"""Names follow the ids of segments, unless the numbers that a name speaks of changed.

A name is made of parts such as "recent" or "high spend", each of them true of the segment by the
thresholds of `profiling.naming`. In another run a deviation of 0.51 σ may be one of 0.49, and that
is no reason for another name. So an old name stays while all its parts hold, even if a deviation is
0.1 σ short of its threshold, or beyond the next one.
"""

import re
from collections.abc import Mapping, Sequence

from gpuseg.manifest import FeatureSummary, Segment
from gpuseg.profiling.naming import name_segments, tolerated_parts

_TOLERANCE = 0.1
"""Standard deviations."""

_COMMA = ", "

_NUMBER = re.compile(r" \(\d+\)$")
"""What tells names apart that would be the same."""


def carried_names(
    segments: Sequence[Segment],
    old_names: Mapping[int, str],
    features: Mapping[str, FeatureSummary],
) -> tuple[dict[int, str], dict[int, str]]:
    """Return the name of each segment, and the older name of those that have another one now.

    Segments that keep their names go first; the others get names that differ from theirs.

    Parameters
    ----------
    segments : sequence of Segment
        Of the new output, with their numbers and the names that they would have without history;
        those without a name get none.
    old_names : mapping of int to str
        Names in the older output, by number.
    features : mapping of str to FeatureSummary
        Features of the new output.
    """
    named = [segment for segment in segments if segment.name is not None]
    names: dict[int, str] = {}
    kept = set[str]()
    for segment in named:
        old = old_names.get(segment.segment)
        if old is not None and old not in kept and _holds(old, segment, features):
            names[segment.segment] = old
            kept.add(old)
    others = [segment for segment in named if segment.segment not in names]
    new = name_segments(others, features, taken=kept)
    names |= {each.segment: name.name for each, name in zip(others, new, strict=True)}
    previous = {
        each.segment: old_names[each.segment]
        for each in named
        if old_names.get(each.segment, names[each.segment]) != names[each.segment]
    }
    return {each.segment: names[each.segment] for each in named}, previous


def _holds(name: str, segment: Segment, features: Mapping[str, FeatureSummary]) -> bool:
    """Whether all parts of a name suit a segment."""
    parts = tolerated_parts(segment, features, _TOLERANCE)
    return _consists_of(name, parts) or _consists_of(_NUMBER.sub("", name), parts)


def _consists_of(name: str, parts: set[str]) -> bool:
    """Whether a name is some of the parts, separated by commas; a part may have commas itself."""
    starts, seen = [0], set[int]()
    while starts:
        start = starts.pop()
        if start in seen:
            continue
        seen.add(start)
        ends = [start + len(part) for part in parts if name.startswith(part, start)]
        if len(name) in ends:
            return True
        starts += [end + len(_COMMA) for end in ends if name.startswith(_COMMA, end)]
    return False
