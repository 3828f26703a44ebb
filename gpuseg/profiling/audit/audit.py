"""How the make-up of each segment differs from everyone's, with small counts hidden.

All that is said follows from the counts that are shown, and from the sizes of the segments: a ratio
or Cramér's V tells no more of a hidden count than those do (`profiling.audit.suppression`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.numerics.intervals import Z_95
from gpuseg.preprocessing.encoding.encoder import MISSING, OTHER
from gpuseg.profiling.audit.suppression import hidden_cells

_MAX_GROUPS = 20


def audit(
    counts: Mapping[tuple[int, str | None], int], segments: Sequence[int], threshold: int
) -> dict[str, Any]:
    """Return what can be told of one column.

    Parameters
    ----------
    counts : mapping
        Customers by segment and value, None for a missing one.
    segments : sequence of int
    threshold : int
        Smaller counts are hidden.

    Returns
    -------
    dict
        ``groups``: their names; ``everyone``: a count for each, None where it is hidden;
        ``segments``: for each its ``counts``, and the ``ratios`` of its shares to everyone's, each
        with its 95 % interval; ``cramers_v``, of segments and groups, ``at_least`` where it is of
        fewer groups, those that are hidden being one; ``hidden``: how many counts are.
    """
    groups, table = _table(counts, segments, threshold)
    hidden = hidden_cells(table, threshold)
    shown = np.where(hidden, -1, table)
    sizes = table.sum(axis=1)
    everyone = shown[-1]
    return {
        "groups": groups,
        "everyone": _plain(everyone),
        "segments": {
            str(segment): {
                "counts": _plain(shown[i]),
                "ratios": [
                    _ratio(int(shown[i, j]), int(sizes[i]), int(everyone[j]), int(sizes[-1]))
                    for j in range(len(groups))
                ],
            }
            for i, segment in enumerate(segments)
        },
        "cramers_v": _cramers_v(shown, sizes),
        "at_least": bool(hidden.any()),
        "hidden": int(hidden.sum()),
        "threshold": threshold,
    }


def _table(
    counts: Mapping[tuple[int, str | None], int], segments: Sequence[int], threshold: int
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the groups by name, and their counts, with those of everyone last.

    Their order must not tell which is larger. Groups that are rare in all, and those beyond the
    most that are told, are one: others. Where even they are few together, the rarest of the rest is
    taken with them.
    """
    totals: dict[str | None, int] = {}
    for (_, value), count in counts.items():
        totals[value] = totals.get(value, 0) + count
    order = sorted(totals, key=lambda value: (-totals[value], value is None, value or ""))
    kept = [value for value in order if totals[value] >= threshold][: _MAX_GROUPS - 1]
    rest = [value for value in order if value not in kept]
    together: list[str | None] = []
    while rest and kept and sum(totals[value] for value in (*rest, *together)) < threshold:
        together.append(kept.pop())
    kept.sort(key=lambda value: (value is None, value or ""))
    columns = [[value] for value in kept] + ([[*together, *rest]] if rest else [])
    names = [_said(value) for value in kept]
    names += [" or ".join([*map(_said, together), OTHER])] if rest else []
    table = np.array([
        [sum(counts.get((segment, value), 0) for value in own) for own in columns]
        for segment in segments
    ], np.int64).reshape(len(segments), len(columns))  # fmt: skip
    return names, np.vstack([table, table.sum(axis=0)])


def _said(value: str | None) -> str:
    return MISSING if value is None else f'"{value}"' if value in (MISSING, OTHER) else value


def _plain(counts: NDArray[np.int64]) -> list[int | None]:
    return [None if count < 0 else int(count) for count in counts]


def _ratio(count: int, size: int, everyone: int, total: int) -> list[float] | None:
    """Return the ratio of two shares and its interval, by the logarithm's standard error.

    None where one of the counts is hidden, or nothing.
    """
    if count <= 0 or everyone <= 0:
        return None
    ratio = (count / size) / (everyone / total)
    error = math.sqrt(max(1 / count - 1 / size, 0.0))
    return [ratio, ratio * math.exp(-Z_95 * error), ratio * math.exp(Z_95 * error)]


def _cramers_v(shown: NDArray[np.int64], sizes: NDArray[np.int64]) -> float | None:
    """Return Cramér's V, or less: groups with a hidden count are one, as their sums are known.

    That cannot raise χ², which is divided by what the whole table would have. None where it leaves
    fewer than two groups or segments.
    """
    whole = (shown >= 0).all(axis=0)
    table, n_groups = shown[:-1, whole], shown.shape[1]
    if not whole.all():
        rest = sizes[:-1] - table.sum(axis=1)
        table = np.column_stack([table, rest])
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0].astype(np.float64)
    if min(table.shape) < 2:
        return None
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    square = ((table - expected) ** 2 / expected).sum()
    return float(math.sqrt(square / (table.sum() * (min(len(table), n_groups) - 1))))
