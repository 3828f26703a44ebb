"""Compare the groups of a column between the segments and all customers; hide small counts.

Every published number follows from the published counts and the sizes of the segments: a ratio or
Cramér's V discloses no more about a hidden count than those do (`profiling.audit.suppression`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gpuseg.manifest import NOT_DESCRIBED, Audit, AuditedSegment, Ratio
from gpuseg.numerics.intervals import Z_95
from gpuseg.preprocessing.encoding.encoder import MISSING, OTHER
from gpuseg.profiling.audit.suppression import hidden_cells

_MAX_GROUPS = 20

_MAX_SMALL = 300
"""Small counts that are hidden one by one; hiding takes time with their square."""


def audit_column(
    counts: Mapping[tuple[int, str | None], int], segments: Sequence[int], threshold: int
) -> Audit:
    """Return the audit of one column.

    Parameters
    ----------
    counts : mapping
        Customers by segment and value; None is a missing value. `NOT_DESCRIBED` stands for all
        segments that are not described.
    segments : sequence of int
        Segments that are described.
    threshold : int
        Smaller counts are hidden.
    """
    rows = [*segments, *([NOT_DESCRIBED] if any(s == NOT_DESCRIBED for s, _ in counts) else [])]
    groups, table = _table(counts, rows, threshold)
    rows, table = _merge_small(rows, table, threshold)
    hidden = hidden_cells(table, threshold)
    shown = np.where(hidden, -1, table)
    sizes = table.sum(axis=1)
    everyone = shown[-1]
    audited = {
        segment: AuditedSegment(
            counts=_or_none(shown[i]),
            ratios=tuple(
                _ratio(int(shown[i, j]), int(sizes[i]), int(everyone[j]), int(sizes[-1]))
                for j in range(len(groups))
            ),
        )
        for i, segment in enumerate(rows)
    }
    return Audit(
        groups=tuple(groups),
        everyone=_or_none(everyone),
        segments={str(segment): audited[segment] for segment in rows if segment != NOT_DESCRIBED},
        others=audited.get(NOT_DESCRIBED),
        cramers_v=_cramers_v(shown, sizes),
        is_lower_bound=bool(hidden.any()),
        n_hidden=int(hidden.sum()),
        threshold=threshold,
    )


def _table(
    counts: Mapping[tuple[int, str | None], int], segments: Sequence[int], threshold: int
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the groups and their counts; the last row is all customers.

    The groups are in alphabetical order: an order by size would disclose which is larger. Rare
    groups, and those beyond the maximum number, are merged into one, the others. If even that one
    is small, the rarest of the remaining groups joins it.
    """
    totals: dict[str | None, int] = {}
    for (_, value), count in counts.items():
        totals[value] = totals.get(value, 0) + count
    order = sorted(totals, key=lambda value: (-totals[value], value is None, value or ""))
    kept = [value for value in order if totals[value] >= threshold][: _MAX_GROUPS - 1]
    rest = [value for value in order if value not in kept]
    merged: list[str | None] = []
    while rest and kept and sum(totals[value] for value in (*rest, *merged)) < threshold:
        merged.append(kept.pop())
    kept.sort(key=lambda value: (value is None, value or ""))
    columns = [[value] for value in kept] + ([[*merged, *rest]] if rest else [])
    names = [_group_name(value) for value in kept]
    names += [" or ".join([*map(_group_name, merged), OTHER])] if rest else []
    cells = [
        [sum(counts.get((segment, value), 0) for value in column) for column in columns]
        for segment in segments
    ]
    table = np.array(cells, np.int64).reshape(len(segments), len(columns))
    return names, np.vstack([table, table.sum(axis=0)])


def _merge_small(
    rows: Sequence[int], table: NDArray[np.int64], threshold: int
) -> tuple[list[int], NDArray[np.int64]]:
    """Merge the smallest segments into `NOT_DESCRIBED`, so that at most `_MAX_SMALL` are small.

    The last row of the table is all customers; it stays.
    """
    cells, numbers = table[:-1], np.array(rows)
    by_size = np.lexsort((-cells.sum(axis=1), numbers == NOT_DESCRIBED))
    n_small = np.cumsum((cells[by_size] < threshold).sum(axis=1))
    is_kept = np.zeros(len(rows), np.bool_)
    is_kept[by_size[n_small <= _MAX_SMALL]] = True
    is_kept &= numbers != NOT_DESCRIBED
    if is_kept.all():
        return list(rows), table
    merged = cells[~is_kept].sum(axis=0)
    return [*numbers[is_kept].tolist(), NOT_DESCRIBED], np.vstack(
        [cells[is_kept], merged, table[-1]]
    )


def _group_name(value: str | None) -> str:
    return MISSING if value is None else f'"{value}"' if value in (MISSING, OTHER) else value


def _or_none(counts: NDArray[np.int64]) -> tuple[int | None, ...]:
    """Return counts with None for those that are hidden."""
    return tuple(None if count < 0 else int(count) for count in counts)


def _ratio(count: int, size: int, everyone: int, total: int) -> Ratio | None:
    """Return the ratio of two shares with its interval, from the standard error of its logarithm.

    None where one of the counts is hidden or zero.
    """
    if count <= 0 or everyone <= 0:
        return None
    ratio = (count / size) / (everyone / total)
    error = math.sqrt(max(1 / count - 1 / size, 0.0))
    return Ratio(ratio, ratio * math.exp(-Z_95 * error), ratio * math.exp(Z_95 * error))


def _cramers_v(shown: NDArray[np.int64], sizes: NDArray[np.int64]) -> float | None:
    """Return Cramér's V, or a lower bound: groups with a hidden count are merged into one.

    Merging cannot raise χ², which is divided by the maximum for the full table. None where fewer
    than two groups or segments are left.
    """
    is_shown = (shown >= 0).all(axis=0)
    table, n_groups = shown[:-1, is_shown], shown.shape[1]
    if not is_shown.all():
        rest = sizes[:-1] - table.sum(axis=1)
        table = np.column_stack([table, rest])
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0].astype(np.float64)
    if min(table.shape) < 2:
        return None
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi_square = ((table - expected) ** 2 / expected).sum()
    return float(math.sqrt(chi_square / (table.sum() * (min(len(table), n_groups) - 1))))
