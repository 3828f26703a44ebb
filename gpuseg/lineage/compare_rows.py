"""The older model scores the raw rows of a refresh: for overlap and drift, in one pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.errors import DataError
from gpuseg.formatting import count
from gpuseg.models.base import SegmentModel
from gpuseg.monitoring.row_counts import RowCounter, RowCounts
from gpuseg.numerics.distance_metrics import outside_values
from gpuseg.output_columns import SEGMENT
from gpuseg.preprocessing.row_problems import rule_of_row
from gpuseg.runtime.executor import ONE_THREAD, TaskContext
from gpuseg.sharding.shard import Block, Shard

_COPIED_VALUES = 2**18
"""Values of a block that are copied and prepared at a time: they stay in the cache."""


def compare_rows(
    shard: Shard, context: TaskContext, backend: str, model: SegmentModel
) -> RowCounts:
    """Score the raw rows of a shard with the older model, and count them; they stay as they are.

    The shard keeps the segments of its rows as `previous`, and as `previous_far` which of them are
    far if the model has a reference.

    Parameters
    ----------
    shard : Shard
        With the features of the model, as its encoders give them.

    Raises
    ------
    DataError
        For rows that the model cannot score.
    """
    comparer = _Comparer(shard, backend, model)
    if model.rows_per_call():
        parts = comparer.compare_together(context, model.rows_together(context.threads))
    else:
        parts = shard.map_blocks(context, comparer.compare)
    total = comparer.counter.zeros()
    for counts in parts:
        total.merge(counts)
    shard.previous = comparer.previous
    shard.previous_far = None if model.reference is None else comparer.far
    return total


@dataclass(frozen=True)
class _PreparedRows:
    """Rows of a shard as the model scores them, float32 (n, p), and their bins."""

    rows: slice
    z: NDArray[np.float32]
    bins: Any


class _Comparer:
    """Scores and counts the rows of a shard.

    Attributes
    ----------
    previous : dict of str to int32 (n,)
    far : bool (n,)
        Both are complete once all rows are compared.
    """

    def __init__(self, shard: Shard, backend: str, model: SegmentModel) -> None:
        self._shard, self._backend, self._model = shard, registry.get(backend), model
        self.counter = RowCounter(model.segment_ids, model.reference, backend)
        columns = (SEGMENT, *model.level_columns())
        self.previous = {column: np.empty(shard.n_rows, np.int32) for column in columns}
        self.far = np.empty(shard.n_rows, np.bool_)

    def compare(self, block: Block) -> RowCounts:
        """Compare the rows of a block, in one thread."""
        counts = self.counter.zeros()
        for rows in self._prepared(block):
            counts.merge(self._compare(rows, ONE_THREAD))
        return counts

    def compare_together(self, context: TaskContext, n_rows: int) -> Iterator[RowCounts]:
        """Compare at least so many rows at a time, on all threads."""
        waiting, n_waiting = list[_PreparedRows](), 0
        for prepared in self._shard.map_blocks(context, lambda block: list(self._prepared(block))):
            waiting += prepared
            n_waiting += sum(len(rows.z) for rows in prepared)
            if n_waiting >= n_rows:
                yield self._compare(self._joined(waiting), context)
                waiting, n_waiting = [], 0
        if n_waiting:
            yield self._compare(self._joined(waiting), context)

    def _prepared(self, block: Block) -> Iterator[_PreparedRows]:
        step = max(_COPIED_VALUES // block.x.shape[1], 1)
        for start in range(0, len(block.x), step):
            x = block.x[start : start + step]
            first = block.rows.start + start
            bins = self.counter.bins(x)
            with np.errstate(all="ignore"):
                z = self._backend.prepare(x.copy(), self._model.feature_transform)
            z = self._backend.to_host(z)
            self._check(z, x, first)
            yield _PreparedRows(slice(first, first + len(z)), z, bins)

    def _check(self, z: NDArray[np.float32], x: Any, first: int) -> None:
        """Refuse rows without a distance; `x` are the raw ones, from row `first` of the shard."""
        metric = self._model.pipeline.metric
        is_bad, outside = ~np.isfinite(z), outside_values(z, metric)
        if outside is not None:
            is_bad |= outside
        if is_bad.any():
            rows = np.flatnonzero(is_bad.any(axis=1))
            raw = self._backend.to_host(x[rows[0] : rows[0] + 1])
            raise DataError(
                "rows.not_scored",
                f"the older model cannot score {count(rows.size, 'row')}, the first is row "
                f"{self._shard.first_row + first + int(rows[0])} of the data (rows count from 0)",
                rule=rule_of_row(raw, self._model.feature_transform, metric),
                hint="correct it, or leave the row out",
            )

    def _joined(self, parts: list[_PreparedRows]) -> _PreparedRows:
        bins = None
        if self._model.reference is not None:
            bins = np.concatenate([self._backend.to_host(part.bins) for part in parts])
        z = np.concatenate([part.z for part in parts])
        return _PreparedRows(slice(parts[0].rows.start, parts[-1].rows.stop), z, bins)

    def _compare(self, prepared: _PreparedRows, context: TaskContext) -> RowCounts:
        counts, rows = self.counter.zeros(), prepared.rows
        scores = self._model.score_rows(prepared.z, self._backend.name, context, with_next=False)
        self.previous[SEGMENT][rows] = scores.segment
        for column, segment in scores.levels.items():
            self.previous[column][rows] = segment
        self.far[rows] = self.counter.add(counts, scores.segment, scores.distance, prepared.bins)
        return counts
