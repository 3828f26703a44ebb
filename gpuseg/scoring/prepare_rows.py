"""Prepare rows of a table as at the fit of a model, and count what is unusual about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.arrow import from_numpy, to_numpy
from gpuseg.backends import registry
from gpuseg.errors import DataError
from gpuseg.io.parquet.shard_plan import ShardPlan, vectors_in_rows
from gpuseg.monitoring.row_counts import RowCounter
from gpuseg.numerics.distance_metrics import outside_values
from gpuseg.numerics.to_float32 import write_columns
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, gaps
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.encoding.vectors import WrongVector, as_matrix
from gpuseg.preprocessing.pipeline import FeaturePipeline, FrameColumns
from gpuseg.scoring.counts import BadRows, UnseenRows


@dataclass(frozen=True)
class PreparedRows:
    """Consecutive rows as they are clustered, and their columns in the output.

    Attributes
    ----------
    z : float32 (m, p)
        The rows that are kept; of no use if `bad` is set.
    kept : bool (n,) or None
        Which of the rows read these are; None if they are all.
    ids : Arrow array (n,) or None
    carried : list of Arrow array (n,)
        Columns that the output has as they are.
    start : int
        The number of the first row within the shard as read.
    missing, clipped, unseen, bad : see `scoring.counts.ScoreCounts`
    bins : uint16 (m, d) or None
        Bins of the features before their transforms; None if they are not counted.
    """

    z: NDArray[np.float32]
    kept: NDArray[np.bool_] | None
    ids: pa.Array | None
    carried: list[pa.Array]
    start: int
    missing: Mapping[str, int] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, UnseenRows] = field(default_factory=dict)
    bad: BadRows | None = None
    bins: NDArray[np.uint16] | None = None

    @property
    def n_read(self) -> int:
        """Number of rows that were read."""
        return len(self.z) if self.kept is None else len(self.kept)

    def numbers(self) -> NDArray[np.int64]:
        """Return the numbers of the rows that are kept, within the shard as read."""
        numbers = np.arange(self.start, self.start + self.n_read)
        return numbers if self.kept is None else numbers[self.kept]


class RowPreparer:
    """Makes rows that are clustered of rows of a table.

    Parameters
    ----------
    pipeline : FeaturePipeline
        Of the model.
    plan : ShardPlan
        The rows are of this shard.
    backend : str
        Imported when the first rows are prepared, if it is not: another thread may do so meanwhile.
    counter : RowCounter
        Finds the bins.
    """

    def __init__(
        self, pipeline: FeaturePipeline, plan: ShardPlan, backend: str, counter: RowCounter
    ) -> None:
        self._pipeline, self._plan, self._backend = pipeline, plan, backend
        self._counter = counter
        encoded = [name for e in plan.encoders for name in e.feature_names()]
        self._width = len(encoded)
        position = {name: f for f, name in enumerate(encoded)}
        taken = np.array([position[name] for name in pipeline.features], np.int64)
        self._taken = None if encoded == list(pipeline.features) else taken
        clip = pipeline.feature_transform.clip
        self._clip = None if clip is None or not np.isfinite(clip).any() else clip

    def prepare(self, batch: pa.RecordBatch, start: int) -> PreparedRows:
        """Return prepared rows; the first one is row `start` of the shard as read.

        Raises
        ------
        DataError
            For categories of another type than at the fit, and vectors of another shape.
        """
        plan, x = self._plan, np.empty((batch.num_rows, self._width), np.float32)
        missing, unseen = dict[str, int](), dict[str, UnseenRows]()
        numbers, f = list[tuple[int, NDArray[Any]]](), 0
        for encoder in plan.encoders:
            column, width = batch.column(encoder.column), encoder.n_features
            if encoder.kind == "number":
                numbers.append((f, encoder.subtract_origin(as_numbers(column))))
                f += width
                continue
            rows = self._encode(encoder, column, x[:, f : f + width], start)
            f += width
            if rows.size:
                first = int(rows[0])
                unseen_rows = UnseenRows(len(rows), start + first, column[first].as_py())
                unseen[encoder.column] = unseen_rows
            if encoder.value_type and (n_gaps := _n_gaps(column)):
                missing[encoder.column] = n_gaps
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite
            write_columns(x, numbers)
        del numbers
        low, high = _extremes(x)
        if np.isnan(low):
            missing |= self._missing_numbers(x)
        if self._taken is not None:
            x = np.take(x, self._taken, axis=1)
        kept = None
        if self._pipeline.drops_missing and np.isnan(low):
            kept = ~_in_rows(np.isnan(x))
            x = x[kept]
        bins, clipped = self._counter.bins(x), self._count_clipped(x)
        is_finite = bool(np.isfinite(low) and np.isfinite(high))
        infinite = None if is_finite else _in_rows(np.isinf(x))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            backend = registry.get(self._backend)
            z: NDArray[np.float32] = backend.prepare(x, self._pipeline.feature_transform)
        bad = self._bad_rows(z, infinite, kept, batch, start)
        ids = None if plan.id is None else batch.column(plan.id)
        carried = [batch.column(name) for name in plan.carried]
        return PreparedRows(z, kept, ids, carried, start, missing, clipped, unseen, bad, bins)

    def _encode(
        self, encoder: Encoder, column: pa.Array, out: NDArray[np.float32], start: int
    ) -> NDArray[np.int64]:
        """Write the features of a column that has no numbers into out (n, width).

        Rows of unseen categories are returned.
        """
        plan = self._plan
        if encoder.kind == "vector" and pa.types.is_null(column.type):
            out[:] = np.nan
        elif encoder.kind == "vector":
            with (
                vectors_in_rows(plan, start, encoder.column, None),
                np.errstate(over="ignore", invalid="ignore"),
            ):
                out[:] = encoder.subtract_origin(as_matrix(column, encoder.shape))
        else:
            try:
                return encoder.encode_into(column, out)
            except WrongVector as error:
                row = plan.describe_row(start + error.row)
                raise error.in_row(encoder.column, row) from None
            except DataError:
                raise self._changed_type(encoder, column, start) from None
        return np.empty(0, np.int64)

    def _changed_type(self, encoder: Encoder, column: pa.Array, start: int) -> DataError:
        """Return the error of a column of categories that has other values than at the fit."""
        has, row = str(column.type), 0
        if pa.types.is_floating(column.type):  # whole numbers, at the fit
            values = to_numpy(column.cast(pa.float64()))
            is_whole = (values == np.floor(values)) & (np.abs(values) < 2.0**63)
            row = int(np.argmax(~np.isnan(values) & ~is_whole))
            has = f"the value {column[row].as_py()!r}"
        return DataError(
            "column.changed_type",
            f"column '{encoder.column}' has {has} in {self._plan.describe_row(start + row)}, but "
            f"had {encoder.value_type} at the fit",
            rule="categories are compared as text",
            hint="convert the column",
        )

    def _missing_numbers(self, x: NDArray[np.float32]) -> dict[str, int]:
        """Return the rows without a number, or with a vector that lacks one, by column."""
        missing, f = dict[str, int](), 0
        for encoder in self._plan.encoders:
            columns, f = slice(f, f + encoder.n_features), f + encoder.n_features
            if encoder.kind in ("number", "vector"):
                n_rows = int(np.count_nonzero(_in_rows(np.isnan(x[:, columns]))))
                missing |= {encoder.column: n_rows} if n_rows else {}
        return missing

    def _count_clipped(self, x: NDArray[np.float32]) -> dict[str, int]:
        """Return how many values are beyond the bounds, by feature."""
        if self._clip is None:
            return {}
        counts = np.count_nonzero((x < self._clip[0]) | (x > self._clip[1]), axis=0)
        names = self._pipeline.features
        return {names[f]: int(counts[f]) for f in np.flatnonzero(counts).tolist()}

    def _bad_rows(
        self,
        z: NDArray[np.float32],
        infinite: NDArray[np.bool_] | None,
        kept: NDArray[np.bool_] | None,
        batch: pa.RecordBatch,
        start: int,
    ) -> BadRows | None:
        """Return the rows that cannot be scored; `infinite` are rows with an infinite value."""
        outside = outside_values(z, self._pipeline.metric)
        has_outside = outside is not None and outside.any()
        if infinite is None and not has_outside and np.isfinite(_extremes(z)).all():
            return None
        flags = [~np.isfinite(z)]
        if outside is not None:
            flags.append(outside)
        if infinite is not None:  # clipping would hide it
            flags.append(infinite[:, None])
        rows = np.flatnonzero(_in_rows(np.concatenate(flags, axis=1)))
        if not rows.size:
            return None
        read = rows[:1] if kept is None else np.flatnonzero(kept)[rows[:1]]
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        used = FrameColumns({name: columns[name] for name in self._pipeline.columns})
        problem = self._pipeline.problems_of(used, read)[0]
        return BadRows(len(rows), start + problem.row, problem.column, problem.value, problem.rule)


def kept_rows(column: pa.Array, kept: NDArray[np.bool_] | None) -> pa.Array:
    """Return the rows of a column that are kept."""
    return column if kept is None else column.filter(from_numpy(kept))


def _n_gaps(column: pa.Array) -> int:
    """Return the number of rows of a column of categories that have none."""
    is_floating = pa.types.is_floating(column.type)
    return int(gaps(column).sum()) if is_floating else int(column.null_count)


def _in_rows(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows have a flag that is set."""
    return np.logical_or.reduce(flags, axis=1)  # type: ignore[no-any-return]


def _extremes(x: NDArray[np.float32]) -> tuple[np.float32, np.float32]:
    """Return the smallest and the largest value; NaN if there is one."""
    return (x.min(), x.max()) if x.size else (np.float32(0), np.float32(0))
