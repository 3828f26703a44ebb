"""The rule of a linkage matrix: its merges are one tree."""

from collections.abc import Sequence


def is_tree(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether each pair joins points or results of earlier pairs, and each of these only once.

    Parameters
    ----------
    pairs : sequence of (float, float)
        Of m pairs, 0 to m are the points, and m + 1 + i is the result of pair i.
    """
    joined: set[float] = set()
    for result, pair in enumerate(pairs, len(pairs) + 1):
        for child in pair:
            if not 0 <= child < result or child % 1 or child in joined:
                return False
            joined.add(child)
    return True
