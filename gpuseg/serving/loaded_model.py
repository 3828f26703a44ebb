"""A model in memory, warm, with all that its answers need."""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.models.base import SegmentModel
from gpuseg.models.loading import SavedOutput
from gpuseg.models.scores import Scores
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, is_number
from gpuseg.preprocessing.pipeline import UnseenCategory
from gpuseg.preprocessing.row_problems import RowProblem
from gpuseg.printable import printable
from gpuseg.scoring.score_rows import RowScorer, ScoredRows
from gpuseg.serving.request_columns import request_columns
from gpuseg.serving.request_rows import RequestRows, RowForms

MAX_PROBLEMS = 100
"""Most rows of a request of which the answer tells the problem."""

_BACKEND = "numba"
"""Rows of requests are few: a GPU would take longer to get them than to score them."""


@dataclass(frozen=True)
class RequestScores:
    """What became of the rows of a request.

    Attributes
    ----------
    scores : Scores (m,)
        Of the rows that can be scored.
    n_rows : int
    rows : int64 (m,)
        The positions of the rows with scores in the request, increasing.
    problems : sequence of RowProblem
        Why the others have none, of the first `MAX_PROBLEMS` at least.
    unseen : sequence of UnseenCategory
    """

    scores: Scores
    n_rows: int
    rows: NDArray[np.int64]
    problems: Sequence[RowProblem] = ()
    unseen: Sequence[UnseenCategory] = ()

    @property
    def n_wrong(self) -> int:
        """Rows without scores."""
        return self.n_rows - len(self.rows)


class _NumberSchema(NamedTuple):
    """A schema with the columns of a model, all of them numbers."""

    schema: pa.Schema
    are_float64: bool


class LoadedModel:
    """A model that answers requests; all of its methods may be called by several threads.

    Parameters
    ----------
    saved : SavedOutput
    report : bytes or None
        The HTML report of the output.

    Attributes
    ----------
    columns : tuple of RequestColumn
    forms : RowForms
    run_id : str
        Of a model without the output around it, what stands for its run.
    """

    def __init__(self, saved: SavedOutput, report: bytes | None = None) -> None:
        self.model: SegmentModel = saved.model
        self.manifest, self.report = saved.manifest, report
        self.run_id = printable(saved.run_id or _digest(self.model))
        self.segment_names = saved.segment_names
        self.columns = request_columns(self.model.pipeline)
        self.forms = RowForms(self.columns)
        self._last_numbers: _NumberSchema | None = None
        self._pack = struct.Struct(f"={len(self.columns)}d").pack
        self._scorers = {
            with_next: RowScorer(
                self.model, with_next=with_next, backend=_BACKEND, n_threads=1,
                max_problems=MAX_PROBLEMS,
            )
            for with_next in (False, True)
        }  # fmt: skip
        self._warm_up()

    def score(self, rows: RequestRows, *, with_next: bool) -> RequestScores:
        """Return the scores of rows of a request."""
        scorer, n_rows = self._scorers[with_next], len(rows.rows)
        if rows.are_numbers:
            try:
                return _of_request(scorer.score_table(self._matrix(rows.rows)), n_rows)
            except OverflowError:  # an integer beyond float64
                rows = RequestRows([dict(zip(self.forms.names, row)) for row in rows.rows])  # noqa: B905 - both have the columns
        return _of_request(scorer.score(rows.rows), n_rows)

    def score_table(self, table: pa.Table, *, with_next: bool) -> RequestScores:
        """Return the scores of a table.

        Raises
        ------
        DataError
            For a column that is missing, or has another type than at the fit.
        """
        X = self._as_matrix(table) if self.forms.are_numbers else None
        scorer = self._scorers[with_next]
        return _of_request(scorer.score_table(table if X is None else X), len(table))

    def has_only_numbers(self, schema: pa.Schema) -> bool:
        """Return whether a table has the columns of the model in their order, and all are numbers.

        Clients send the same schema again and again: it is looked at once.
        """
        return self._numbers_of(schema) is not None

    def _numbers_of(self, schema: pa.Schema) -> "_NumberSchema | None":
        last = self._last_numbers
        if last is not None and schema.equals(last.schema):
            return last
        has_columns = self.forms.are_numbers and tuple(schema.names) == self.forms.names
        if not has_columns or not all(map(is_number, schema.types)):
            return None
        self._last_numbers = _NumberSchema(schema, set(schema.types) == {pa.float64()})
        return self._last_numbers

    def _as_matrix(self, table: pa.Table) -> NDArray[Any] | None:
        """Return the columns as an array, which is scored faster; None if one has no numbers."""
        numbers = self._numbers_of(table.schema)
        if numbers is None:
            table = table.select(self.forms.names)
            if not all(map(is_number, table.schema.types)):
                return None
        batches = table.to_batches()
        if len(batches) != 1:
            batches = table.combine_chunks().to_batches() or [
                pa.RecordBatch.from_pylist([], table.schema)
            ]
        # Columns stay together in memory: the pipeline copies them into rows anyway.
        if numbers is not None and numbers.are_float64:  # in one call, not in one for each column
            tensor = batches[0].to_tensor(null_to_nan=True, row_major=False)
            matrix: NDArray[Any] = tensor.to_numpy()
            return matrix
        return np.array([as_numbers(column) for column in batches[0].columns]).T

    def _matrix(self, rows: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
        shape = len(rows), len(self.columns)
        try:
            flat = np.frombuffer(b"".join([self._pack(*row) for row in rows]))
        except struct.error:  # there are gaps, or integers beyond float64
            return np.array(rows, np.float64).reshape(shape)
        return flat.reshape(shape)

    def _warm_up(self) -> None:
        """Score rows, so that kernels are loaded and all is read that is read at the first use."""
        zeros = {
            column.name: {"number": 0.0, "vector": [0.0] * column.width}.get(column.kind)
            for column in self.columns
        }
        for rows in (RequestRows([zeros]), self.forms.of_values([list(zeros.values())])):
            for with_next in (False, True):
                self.score(rows, with_next=with_next)


def split(scored: RequestScores, sizes: Sequence[int]) -> Iterator[RequestScores]:
    """Yield what became of the rows of each of several requests that were scored together."""
    if len(sizes) == 1:
        yield scored
        return
    start = 0
    for size in sizes:
        stop = start + size
        first, last = start, stop
        problems: list[RowProblem] = []
        if scored.n_wrong:
            first, last = np.searchsorted(scored.rows, (start, stop)).tolist()
            problems = [
                replace(problem, row=problem.row - start)
                for problem in scored.problems
                if start <= problem.row < stop
            ]
        rows = scored.rows[first:last] - start
        yield RequestScores(_part(scored.scores, slice(first, last)), size, rows, problems)
        start = stop


def _of_request(scored: ScoredRows, n_rows: int) -> RequestScores:
    return RequestScores(scored.scores, n_rows, scored.rows, scored.problems, scored.unseen)


def _part(scores: Scores, rows: slice) -> Scores:
    following, confidence = scores.next_segment, scores.confidence
    return Scores(
        scores.segment[rows],
        scores.distance[rows],
        None if following is None else following[rows],
        None if confidence is None else confidence[rows],
        {name: level[rows] for name, level in scores.levels.items()},
    )


def _digest(model: SegmentModel) -> str:
    """Return what tells the files of a model from those of another one."""
    digest = hashlib.sha256()
    for _, content in sorted(model.to_files().items()):
        digest.update(content)
    return f"model-{digest.hexdigest()[:12]}"
