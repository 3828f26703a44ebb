"""The overlap table: how many rows an old model has in one segment, and a new one in another.

Both models score the same rows, so that no join by id is needed. Counts are integers: tables of
parts of the rows add up to that of all rows, in any order.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gpuseg.record import NOISE
from gpuseg.refresh_record import OverlapCell
from gpuseg.runtime.executor import CacheLost, TaskContext
from gpuseg.sharding.shard import Shard

_ROWS = 2**18
"""Rows that are counted at a time: what is computed for them stays in the cache."""

_MAX_DENSE = 2**18
"""Cells, empty ones included, up to which all are counted; beyond it, only those with rows."""


def _no_counts() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """Counts of rows by their segments before and now; cells without rows are left out.

    Attributes
    ----------
    before : int64 (m,)
        Segment by the old model, as it numbers them; -1 is noise.
    now : int64 (m,)
        Position of the segment among those of the new fit, from 0 on; -1 is noise. Once the new
        segments have numbers (`renumbered`), their number.
    rows : int64 (m,)
        Rows of the cell, at least 1.
    far : int64 (m,)
        Those of them that lie outside of the old segment, see `refresh_record.OverlapCell`.

    Cells are in the order of `before`, then `now`, and no two have the same of both.
    """

    before: NDArray[np.int64] = field(default_factory=_no_counts)
    now: NDArray[np.int64] = field(default_factory=_no_counts)
    rows: NDArray[np.int64] = field(default_factory=_no_counts)
    far: NDArray[np.int64] = field(default_factory=_no_counts)

    @classmethod
    def of(
        cls,
        before: NDArray[np.integer],
        now: NDArray[np.integer],
        far: NDArray[np.bool_] | None = None,
    ) -> "OverlapTable":
        """Count rows.

        Parameters
        ----------
        before, now : int (n,)
            Segments of each row; at least -1.
        far : bool (n,), optional
            Which rows lie outside of their old segment; by default none.
        """
        if not len(before):
            return cls()
        height, width = int(before.max()) + 2, int(now.max()) + 2  # noise comes first
        codes = before.astype(np.int64)
        codes -= NOISE
        codes *= width
        codes += now
        codes -= NOISE
        codes *= 2
        if far is not None:
            codes += far
        used, counts = _counted(codes, 2 * height * width)
        cells, is_far = used >> 1, used & 1
        return cls._summed(cells // width + NOISE, cells % width + NOISE, counts, counts * is_far)

    @classmethod
    def merged(cls, tables: Iterable["OverlapTable"]) -> "OverlapTable":
        """Add up the tables of parts of the rows."""
        parts = [cls(), *tables]
        before, now, rows, far = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("before", "now", "rows", "far")
        )
        return cls._summed(before, now, rows, far)

    @classmethod
    def _summed(
        cls,
        before: NDArray[np.int64],
        now: NDArray[np.int64],
        rows: NDArray[np.int64],
        far: NDArray[np.int64],
    ) -> "OverlapTable":
        """Sort cells, and add up those that are the same."""
        order = np.lexsort((now, before))
        order = order[rows[order] > 0]
        if not len(order):
            return cls()
        before, now = before[order], now[order]
        is_new = np.append(True, (np.diff(before) != 0) | (np.diff(now) != 0))
        first = np.flatnonzero(is_new)
        return cls(
            before[first],
            now[first],
            np.add.reduceat(rows[order], first),
            np.add.reduceat(far[order], first),
        )

    @property
    def inside(self) -> NDArray[np.int64]:
        """Rows of each cell that lie inside of the old segment, int64 (m,)."""
        return self.rows - self.far

    @property
    def n_rows(self) -> int:
        """All rows, int."""
        return int(self.rows.sum())

    def merge(self, other: "OverlapTable") -> "OverlapTable":
        """Add the table of other rows."""
        return self.merged((self, other))

    def renumbered(self, ids: NDArray[np.integer]) -> "OverlapTable":
        """Return the table with numbers of the new segments in place of their positions.

        Parameters
        ----------
        ids : int (k,)
            Number of each new segment, by position.
        """
        with_noise = np.append(ids.astype(np.int64), NOISE)  # -1 is the last index
        return self._summed(self.before, with_noise[self.now], self.rows, self.far)

    def cells(self) -> tuple[OverlapCell, ...]:
        """Return the cells as records."""
        columns = (self.before, self.now, self.rows, self.far)
        return tuple(map(OverlapCell._make, zip(*(x.tolist() for x in columns), strict=True)))


def count_overlap(
    shard: Shard, context: TaskContext, column: str, model: int | None = None
) -> OverlapTable:
    """Count the rows of a shard by their segments in the old and the new model.

    Parameters
    ----------
    shard : Shard
        With `previous`, and with labels by position.
    column : str
        Column of the output: ``segment``, or that of a level of a hierarchy.
    model : int, optional
        Which of `Shard.labels_by_model` are the new labels; by default `Shard.labels` are.

    Raises
    ------
    CacheLost
        If the shard was rebuilt since its rows got labels.
    """
    before = shard.previous.get(column)
    now = shard.labels if model is None else _labels_of(shard, model)
    if before is None or now is None:
        raise CacheLost
    far = shard.previous_far

    def count(start: int) -> OverlapTable:
        rows = slice(start, start + _ROWS)
        return OverlapTable.of(before[rows], now[rows], None if far is None else far[rows])

    return OverlapTable.merged(context.map(count, range(0, len(before), _ROWS)))


def _labels_of(shard: Shard, model: int) -> NDArray[np.int32] | None:
    return shard.labels_by_model[model] if model < len(shard.labels_by_model) else None


def _counted(codes: NDArray[np.int64], n_codes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the codes that occur, ascending, and how often."""
    if n_codes > _MAX_DENSE:
        return np.unique_counts(codes)
    counts = np.bincount(codes, minlength=n_codes).astype(np.int64)
    used = np.flatnonzero(counts)
    return used, counts[used]
