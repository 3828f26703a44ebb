"""Score rows of JSON with a model: each row by itself, so that a wrong one fails alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpuseg.backends import registry
from gpuseg.models.base import SegmentModel
from gpuseg.models.scores import Scores
from gpuseg.preprocessing.pipeline import UnseenCategory
from gpuseg.preprocessing.row_problems import RowProblem
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.scoring.json_rows import JsonRowReader
from gpuseg.validation import check_n_threads


@dataclass(frozen=True)
class ScoredRows:
    """The scores of rows, and why others have none.

    Attributes
    ----------
    scores : Scores (m,)
        Of the rows that can be scored.
    rows : int64 (m,)
        Their positions among the rows given, increasing.
    problems : list of RowProblem
        One for each other row, in their order; possibly fewer, see `RowScorer`.
    unseen : list of UnseenCategory
        Categories that were not in the data of the fit; such rows are scored. `first_row` counts
        from the first row given.
    """

    scores: Scores
    rows: NDArray[np.int64]
    problems: list[RowProblem]
    unseen: list[UnseenCategory]


class RowScorer:
    """Scores rows as the job of a model would: the same bits as for the rows in Parquet.

    It has no state, and may be used by several threads.

    Parameters
    ----------
    model : SegmentModel
    with_next : bool, default True
        Whether to find the next segment and the confidence.
    backend : {"auto", "numpy", "numba", "cuda"}, default "auto"
    n_threads : int or None, default None
        None uses every processor this process may use.
    max_problems : int or None, default None
        Find the problems of at most so many rows of right types that cannot be scored; None finds
        those of all.

    Raises
    ------
    ConfigError, ResourceError
        For a wrong or missing backend, and a wrong number of threads.
    """

    def __init__(
        self,
        model: SegmentModel,
        *,
        with_next: bool = True,
        backend: str = "auto",
        n_threads: int | None = None,
        max_problems: int | None = None,
    ) -> None:
        check_n_threads(n_threads)
        self.model, self._with_next, self._max_problems = model, with_next, max_problems
        self._backend = registry.choose_backend(backend).name
        self._context = LocalExecutor(n_threads).context
        self._reader = JsonRowReader(model.pipeline)

    def score(self, rows: Sequence[Any]) -> ScoredRows:
        """Return the scores of rows of JSON, which `JsonRowReader` describes.

        Raises
        ------
        ResourceError, DataError
            Where the model itself fails: of its files, never of the rows.
        """
        read = self._reader.read(rows)
        scored = self.score_table(read.table)
        positions = read.rows
        problems = [replace(p, row=int(positions[p.row])) for p in scored.problems]
        return ScoredRows(
            scored.scores,
            positions[scored.rows],
            sorted([*read.problems, *problems], key=lambda problem: problem.row),
            [item._replace(first_row=int(positions[item.first_row])) for item in scored.unseen],
        )

    def score_table(self, table: ArrayLike) -> ScoredRows:
        """Return the scores of rows of a table or an array with the columns of the model.

        Raises
        ------
        DataError
            For a missing column, and a column of another type than at the fit.
        """
        raw = self.model.pipeline.open(table)
        z = raw.transform(slice(0, raw.n_rows), self._backend, self._context)
        rows, problems = np.arange(raw.n_rows), raw.problems(self._max_problems)
        if problems:
            is_good = np.ones(raw.n_rows, bool)
            is_good[raw.bad_rows()] = False
            rows, z = np.flatnonzero(is_good), z[is_good]
        scores = self.model.score_rows(z, self._backend, self._context, with_next=self._with_next)
        return ScoredRows(scores, rows, problems, raw.unseen)
