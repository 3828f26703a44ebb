"""Join the customers of two outputs by id, out of core.

Blocks of rows whose least and greatest ids are known are cut into windows of ids. A window is read
from both outputs and joined in memory. All windows, in their order, give the changes in the order
of the ids. The blocks are the row groups of the parts where few of them have ids between the same
bounds, as with ids that rise. Otherwise the rows are sorted on the scratch disk first.

The result does not depend on the order of the rows, on their parts, or on the number of threads.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy
from gpuseg.lineage.changes import FROM, TO
from gpuseg.lineage.id_blocks import IdBlocks, IdWindow, are_apart, cut_windows, rows_between
from gpuseg.lineage.id_keys import IdKeys
from gpuseg.lineage.labels import ABSENT, REPEATED
from gpuseg.lineage.row_groups import LabeledGroups, RowGroups
from gpuseg.lineage.sorted_runs import SortedRuns
from gpuseg.runtime.executor import TaskContext
from gpuseg.runtime.temporary_folder import temporary_folder

_WINDOW_BYTES, _WINDOW_BYTES_PER_ID_BYTE = 1024, 24
"""Memory for each row of a window: the rows, copies of them, and changes that wait for the disk."""

_RUN_BYTES, _RUN_BYTES_PER_ID_BYTE = 64, 5
"""Memory for each row that is sorted."""

_LEAST_ROWS, _MOST_ROWS = 2**14, 2**19

_CODES = 2**20
"""Cells of a table of counts that is filled in place."""

Cells = Counter[tuple[int, int]]
"""Customers by their labels in both outputs."""


class SegmentJoin:
    """The join of two outputs.

    Parameters
    ----------
    older, newer : LabeledGroups
    keys : IdKeys
    context : TaskContext
    memory_limit : int
        Bytes that the join may take.
    is_whole : bool
        Whether customers that the newer output does not have are changes: they have left.
    """

    def __init__(
        self,
        older: LabeledGroups,
        newer: LabeledGroups,
        keys: IdKeys,
        context: TaskContext,
        memory_limit: int,
        is_whole: bool = True,
    ) -> None:
        self._is_whole = is_whole
        self._groups = {"older": older, "newer": newer}
        self._keys, self._context = keys, context
        size = keys.bytes_per_id
        share = memory_limit // context.threads
        rows = share // (_WINDOW_BYTES + _WINDOW_BYTES_PER_ID_BYTE * size)
        self._window_rows = min(max(rows, _LEAST_ROWS), _MOST_ROWS)
        self._run_rows = max(share // (_RUN_BYTES + _RUN_BYTES_PER_ID_BYTE * size), _LEAST_ROWS)
        self.cells: Cells = Counter()
        self.missing = {"older": 0, "newer": 0}

    def changes(self) -> Generator[pa.Table, None, None]:
        """Yield the changes in the order of the ids; then the counts are complete."""
        with ExitStack() as stack:
            older, newer = (self._blocks(which, stack) for which in ("older", "newer"))
            windows = cut_windows(older.blocks, newer.blocks, 2 * self._window_rows)

            def join(window: IdWindow) -> tuple[Cells, pa.Table]:
                before = rows_between(older, window.older, self._keys, window)
                now = rows_between(newer, window.newer, self._keys, window)
                cells, table = joined(self._keys, *self._keys.align(before, now))
                if not self._is_whole:
                    table = table.filter(pc.is_valid(table[TO]))
                return cells, table

            for cells, table in self._context.map(join, windows, self._groups["newer"].rows):
                self.cells.update(cells)
                yield table

    def _blocks(self, which: str, stack: ExitStack) -> IdBlocks:
        """Return the rows of an output in blocks of few ids between the same bounds."""
        groups = self._groups[which]
        direct = RowGroups(groups, self._keys)
        if not groups.groups or (direct.blocks and are_apart(direct.blocks, self._window_rows)):
            self.missing[which] = sum(group.missing or 0 for group in groups.groups)
            return direct
        runs = SortedRuns(groups, self._keys, stack.enter_context(temporary_folder()), which)
        runs.write(self._context, self._run_rows)
        self.missing[which] = runs.missing
        return runs


def joined(
    keys: IdKeys, ids: Any, before: NDArray[np.int32], now: NDArray[np.int32]
) -> tuple[Cells, pa.Table]:
    """Return the cells of ids and their labels in both outputs, and the changes by id."""
    changed = np.flatnonzero((before != now) & (before != REPEATED) & (now != REPEATED))
    changed_ids = keys.take(ids, changed)
    if not keys.rising(changed_ids):
        order = keys.sorted_order(changed_ids)
        changed_ids, changed = keys.take(changed_ids, order), changed[order]
    columns = [_segments(before[changed]), _segments(now[changed])]
    table = pa.table([keys.to_arrow(changed_ids), *columns], names=["id", FROM, TO])
    return count_cells(before, now), table


def count_cells(before: NDArray[np.int32], now: NDArray[np.int32]) -> Cells:
    """Count the customers by their labels, without ids that are repeated."""
    least = int(REPEATED)
    size = int(max(before.max(initial=least), now.max(initial=least))) - least + 1
    code = (before.astype(np.int64) - least) * size + (now.astype(np.int64) - least)
    if size**2 <= _CODES:
        counts = np.bincount(code)
        codes = np.flatnonzero(counts)
        counts = counts[codes]
    else:
        codes, counts = np.unique(code, return_counts=True)
    pairs = zip((codes // size + least).tolist(), (codes % size + least).tolist(), strict=True)
    counted = zip(pairs, counts.tolist(), strict=True)
    return Counter({pair: n for pair, n in counted if least not in pair})


def _segments(labels: NDArray[np.int32]) -> pa.Array:
    """Return labels as segments; absent ones are null."""
    # A null scalar would make Arrow import pandas, which takes 0.1 s.
    absent = pa.nulls(len(labels), pa.int32())
    return pc.if_else(from_numpy(labels == ABSENT), absent, from_numpy(labels))
