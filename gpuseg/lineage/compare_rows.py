"""The older model scores the raw rows of a refresh: for overlap and drift, in one pass."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import registry
from gpuseg.models.base import SegmentModel
from gpuseg.models.scores import Scores
from gpuseg.monitoring.bin_counts import BinCounts
from gpuseg.monitoring.reference import DriftReference
from gpuseg.monitoring.segment_sums import SegmentSums
from gpuseg.numerics.number_positions import NumberPositions
from gpuseg.output_columns import SEGMENT
from gpuseg.record import NOISE
from gpuseg.runtime.executor import ONE_THREAD, TaskContext
from gpuseg.sharding.shard import Block, Shard


@dataclass
class Comparison:
    """Counts of rows by the segments of the older model.

    Attributes
    ----------
    sums : SegmentSums
    bins : BinCounts or None
        None for a model without a reference.
    """

    sums: SegmentSums
    bins: BinCounts | None

    @classmethod
    def merged(cls, parts: Iterable["Comparison"]) -> "Comparison":
        """Add up the counts of parts of the rows, at least one."""
        total, *others = parts
        for other in others:
            total.sums.merge(other.sums)
            if total.bins is not None and other.bins is not None:
                total.bins.merge(other.bins)
        return total


def compare_rows(
    shard: Shard, context: TaskContext, backend: str, model: SegmentModel
) -> Comparison:
    """Score the raw rows of a shard with the older model; the rows stay as they are.

    The shard keeps the segments of its rows as `previous`, and which of them are `previous_far`.

    Parameters
    ----------
    shard : Shard
        With the features of the model, as its encoders give them.
    """
    comparer = _Comparer(model, backend)
    n, columns = shard.n_rows, (SEGMENT, *model.level_columns())
    previous = {column: np.empty(n, np.int32) for column in columns}
    far = np.empty(n, bool)

    def compare(block: Block) -> Comparison:
        scores, is_far, counts = comparer.compare(block.x)
        previous[SEGMENT][block.rows] = scores.segment
        for column, segment in scores.levels.items():
            previous[column][block.rows] = segment
        far[block.rows] = is_far
        return counts

    total = Comparison.merged(shard.map_blocks(context, compare))
    shard.previous, shard.previous_far = previous, far
    return total


class _Comparer:
    """Scores and counts blocks of rows.

    Parameters
    ----------
    model : SegmentModel
    backend : str
    """

    def __init__(self, model: SegmentModel, backend: str) -> None:
        self._model, self._backend = model, backend
        self._reference = model.reference
        self._segments = NumberPositions(np.append(np.int64(NOISE), model.segment_ids))
        if self._reference is None:
            self._far_distance = np.full(len(self._segments), np.inf, np.float32)
        else:
            self._far_distance = self._reference.far_distance
            self._group = group_of_position(self._reference)

    def compare(self, x: NDArray[np.float32]) -> tuple[Scores, NDArray[np.bool_], Comparison]:
        """Return the scores of rows, which of them are far, and their counts."""
        b = registry.get(self._backend)
        z = b.to_host(b.prepare(x.copy(), self._model.feature_transform))
        scores = self._model.score_rows(z, self._backend, ONE_THREAD, with_next=False)
        position = self._segments.of(scores.segment)
        sums = SegmentSums.zeros(self._model.n_clusters)
        is_far = sums.add(position, scores.distance, self._far_distance)
        if self._reference is None:
            return scores, is_far, Comparison(sums, None)
        reference = self._reference
        bins = BinCounts.zeros(len(reference.groups), len(reference.features))
        binned = b.bin_rows(x, reference.edges)
        b.count_bins(binned, self._group[position], bins.counts)
        return scores, is_far, Comparison(sums, bins)


def group_of_position(reference: DriftReference) -> NDArray[np.int32]:
    """Return the group of noise and of each segment; the last one is that of all others."""
    group = np.full(len(reference.segments), len(reference.groups), np.int32)
    group[NumberPositions(reference.segments).of(reference.groups)] = np.arange(
        len(reference.groups), dtype=np.int32
    )
    return group
