"""What is counted while rows are scored; the result is the same in any order of the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.models.base import SegmentModel
from gpuseg.models.scores import Scores
from gpuseg.numerics.number_positions import NumberPositions
from gpuseg.record import NOISE

_EXPONENTS = 256
_FRACTION_BITS = 23
_INFINITE = 255
"""The exponent of float32 values that are not finite."""

_LOWEST = -149
"""float32 values are multiples of 2 to this power."""

_MAX_SUMS = 2**22
"""Sums of segments and exponents that are made at once."""


class DistanceSums:
    """The exact sum of the float32 distances of each segment.

    The significands are added as integers, one integer for each segment and exponent.

    Parameters
    ----------
    n_segments : int
        Number of segments, noise included.
    """

    def __init__(self, n_segments: int) -> None:
        self._n_segments = n_segments
        self._by_exponent: dict[int, NDArray[np.int64]] = {}

    def add(self, segment: NDArray[np.int64], distance: NDArray[np.float32]) -> None:
        """Add distances (n,), none negative or NaN, to those of the segments (n,), from 0."""
        bits = distance.view(np.int32)
        exponent = bits >> _FRACTION_BITS
        significand = bits & (2**_FRACTION_BITS - 1)
        significand += (exponent > 0).astype(np.int32) << _FRACTION_BITS
        low, high = int(exponent.min(initial=_EXPONENTS)), int(exponent.max(initial=-1))
        if (high - low + 1) * self._n_segments > _MAX_SUMS:
            for value in np.unique(exponent).tolist():
                rows = exponent == value
                self._add(value, segment[rows], significand[rows], 1)
        elif high >= low:
            keys = (exponent - low).astype(np.int64) * self._n_segments + segment
            self._add(low, keys, significand, high - low + 1)

    def _add(
        self, low: int, keys: NDArray[np.int64], significand: NDArray[np.int32], n_exponents: int
    ) -> None:
        # A float64 holds the sum of 2**29 significands exactly.
        sums = np.bincount(keys, significand, self._n_segments * n_exponents)
        for i, of_exponent in enumerate(sums.astype(np.int64).reshape(n_exponents, -1)):
            if of_exponent.any():
                self._merge(low + i, of_exponent)

    def _merge(self, exponent: int, sums: NDArray[np.int64]) -> None:
        older = self._by_exponent.get(exponent)
        self._by_exponent[exponent] = sums if older is None else older + sums

    def merge(self, other: "DistanceSums") -> None:
        """Add the distances of other rows."""
        for exponent, sums in other._by_exponent.items():
            self._merge(exponent, sums)

    def means(self, sizes: NDArray[np.int64]) -> list[float | None]:
        """Return the mean of each segment, correctly rounded.

        It is None where there are no rows, and where a distance is infinite.
        """
        totals = [0] * self._n_segments
        infinite = self._by_exponent.get(_INFINITE, np.zeros(self._n_segments, np.int64))
        for exponent, sums in self._by_exponent.items():
            for segment in np.flatnonzero(sums).tolist():
                totals[segment] += int(sums[segment]) << max(exponent - 1, 0)
        return [
            None if not size or is_infinite else total / (size << -_LOWEST)
            for total, size, is_infinite in zip(
                totals, sizes.tolist(), infinite.astype(bool).tolist(), strict=True
            )
        ]


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
    sizes : int64 (k + 1,)
        Rows of each of them.
    distances : DistanceSums
        Of the same segments.
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
    sizes: NDArray[np.int64]
    distances: DistanceSums
    n_dropped: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    unseen: dict[str, UnseenRows] = field(default_factory=dict)
    bad: BadRows | None = None

    @classmethod
    def zeros(cls, model: SegmentModel) -> "ScoreCounts":
        """Return the counts of no rows."""
        segments = NumberPositions(np.append(np.int64(NOISE), model.segment_ids))
        return cls(segments, np.zeros(len(segments), np.int64), DistanceSums(len(segments)))

    @property
    def n_rows(self) -> int:
        """Rows that have a segment."""
        return int(self.sizes.sum())

    def add_scores(self, scores: Scores) -> None:
        """Count more rows that have a segment."""
        segment = self.segments.of(scores.segment)
        self.sizes += np.bincount(segment, minlength=len(self.sizes))
        self.distances.add(segment, scores.distance)

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
        self.sizes += later.sizes
        self.distances.merge(later.distances)
        self.n_dropped += later.n_dropped
        self.add_prepared(later.missing, later.clipped, later.unseen)
        if later.bad is not None:
            self.add_bad(later.bad)


def add_to(counts: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts by name."""
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
