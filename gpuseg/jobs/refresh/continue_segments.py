"""Give the segments of a new fit the numbers of the older ones that survive in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.data_statistics import measure_prepared
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.refresh.continuation import Continuation
from gpuseg.jobs.refresh.levels import first_lineages, sizes_at_fit
from gpuseg.jobs.stages.preprocess import PreprocessedRows
from gpuseg.lineage.ancestry import continue_lineage, first_lineage
from gpuseg.lineage.events import SegmentNames, definition
from gpuseg.lineage.matching import Matching, match_segments
from gpuseg.lineage.overlap import OverlapTable, count_overlap
from gpuseg.models.base import SegmentModel
from gpuseg.models.identity import SegmentIdentity
from gpuseg.models.kmeans import KMeansModel
from gpuseg.output_columns import SEGMENT
from gpuseg.refresh_record import Definition, Lineage
from gpuseg.segmentation.base import SegmentationResult
from gpuseg.segmentation.renumber import renumber


@dataclass(frozen=True)
class MatchedLevel:
    """The segments of one level before and now.

    Attributes
    ----------
    column : str
        Column of the output.
    table : OverlapTable
        With positions in `now`.
    matching : Matching
    """

    column: str
    table: OverlapTable
    matching: Matching


@dataclass(frozen=True)
class NumberedSegments:
    """Segments with their numbers.

    Attributes
    ----------
    result : SegmentationResult
    lineage : tuple of Lineage
        By level.
    levels : list of MatchedLevel
        Empty if no older output is continued.
    """

    result: SegmentationResult
    lineage: tuple[Lineage, ...]
    levels: list[MatchedLevel] = field(default_factory=list)

    def definitions(self, continuation: Continuation, names: Mapping[int, str]) -> list[Definition]:
        """Return how the definition of the segments moved, by level.

        Parameters
        ----------
        names : mapping of int to str
            Of the new segments.
        """
        of_segments = SegmentNames(continuation.older.segment_names, names)
        return [
            definition(
                level.column, level.table, level.matching, continuation.thresholds,
                of_segments if level.column == SEGMENT else None,
            )
            for level in self.levels
        ]  # fmt: skip


def number_segments(
    ctx: RunContext,
    continuation: Continuation | None,
    prepared: PreprocessedRows,
    result: SegmentationResult,
) -> NumberedSegments:
    """Give segments their numbers: those from 0 on, or those of the older ones that survive.

    The levels of a hierarchy are matched each by themselves.

    Raises
    ------
    CacheLost
        When a worker was lost with the labels.
    """
    model, levels = result.model, result.model.n_clusters_by_column()
    if continuation is None:
        lineage = first_lineages(model, ctx.run_id)
        return NumberedSegments(with_lineage(result, lineage), lineage)
    matched = _matched_levels(ctx, continuation, model)
    identity = _identity(ctx, continuation, levels, matched)
    statistics = measure_prepared(ctx.executor, ctx.backend, prepared.fit)
    numbered = renumber(ctx.executor, ctx.backend, statistics, result, identity)
    return NumberedSegments(numbered, identity.lineage, matched)


def _identity(
    ctx: RunContext,
    continuation: Continuation,
    levels: Mapping[str, int],
    matched: Sequence[MatchedLevel],
) -> SegmentIdentity:
    """Return the numbers and the lineage of all levels; those of the finest one are the segments'.

    A level that the older output does not have begins with this run.
    """
    ids, lineages = {}, {}
    by_column = {level.column: level for level in matched}
    for column, k in levels.items():
        if column in by_column:
            ids[column] = by_column[column].matching.ids
            lineages[column] = _lineage(ctx, continuation, by_column[column])
        else:
            lineages[column] = first_lineage(np.arange(k), ctx.run_id, column)
    finest = list(levels)[-1]
    if finest != SEGMENT:
        ids[finest] = ids[SEGMENT]
        lineages[finest] = lineages[SEGMENT].model_copy(update={"column": finest})
    return SegmentIdentity(ids, tuple(lineages.values()))


def with_lineage(result: SegmentationResult, lineage: tuple[Lineage, ...]) -> SegmentationResult:
    """Return the result with the lineage in its model, if its class has a place for it."""
    model = result.model
    if not model.keeps_identity:
        return result
    return result.with_model(model.with_identity(SegmentIdentity(model.identity.ids, lineage)))


def _matched_levels(
    ctx: RunContext, continuation: Continuation, model: SegmentModel
) -> list[MatchedLevel]:
    """Match the segments of each level that both outputs have.

    The column of the finest level has the numbers of `segment`; so it goes on only if it was the
    finest one before.
    """
    before, now = (list(each.n_clusters_by_column()) for each in (continuation.model, model))
    matched = [
        _matched(ctx, continuation, model, column, number)
        for number, column in enumerate(now)
        if column == SEGMENT or (column in before and column != now[-1])
    ]
    if now[-1] != SEGMENT and now[-1] == before[-1]:
        matched.append(replace(matched[0], column=now[-1]))
    return matched


def _matched(
    ctx: RunContext, continuation: Continuation, model: SegmentModel, column: str, number: int
) -> MatchedLevel:
    """Match the segments of a level; `segment` is number 0, the others are those of the shards."""
    older, n_old = continuation.older, continuation.model.n_clusters_by_column()[column]
    position = None if column == SEGMENT else number - 1
    table = OverlapTable.merged(ctx.executor.map(count_overlap, column, position))
    before = next((each for each in older.lineage if each.column == column), None)
    old_ids = older.model.identity.of(column, n_old)
    if continuation.mode == "append":  # the centers are the older ones, in their order
        return MatchedLevel(column, table, same_segments(table, old_ids, before))
    matching = match_segments(
        table,
        old_ids,
        model.n_clusters_by_column()[column],
        continuation.thresholds,
        *_centers(older.model, model, column),
        old_sizes=sizes_at_fit(older.model, column),
        next_segment=None if before is None else before.next_segment,
    )
    return MatchedLevel(column, table, matching)


def same_segments(table: OverlapTable, ids: NDArray[np.int32], lineage: Lineage | None) -> Matching:
    """Return that all segments are the older ones."""
    first_free = int(ids.max(initial=-1)) + 1
    counter = first_free if lineage is None else lineage.next_segment
    return Matching(ids, ids, np.ones(len(ids), bool), counter, {}, table)


def _lineage(ctx: RunContext, continuation: Continuation, level: MatchedLevel) -> Lineage:
    older = continuation.older
    before = next((each for each in older.lineage if each.column == level.column), None)
    return continue_lineage(
        before, level.matching, ctx.run_id, level.column, old_run_id=older.fit.run_id
    )


def _centers(
    older: SegmentModel, newer: SegmentModel, column: str
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return old and new centers in the scaled units of the old model; None if there are none."""
    if not (isinstance(older, KMeansModel) and isinstance(newer, KMeansModel)):
        return None, None
    transform = older.feature_transform
    return older.centers.values, transform.apply(newer.cluster_centers_)
