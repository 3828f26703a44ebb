"""Customers that are like a segment: those of a table nearest to it, in scaled units.

The distance is that of the segmentation: to the center of the segment (k-means), to the nearest
center of its small segments (hierarchical), or to its nearest core row (DBSCAN). Customers at the
same distance are ordered by their id, then by their row, so that the result does not depend on how
the rows are divided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, plain, to_numpy, without_views
from gpuseg.errors import ConfigError, literal
from gpuseg.formatting import number_ranges
from gpuseg.models.base import SegmentModel
from gpuseg.models.scores import Scores
from gpuseg.models.segment_points import Points, distances_to
from gpuseg.output_columns import SEGMENT
from gpuseg.runtime.executor import TaskContext
from gpuseg.validation import nearest, nearest_known

LIKE_DISTANCE, ROW, RANK = "like_distance", "row", "rank"
"""Columns of lookalikes: the distance to the segment that they are compared with, float64; the
number of the row in the table, from 0; the place among the lookalikes, from 1."""

_SURPLUS = 2
"""How many times the rows that are wanted are collected before the farther ones are dropped."""


@dataclass(frozen=True)
class LikedSegment:
    """A segment to which the distance of any row can be taken.

    Attributes
    ----------
    number : int
    column : str
        The column of an output whose number it is: ``segment``, or that of a coarser level.
    points : Centers or CoreSamples
        What stands for it.
    """

    number: int
    column: str
    points: Points

    def distances(
        self, z: NDArray[np.float32], backend: str, context: TaskContext
    ) -> NDArray[np.float64]:
        """Return the distance of each row that is transformed, float64 (n,)."""
        return distances_to(self.points, z, backend, context)


@dataclass(frozen=True)
class LikedScores(Scores):
    """Scores with the distance of each row to one segment, float64 (n,)."""

    like_distance: NDArray[np.float64] = field(kw_only=True)


@dataclass(frozen=True)
class Lookalikes:
    """Which rows of a table are looked for.

    Attributes
    ----------
    liked : LikedSegment
    n : int
        The number of rows, those nearest to the segment.
    excludes_members : bool
        Whether rows that are in the segment are left out.
    """

    liked: LikedSegment
    n: int
    excludes_members: bool

    def with_distances(
        self, scores: Scores, z: NDArray[np.float32], backend: str, context: TaskContext
    ) -> LikedScores:
        """Return the scores of rows that are transformed, with their distances."""
        distances = self.liked.distances(z, backend, context)
        return LikedScores(**vars(scores), like_distance=distances)

    def candidates(self, rows: pa.Table) -> pa.Table:
        """Return the rows of a table of scores that may be among the lookalikes."""
        if not self.excludes_members:
            return rows
        return rows.filter(pc.not_equal(rows[self.liked.column], self.liked.number))

    def nearest(self, id: str | None) -> "NearestRows":
        """Return what collects the rows of tables that have this id column, and `ROW`."""
        return NearestRows(self.n, [ROW] if id is None else [id, ROW])


def liked_segment(model: SegmentModel, segment: str, names: Mapping[int, str]) -> LikedSegment:
    """Return a segment of a model.

    Parameters
    ----------
    model : SegmentModel
    segment : str
        A name of `names`, a number, or ``COLUMN=NUMBER`` for a level of a hierarchy, such as
        ``segment_4=2``.
    names : mapping of int to str
        Names of the segments.

    Raises
    ------
    ConfigError
        For a segment that the model does not have, and for a model that has no points of segments.
    DataError
        For core rows that are missing or damaged.
    """
    points = model.segment_points()
    if points is None:
        raise ConfigError(
            "like.not_available", f"not available for {model.name}", value=segment,
            parameter="like_segment", hint="leave `like_segment` out",
        )  # fmt: skip
    by_name = {name: number for number, name in names.items()}
    column, sign, number = segment.rpartition("=")
    if segment in by_name:
        column, number = SEGMENT, str(by_name[segment])
    elif not (sign and column in points.segment_of):
        column, number = SEGMENT, segment
    known = np.unique(points.segment_of[column]).tolist()
    if number not in map(str, known):
        raise _unknown(segment, known, by_name, [c for c in points.segment_of if c != SEGMENT])
    return LikedSegment(int(number), column, points.of(column, int(number)))


def _unknown(
    segment: str, known: Sequence[int], names: Mapping[str, int], levels: Sequence[str]
) -> ConfigError:
    has_gaps = any(i != number for i, number in enumerate(known))
    numbers = f"{'one of' if has_gaps else 'a number from'} {number_ranges(known)}"
    of_levels = f", or COLUMN=NUMBER with {' or '.join(levels)}" if levels else ""
    return ConfigError(
        "like.unknown_segment", "there is no such segment", value=segment, parameter="like_segment",
        rule=f"must be {numbers}{literal(of_levels)}" if known else "there is none",
        hint=_nearest_name(segment, names),
    )  # fmt: skip


def _nearest_name(segment: str, names: Mapping[str, int]) -> str:
    """Return a hint that names the nearest segment, or all: names have commas, so with numbers."""
    if not names or nearest(segment, names) is not None:
        return nearest_known(segment, names) if names else ""
    return nearest_known(segment, [f"{number} ({name})" for name, number in names.items()])


class NearestRows:
    """Collects rows and keeps the nearest ones: rows may come in any order and any division.

    Parameters
    ----------
    n : int
        How many rows to keep, at least 1.
    ties : sequence of str
        Columns that order rows at the same distance, nulls last; together they must be unique.
    """

    def __init__(self, n: int, ties: Sequence[str]) -> None:
        self._n, self._keys = n, (LIKE_DISTANCE, *ties)
        self._limit = np.inf  # no row farther than this is among the nearest
        self._kept: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        """Take rows with the column `LIKE_DISTANCE`, those of ties, and any others."""
        self._kept.append(self._near(rows))
        if sum(map(len, self._kept)) > _SURPLUS * self._n:
            self._kept = [self._nearest()]
            self._limit = self._kept[0][LIKE_DISTANCE][-1].as_py()

    def table(self) -> pa.Table | None:
        """Return the nearest rows of those that came, in their order; None if no table came."""
        return self._nearest() if self._kept else None

    def _nearest(self) -> pa.Table:
        rows = self._near(pa.concat_tables(self._kept))
        keys = pa.table({name: sortable(rows[name].combine_chunks()) for name in self._keys})
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in self._keys])
        return rows.take(order.slice(0, self._n)).combine_chunks()

    def _near(self, rows: pa.Table) -> pa.Table:
        """Return the rows that may be among the nearest, in columns that Arrow can sort."""
        columns = {name: without_views(rows[name].combine_chunks()) for name in rows.column_names}
        table, distance = pa.table(columns), to_numpy(columns[LIKE_DISTANCE])
        if len(rows) > self._n:
            self._limit = min(self._limit, np.partition(distance, self._n - 1)[self._n - 1])
        is_near = distance <= self._limit
        return table if is_near.all() else table.filter(from_numpy(is_near))


def sortable(column: pa.Array) -> pa.Array:
    """Return a column in a type that Arrow can sort, in the same order."""
    column = plain(column)
    if pa.types.is_dictionary(column.type):
        column = plain(column.dictionary_decode())
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column
