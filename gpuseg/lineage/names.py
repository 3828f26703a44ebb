"""Names follow the ids of segments, unless the numbers that a name speaks of changed."""

from collections.abc import Mapping, Sequence

from gpuseg.manifest import FeatureSummary, Segment


def carried_names(
    segments: Sequence[Segment],
    old_names: Mapping[int, str],
    features: Mapping[str, FeatureSummary],
) -> tuple[dict[int, str], dict[int, str]]:
    """Return the name of each segment, and the older name of those that have another one now.

    Parameters
    ----------
    segments : sequence of Segment
        Of the new output, with their numbers and the names that they would have without history.
    old_names : mapping of int to str
        Names in the older output, by number.
    features : mapping of str to FeatureSummary
        Features of the new output.
    """
    names = {each.segment: each.name for each in segments if each.name is not None}
    previous = {
        number: old_names[number]
        for number, name in names.items()
        if old_names.get(number, name) != name
    }
    return names, previous
