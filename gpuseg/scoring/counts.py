"""What is counted while rows are scored; the result is the same in any order of the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.monitoring.distance_sums import DistanceSums
from gpuseg.monitoring.row_counts import RowCounter, RowCounts
from gpuseg.numerics.number_positions import NumberPositions


@dataclass(frozen=True)
class UnseenRows:
    """The rows of a column that have something in common, and the first value of them.

    Attributes
    ----------
    n_rows : int
    row : int
        The first of these rows, within the shard as read.
    value : object
        Its value in the column; None if it is missing.
    """

    n_rows: int
    row: int
    value: Any

    def with_more(self, n_rows: int) -> "UnseenRows":
        """Return the same with more rows, which come later."""
        return UnseenRows(self.n_rows + n_rows, self.row, self.value)


@dataclass(frozen=True)
class BadRows:
    """Rows that cannot be scored, and why the first one of them cannot.

    Attributes
    ----------
    n_rows : int
    row : int
        The first one, within the shard as read.
    column : str
        The column at fault; empty if the row as a whole breaks the rule.
    value : object
        Its value in the column; None if it is missing.
    rule : str
    """

    n_rows: int
    row: int
    column: str
    value: Any
    rule: str


@dataclass
class ScoreCounts:
    """Counts of rows that were scored, in the order of their rows.

    Attributes
    ----------
    segments : NumberPositions
        Noise, and then the segments of the model.
    rows : RowCounts
        Rows of each of them, and of each bin.
    n_dropped : int
        Rows that were left out because a feature is missing.
    missing : dict of str to int
        Rows without a value, by column.
    clipped : dict of str to int
        Values that were clipped, by feature.
    unseen : dict of str to UnseenRows
        Rows with a category that was not in the data of the fit, by column.
    bad : BadRows or None
    """

    segments: NumberPositions
    rows: RowCounts
    n_dropped: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    unseen: dict[str, UnseenRows] = field(default_factory=dict)
    bad: BadRows | None = None

    @classmethod
    def zeros(cls, counter: RowCounter) -> "ScoreCounts":
        """Return the counts of no rows."""
        return cls(counter.segments, counter.zeros())

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each segment, int64 (k + 1,)."""
        return self.rows.sums.sizes

    @property
    def distances(self) -> DistanceSums:
        """Sums of the distances of each segment."""
        return self.rows.sums.distances

    @property
    def n_rows(self) -> int:
        """Rows that have a segment."""
        return int(self.sizes.sum())

    def add_prepared(
        self,
        missing: Mapping[str, int],
        clipped: Mapping[str, int],
        unseen: Mapping[str, UnseenRows],
    ) -> None:
        """Add what is known of more rows before they are scored."""
        add_to(self.missing, missing)
        add_to(self.clipped, clipped)
        for column, unseen_rows in unseen.items():
            self.add_unseen(column, unseen_rows)

    def add_unseen(self, column: str, unseen_rows: UnseenRows) -> None:
        """Count more rows with unseen categories, which come later."""
        first = self.unseen.get(column)
        self.unseen[column] = unseen_rows if first is None else first.with_more(unseen_rows.n_rows)

    def add_bad(self, bad: BadRows) -> None:
        """Count more rows that cannot be scored, which come later."""
        first = self.bad or bad
        n_rows = bad.n_rows + (0 if self.bad is None else self.bad.n_rows)
        self.bad = BadRows(n_rows, first.row, first.column, first.value, first.rule)

    def merge(self, later: "ScoreCounts") -> None:
        """Add the counts of rows that come later."""
        self.rows.merge(later.rows)
        self.n_dropped += later.n_dropped
        self.add_prepared(later.missing, later.clipped, later.unseen)
        if later.bad is not None:
            self.add_bad(later.bad)


def add_to(counts: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts by name."""
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
