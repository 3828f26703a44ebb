"""Score the row groups of a shard, and write its parts: one pass, in which no row stays in memory.

Threads share the parts. A thread decodes, prepares and scores some rows and writes them, and so on.
A model for which a call is expensive, whatever the rows are, scores several parts at a time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.arrow import from_numpy
from gpuseg.io.output.assignments import Part, is_whole, write_part
from gpuseg.io.output.base import Staging
from gpuseg.io.parquet.ids import WrittenIds
from gpuseg.io.parquet.shard_plan import PartPlan, RowGroup, ShardPlan
from gpuseg.io.privacy.pseudonyms import pseudonyms
from gpuseg.models.base import SegmentModel
from gpuseg.models.scores import Scores
from gpuseg.monitoring.row_counts import RowCounter
from gpuseg.output_columns import CONFIDENCE, DISTANCE, SEGMENT
from gpuseg.runtime.executor import ONE_THREAD, TaskContext
from gpuseg.runtime.kept_items import Keep
from gpuseg.scoring.counts import ScoreCounts
from gpuseg.scoring.lookalikes import LIKE_DISTANCE, ROW, LikedScores, Lookalikes
from gpuseg.scoring.prepare_rows import PreparedRows, RowPreparer, kept_rows

Place = tuple[str, int]
"""The name of a file, and the number of a row in it, from 0."""


@dataclass
class ScoredShard:
    """The rows of one worker, which stay in their files.

    Attributes
    ----------
    source : ShardPlan
    kept : bool (n_read,) or None
        Which rows have a segment; None if all have one.
    cache : dict
        See `sharding.shard.Shard`.
    """

    source: ShardPlan
    kept: NDArray[np.bool_] | None = None
    cache: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scoring:
    """How rows are scored.

    Attributes
    ----------
    model : SegmentModel
    backend : str
    staging : Staging or None
        Takes the parts; None writes none, and rows are only counted.
    with_confidence : bool
        Whether the output has the confidence.
    keep_hashes : bool
        Whether there is memory for the hashes of all ids, which are compared afterwards.
    max_threads : int
        Threads for which there is memory.
    lookalikes : Lookalikes or None
        If set, no parts are written: the rows nearest to a segment are returned.
    """

    model: SegmentModel
    backend: str
    staging: Staging | None
    with_confidence: bool
    keep_hashes: bool
    max_threads: int
    lookalikes: Lookalikes | None = None

    @property
    def extra_columns(self) -> list[str]:
        """Output columns in addition to the id, the segment and the distance."""
        return [*self.model.level_columns(), *[CONFIDENCE] * self.with_confidence]

    def counter(self) -> RowCounter:
        """Return what counts rows; for lookalikes the bins are not counted."""
        reference = self.model.reference if self.lookalikes is None else None
        return RowCounter(self.model.segment_ids, reference, self.backend)

    def score(self, z: NDArray[np.float32], context: TaskContext) -> Scores:
        """Return the scores of prepared rows."""
        scores = self.model.score_rows(z, self.backend, context, with_next=self.with_confidence)
        if self.lookalikes is None:
            return scores
        return self.lookalikes.with_distances(scores, z, self.backend, context)


@dataclass(frozen=True)
class ShardScores:
    """What a worker tells of its rows.

    Attributes
    ----------
    parts : list of Part
        Those that were written; not all if there are rows that cannot be scored.
    counts : ScoreCounts
    unseen_places : dict of str to Place
        Where the first unseen category of a column is.
    bad_place : Place or None
        Where the first row is that cannot be scored.
    nearest : Table or None
        The lookalikes among the rows, if some are looked for.
    """

    parts: list[Part]
    counts: ScoreCounts
    unseen_places: dict[str, Place]
    bad_place: Place | None
    nearest: pa.Table | None = None


@dataclass(frozen=True)
class _PartScores:
    part: Part | None
    kept: NDArray[np.bool_] | None
    nearest: pa.Table | None = None


_Task = tuple[PartPlan, list[RowGroup]]
_Scored = tuple[_PartScores, ScoreCounts]


def open_scored(plan: ShardPlan, context: TaskContext) -> ScoredShard:
    """Return the shard of a plan; nothing is read."""
    return ScoredShard(plan)


def score_shard(
    shard: ScoredShard, context: TaskContext, scoring: Scoring, first_row: int
) -> ShardScores:
    """Score all rows of a shard, and write its parts or collect lookalikes.

    Parameters
    ----------
    first_row : int
        The number of the shard's first row in the table.

    Raises
    ------
    DataError
        For files that cannot be decoded, and values of another type than at the fit. Rows that
        cannot be scored are counted.
    ResourceError
        If a part cannot be written, for example because the disk is full.
    """
    plan = shard.source
    context = replace(context, threads=min(context.threads, scoring.max_threads))
    scorer = _Scorer(shard, scoring, context, first_row)
    if scoring.model.rows_per_call():
        scored = scorer.score_together(scoring.model.rows_together(context.threads))
    else:
        scored = context.map(scorer.score_part, scorer.tasks, keep=scorer.keep)
    counts, results = ScoreCounts.zeros(scorer.counter), list[_PartScores]()
    for result, of_part in scored:
        counts.merge(of_part)
        results.append(result)
    if counts.n_dropped:
        masks = [
            np.ones(part.rows, bool) if result.kept is None else result.kept
            for part, result in zip(plan.parts, results, strict=True)
        ]
        shard.kept = np.concatenate(masks)
    nearest = None
    if scoring.lookalikes is not None:
        of_shard = scoring.lookalikes.nearest(plan.id)
        for result in results:
            if result.nearest is not None:
                of_shard.add(result.nearest)
        nearest = of_shard.table()
    pa.default_memory_pool().release_unused()
    return ShardScores(
        [result.part for result in results if result.part is not None],
        counts,
        {column: plan.origin(unseen_rows.row) for column, unseen_rows in counts.unseen.items()},
        None if counts.bad is None else plan.origin(counts.bad.row),
        nearest,
    )


class _Scorer:
    """Scores the parts of a shard, each in one thread or several together."""

    def __init__(
        self, shard: ScoredShard, scoring: Scoring, context: TaskContext, first_row: int
    ) -> None:
        plan, self._first_row = shard.source, first_row
        self._shard, self._plan, self._scoring, self._context = shard, plan, scoring, context
        self.counter = scoring.counter()
        self._preparer = RowPreparer(scoring.model.pipeline, plan, scoring.backend, self.counter)
        groups = iter(plan.groups())
        self.tasks = [(part, [next(groups) for _ in part.row_groups]) for part in plan.parts]
        writes_parts = scoring.staging is not None and scoring.lookalikes is None
        self.keep = Keep(self._is_whole, is_flushed=True) if writes_parts else None

    def score_part(self, task: _Task) -> _Scored:
        """Score and write one part."""
        part, groups = task
        return self._write(part, self._scored(self._prepared(groups), ONE_THREAD))

    def score_together(self, n_rows: int) -> Iterator[_Scored]:
        """Score about so many rows at a time, on all threads; return the parts in order."""
        one_at_a_time = replace(self._context, threads=1)
        keep = None if self.keep is None else Keep(self._are_whole, True, f"{n_rows}-rows")
        scored = one_at_a_time.map(self._score_parts, list(self._groups(n_rows)), keep=keep)
        return chain.from_iterable(scored)

    def _are_whole(self, scored: list[_Scored]) -> bool:
        return all(map(self._is_whole, scored))

    def _is_whole(self, scored: _Scored) -> bool:
        """Return whether the file of a part is there; there is none if a row has no segment."""
        staging, part = self._scoring.staging, scored[0].part
        return staging is not None and part is not None and is_whole(staging, part)

    def _groups(self, n_rows: int) -> Iterator[list[_Task]]:
        """Yield consecutive parts of about so many rows together."""
        waiting, n_waiting = list[_Task](), 0
        for i, task in enumerate(self.tasks, 1):
            waiting.append(task)
            n_waiting += task[0].rows
            if n_waiting >= n_rows or i == len(self.tasks):
                yield waiting
                waiting, n_waiting = [], 0

    def _score_parts(self, tasks: list[_Task]) -> list[_Scored]:
        prepared = list(self._context.map(lambda task: list(self._prepared(task[1])), tasks))
        scored: list[list[tuple[PreparedRows, Scores | None]]]
        if any(rows.bad for part in prepared for rows in part):
            scored = [[(rows, None) for rows in part] for part in prepared]
        else:
            z = np.concatenate([rows.z for part in prepared for rows in part])
            scores, start = self._scoring.score(z, self._context), 0
            scored = []
            for part in prepared:
                scored.append([])
                for rows in part:
                    of_rows = slice(start, start + len(rows.z))
                    scored[-1].append((rows, _some(scores, of_rows)))
                    start += len(rows.z)
        parts = [(task[0], rows) for task, rows in zip(tasks, scored, strict=True)]
        return list(self._context.map(lambda each: self._write(each[0], iter(each[1])), parts))

    def _prepared(self, groups: list[RowGroup]) -> Iterator[PreparedRows]:
        for group in groups:
            for batch in self._plan.scored_batches(group):
                rows = self._preparer.prepare(batch.columns, batch.start)
                del batch  # the next rows take its memory
                yield rows
                del rows

    def _scored(
        self, prepared: Iterator[PreparedRows], context: TaskContext
    ) -> Iterator[tuple[PreparedRows, Scores | None]]:
        """Yield rows with their scores, or with None from the first row that has none."""
        is_bad = False
        for rows in prepared:
            is_bad = is_bad or rows.bad is not None
            yield rows, None if is_bad else self._scoring.score(rows.z, context)
            del rows  # the next rows take its memory

    def _write(
        self, part: PartPlan, scored: Iterator[tuple[PreparedRows, Scores | None]]
    ) -> _Scored:
        """Write a part, and count its rows; from the first row without a segment, only count."""
        plan, scoring = self._plan, self._scoring
        if scoring.lookalikes is not None:
            return self._collect(scoring.lookalikes, scored)
        staging = scoring.staging
        if staging is None:
            return self._only_count(scored)
        counts = ScoreCounts.zeros(self.counter)
        written, kept = WrittenIds(scoring.keep_hashes), list[NDArray[np.bool_]]()

        def columns() -> Iterator[list[Any]]:
            for rows, scores in scored:
                self._count(counts, rows, scores)
                mask = np.ones(rows.n_read, bool) if rows.kept is None else rows.kept
                kept.append(mask)
                if scores is None:
                    self._context.report(rows.n_read)
                    continue
                if rows.ids is not None:
                    written.add(rows.ids, mask)
                yield _output_columns(plan, scoring, rows, scores)
                del rows, scores  # the next rows take their memory

        ids = [] if plan.id is None else [plan.id]
        names = [*ids, SEGMENT, DISTANCE, *scoring.extra_columns, *plan.carried]
        batches = columns()
        first, result = next(batches, None), None
        if first is not None:
            all_batches = chain([first], batches)
            result = write_part(staging, part, plan, names, all_batches, self._context)
            result = replace(result, ids=written.range())
            written.keep_in(self._shard.cache, part)
        mask = np.concatenate(kept) if counts.n_dropped else None
        return _PartScores(result, mask), counts

    def _only_count(self, scored: Iterator[tuple[PreparedRows, Scores | None]]) -> _Scored:
        """Count the rows of a part, and write nothing."""
        counts = ScoreCounts.zeros(self.counter)
        for rows, scores in scored:
            self._count(counts, rows, scores)
            self._context.report(rows.n_read)
            del rows, scores  # the next rows take their memory
        return _PartScores(None, None), counts

    def _collect(
        self, lookalikes: Lookalikes, scored: Iterator[tuple[PreparedRows, Scores | None]]
    ) -> _Scored:
        """Keep the lookalikes of a part, and count its rows."""
        plan, scoring = self._plan, self._scoring
        counts, nearest = ScoreCounts.zeros(self.counter), lookalikes.nearest(plan.id)
        ids = [] if plan.id is None else [plan.id]
        names = [*ids, SEGMENT, DISTANCE, *scoring.extra_columns, *plan.carried]
        for rows, scores in scored:
            self._count(counts, rows, scores)
            self._context.report(rows.n_read)
            if isinstance(scores, LikedScores):
                columns = dict(
                    zip(names, _output_columns(plan, scoring, rows, scores), strict=True)
                )
                columns[LIKE_DISTANCE] = from_numpy(scores.like_distance)
                columns[ROW] = from_numpy(rows.numbers() + self._first_row)
                nearest.add(lookalikes.candidates(pa.table(columns)))
        return _PartScores(None, None, nearest.table()), counts

    def _count(self, counts: ScoreCounts, rows: PreparedRows, scores: Scores | None) -> None:
        """Count prepared rows, and their scores if they have some."""
        counts.n_dropped += rows.n_read - len(rows.z)
        counts.add_prepared(rows.missing, rows.clipped, rows.unseen)
        if rows.bad is not None:
            counts.add_bad(rows.bad)
        if scores is not None:
            self.counter.add(counts.rows, scores.segment, scores.distance, rows.bins)


def _output_columns(
    plan: ShardPlan, scoring: Scoring, rows: PreparedRows, scores: Scores
) -> list[pa.Array]:
    """Return the columns of the output, in their order."""
    columns = [scores.segment, scores.distance, *scores.levels.values()]
    if scores.confidence is not None:
        columns.append(scores.confidence)
    results = [from_numpy(column) for column in columns]
    if rows.ids is not None:
        shown = rows.ids if plan.id_key is None else pseudonyms(rows.ids, plan.id_key)
        results.insert(0, kept_rows(shown, rows.kept))
    return [*results, *(kept_rows(column, rows.kept) for column in rows.carried)]


def _some(scores: Scores, rows: slice) -> Scores:
    """Return the scores of some rows."""

    def some(column: Any) -> Any:
        if isinstance(column, Mapping):
            return {name: values[rows] for name, values in column.items()}
        return None if column is None else column[rows]

    return type(scores)(**{name: some(column) for name, column in vars(scores).items()})
