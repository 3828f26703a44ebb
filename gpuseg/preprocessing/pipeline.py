"""Fitted feature pipeline, saved with each model and applied to new rows."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import TRANSFORMS, FeatureTransform
from gpuseg.errors import DataError, literal
from gpuseg.formatting import count, count_with
from gpuseg.numerics.distance_metrics import Metric, outside_values
from gpuseg.optional import is_arrow, is_pandas, is_sparse
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, is_number
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.encoding.vectors import (
    Shape,
    WrongVector,
    as_matrix,
    is_vector,
    of_matrix,
)
from gpuseg.preprocessing.row_problems import (
    ANY_RULE,
    RowProblem,
    broken_rules,
    find_problems,
    refuse_rows,
)
from gpuseg.preprocessing.saved_pipeline import SavedPipeline, validated_values
from gpuseg.printable import printable_value
from gpuseg.runtime.executor import TaskContext

_ROWS_PER_BLOCK = 16_384
"""Rows transformed at a time by a thread; their features stay in the cache."""


_NO_ROWS = np.empty(0, np.int64)

_NUMERIC = "biufO"
"""Kinds of arrays of numbers; objects are converted one by one."""

_CONVERSION_ERRORS = (
    *(ValueError, TypeError, ArithmeticError, LookupError, AttributeError),
    RuntimeError,  # of tensors
)
"""What libraries raise where their values cannot become an array of numbers."""


@dataclass(frozen=True)
class FeaturePipeline:
    """From rows of raw columns to rows that are clustered.

    Attributes
    ----------
    encoders : tuple of Encoder
        From columns to features.
    features : tuple of str
        The features of the encoders that are used.
    feature_transform : FeatureTransform
        From these features to the rows that are clustered.
    drops_missing : bool
        Whether the job left rows with a missing feature out.
    metric : Metric
        Of the distances between rows that are clustered; it may refuse some.
    """

    encoders: tuple[Encoder, ...]
    features: tuple[str, ...]
    feature_transform: FeatureTransform
    drops_missing: bool = False
    metric: Metric = "euclidean"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that are needed, in the order in which an array must have them."""
        return tuple(dict.fromkeys(encoder.column for encoder in self.used_encoders))

    def is_element(self) -> NDArray[np.bool_]:
        """Return which of the features are elements of vectors, bool (d,)."""
        vectors = (encoder for encoder in self.encoders if encoder.kind == "vector")
        elements = {name for encoder in vectors for name in encoder.feature_names()}
        return np.array([name in elements for name in self.features], bool)

    def transform(self, X: ArrayLike, backend: str) -> NDArray[np.float32]:
        """Transform rows of raw columns, float32 (n, p).

        Raises
        ------
        DataError
            For a column that is missing or has another type than at the fit, and for values that
            cannot be transformed.

        Warns
        -----
        UserWarning
            For categories that were not in the data of the fit.
        """
        raw = self.open(X)
        z = raw.transform(slice(0, raw.n_rows), backend, TaskContext())
        raw.check()
        return z

    def open(self, X: ArrayLike) -> "RawRows":
        """Return the rows of X, to transform some of them at a time.

        Raises
        ------
        DataError
            For X that does not have the columns of the fit.
        """
        columns = self._columns_of_frame(X) if is_frame(X) else self._columns_of_array(X)
        return RawRows(self, columns)

    def transform_features(self, x: NDArray[np.float32], backend: str) -> NDArray[np.float32]:
        """Transform rows of features, float32 (n, p); x may be overwritten.

        Raises
        ------
        DataError
            For values that are missing and not filled, infinite, or outside a transform's domain.
        """
        z, bad = self._transform_features(x, backend)
        if bad.size:  # x may be overwritten, so that nothing is known of its values
            raise refuse_rows(RowProblem(int(bad[0]), "", None, ANY_RULE), bad.size)
        return z

    def transform_block(
        self, columns: "RawColumns", rows: slice, backend: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], list["UnseenCategory"]]:
        """Return transformed rows, those that cannot be transformed, and unseen categories.

        Both number the rows from the first one of `columns`.
        """
        if isinstance(columns, ArrayColumns) and self._numbers is not None:
            unseen: list[UnseenCategory] = []
            x = columns.features(rows, self._numbers)
        else:
            part = columns.read(rows)
            x, unseen = _encode(self.used_encoders, self.features, part, rows.start)
        z, bad = self._transform_features(x, backend)
        return z, bad + rows.start, [item.after(rows.start) for item in unseen]

    def _transform_features(
        self, x: NDArray[np.float32], backend: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return transformed rows, and which of them are not finite or outside the metric."""
        infinite = np.isinf(x)  # clipping would hide it
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            z: NDArray[np.float32] = registry.get(backend).prepare(x, self.feature_transform)
        finite, outside = np.isfinite(z), outside_values(z, self.metric)
        if finite.all() and not infinite.any() and (outside is None or not outside.any()):
            return z, _NO_ROWS  # flags of each row take longer
        is_bad = infinite.any(axis=1) | ~finite.all(axis=1)
        if outside is not None:
            is_bad |= outside.any(axis=1)
        return z, np.flatnonzero(is_bad)

    def to_json(self) -> dict[str, Any]:
        """Return everything except `tensors` as values of JSON."""
        transform = self.feature_transform
        return {
            "features": list(self.features),
            "encoders": [encoder.to_json() for encoder in self.encoders],
            "transform": [TRANSFORMS[code] for code in transform.transform.tolist()],
            "unit_length": transform.unit,
            # Models without it can be read by older versions.
            **({"drops_missing": True} if self.drops_missing else {}),
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the feature transform by name."""
        transform, projection = self.feature_transform, self.feature_transform.projection
        arrays = {
            "fill": transform.fill,
            "shift": transform.shift,
            "scale": transform.scale,
            "clip": transform.clip,
            "power": transform.power,
            "pca_mean": None if projection is None else projection.mean,
            "pca_components": None if projection is None else projection.components,
        }
        return {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None}

    @classmethod
    def from_json(
        cls, description: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> "FeaturePipeline":
        """Return the pipeline from the results of `to_json` and `tensors`.

        The two mappings may have more than these.

        Raises
        ------
        DataError
            For values and arrays that no pipeline has.
        """
        names = SavedPipeline.model_fields.keys() & description.keys()
        saved = validated_values(SavedPipeline, {name: description[name] for name in names})
        return cls.from_saved(saved, tensors)

    @classmethod
    def from_saved(
        cls, saved: SavedPipeline, tensors: Mapping[str, NDArray[Any]]
    ) -> "FeaturePipeline":
        """Return the pipeline from its values and the result of `tensors`.

        Raises
        ------
        DataError
            For arrays that do not suit the values.
        """
        encoders = tuple(encoder.encoder() for encoder in saved.encoders)
        return cls(
            encoders, tuple(saved.features), saved.feature_transform(tensors), saved.drops_missing
        )

    def problems_of(self, columns: "RawColumns", rows: NDArray[np.int64]) -> list[RowProblem]:
        """Return why some rows of raw columns, rising, cannot be transformed."""
        if not rows.size:
            return []
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        blocks = [columns.read(slice(int(run[0]), int(run[-1]) + 1)) for run in runs]
        part = {name: pa.concat_arrays([block[name] for block in blocks]) for name in blocks[0]}
        encoders = self.used_encoders
        x, _ = _encode(encoders, self.features, part)
        return find_problems(rows, part, x, self._encoder_of(), self.feature_transform, self.metric)

    def columns_without_gaps(self) -> frozenset[str]:
        """Return the columns in which every row must have a value."""
        gap: dict[str, pa.Array] = dict.fromkeys(self.columns, pa.nulls(1))
        x, _ = _encode(self.used_encoders, self.features, gap)
        is_broken = broken_rules(x, self.feature_transform, self.metric)[0] > 0
        by_feature = zip(self._encoder_of(), is_broken.tolist(), strict=True)
        return frozenset(encoder.column for encoder, broken in by_feature if broken)

    def _encoder_of(self) -> list[Encoder]:
        """Return the encoder of each feature."""
        by_name = {name: e for e in self.used_encoders for name in e.feature_names()}
        return [by_name[name] for name in self.features]

    @cached_property
    def used_encoders(self) -> list[Encoder]:
        """The encoders that have a used feature."""
        used = set(self.features)
        return [e for e in self.encoders if not used.isdisjoint(e.feature_names())]

    @cached_property
    def _numbers(self) -> "_NumberColumns | None":
        """Where each feature comes from; None if not all features are numbers."""
        encoders = self._encoder_of()
        if any(encoder.kind != "number" for encoder in self.used_encoders):
            return None
        position = {name: f for f, name in enumerate(self.columns)}
        origins = np.array([encoder.origin for encoder in encoders])
        columns = np.array([position[encoder.column] for encoder in encoders])
        is_in_order = np.array_equal(columns, np.arange(len(self.columns)))
        return _NumberColumns(None if is_in_order else columns, origins if origins.any() else None)

    @cached_property
    def _array_layout(self) -> "_ArrayLayout":
        """The columns of arrays."""
        encoders = self.used_encoders
        shapes = {e.column: e.shape for e in encoders if e.kind == "vector"}
        width = sum(math.prod(shapes.get(name, ())) for name in self.columns)
        categories = [e.column for e in encoders if e.value_type or e.categories]
        return _ArrayLayout(shapes, width, categories)

    def _columns_of_frame(self, X: Any) -> "RawColumns":
        columns = frame_columns(X)
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise DataError(
                "column.missing",
                f"there is no column {missing[0]!r}",
                rule=f"must have {literal(', '.join(self.columns))}",
                parameter="X",
            )
        return FrameColumns({name: columns[name] for name in self.columns})

    def _columns_of_array(self, X: Any) -> "RawColumns":
        shapes, width, categories = self._array_layout
        if categories:
            raise DataError(
                "array.has_categories",
                f"X is an array, but {categories[0]!r} holds categories",
                rule="must be a data frame or an Arrow table with the columns "
                f"{literal(', '.join(self.columns))}",
                parameter="X",
            )
        x = _as_array(X)
        if x.ndim != 2:
            raise DataError(
                "array.not_two_dimensional",
                f"the shape is {x.shape}",
                rule="must be rows of features, as in [[1.0, 2.0]]",
                parameter="X",
            )
        if x.shape[1] != width:
            order = [
                f"the {math.prod(shapes[name]):,} elements of {name}" if name in shapes else name
                for name in self.columns
            ]
            raise DataError(
                "array.wrong_number_of_columns",
                f"the array has {count(x.shape[1], 'column')}",
                rule=f"must be {width}, in this order: {literal(', '.join(order))}",
                parameter="X",
            )
        return ArrayColumns(x, self.columns, shapes)


class _NumberColumns(NamedTuple):
    """Where features that are numbers come from.

    Attributes
    ----------
    columns : int64 (d,) or None
        The column of each feature; None if they are all columns in their order.
    origins : float64 (d,) or None
        What is subtracted from the columns.
    """

    columns: NDArray[np.int64] | None
    origins: NDArray[np.float64] | None


class _ArrayLayout(NamedTuple):
    """The columns of an array.

    Attributes
    ----------
    shapes : mapping of name to shape
        Of vectors.
    width : int
        Columns in all.
    categories : list of str
        Columns of categories, which an array cannot have.
    """

    shapes: Mapping[str, Shape]
    width: int
    categories: list[str]


class RawColumns(Protocol):
    """The columns of X, of which some rows are read at a time."""

    n_rows: int

    def read(self, rows: slice) -> Mapping[str, pa.Array]:
        """Return some rows of each column, by name."""
        ...


class FrameColumns:
    """Columns of a frame or a table.

    Parameters
    ----------
    columns : dict of name to pandas Series or Arrow array
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        # The type of a column of objects depends on all its values.
        self._columns = {
            name: as_arrow(column, name) if _has_objects(column) else column
            for name, column in columns.items()
        }
        self.n_rows = max((len(column) for column in columns.values()), default=0)

    def read(self, rows: slice) -> Mapping[str, pa.Array]:
        """See `RawColumns`."""
        return {name: as_arrow(_part(column, rows), name) for name, column in self._columns.items()}


class ArrayColumns:
    """Columns of an array of numbers (n, d), their names, and the shapes of vectors among them."""

    def __init__(self, x: NDArray[Any], names: Sequence[str], shapes: Mapping[str, Shape]) -> None:
        self._x, self._names, self.n_rows, self._shapes = x, names, len(x), shapes

    def features(self, rows: slice, numbers: _NumberColumns) -> NDArray[np.float32]:
        """Return some rows of columns, minus their origins, as `_encode` returns them one by one.

        One column at a time takes longer than all the rest, where the rows are few.
        """
        x = self._numbers(rows)
        if numbers.columns is not None:
            x = x[:, numbers.columns]
        if numbers.origins is not None:
            x = x.astype(np.float64) - numbers.origins
        with np.errstate(over="ignore"):
            return x.astype(np.float32, order="C")

    def read(self, rows: slice) -> Mapping[str, pa.Array]:
        """See `RawColumns`."""
        x, columns, f = self._numbers(rows), {}, 0
        for name in self._names:
            shape = self._shapes.get(name)
            width = math.prod(shape or ())
            columns[name] = of_matrix(x[:, f : f + width], shape) if shape else pa.array(x[:, f])
            f += width
        return columns

    def _numbers(self, rows: slice) -> NDArray[Any]:
        """Return some rows as float32 or float64."""
        block = self._x[rows]
        if block.dtype == object and any(isinstance(value, str | bytes) for value in block.flat):
            raise _not_numeric("it holds text")
        try:
            return block if block.dtype == np.float32 else block.astype(np.float64, copy=False)
        except _CONVERSION_ERRORS as error:
            raise _not_numeric(str(error)) from None


class RawRows:
    """Rows of X on their way through a pipeline, some at a time.

    What is wrong with rows is collected, so that one error and one warning a column name the rows
    by their numbers in X.

    Attributes
    ----------
    n_rows : int
    n_bad : int
        Rows transformed so far that cannot be clustered.
    """

    def __init__(self, pipeline: FeaturePipeline, columns: RawColumns) -> None:
        self.n_rows, self.n_bad = columns.n_rows, 0
        self._pipeline, self._columns = pipeline, columns
        self._bad: list[NDArray[np.int64]] = []
        self._unseen: list[UnseenCategory] = []

    def transform(self, rows: slice, backend: str, context: TaskContext) -> NDArray[np.float32]:
        """Return rows as they are clustered, float32 (n, p), made on all threads of the context.

        Raises
        ------
        DataError
            For a column of another type than at the fit.
        """

        width = len(self._pipeline.features)
        step = registry.get(backend).block_rows(width) or _ROWS_PER_BLOCK

        def transform_block(start: int) -> Any:
            block = slice(start, min(start + step, rows.stop))
            return self._pipeline.transform_block(self._columns, block, backend)

        starts = range(rows.start, max(rows.stop, rows.start + 1), step)
        blocks = []
        for z, bad, unseen in context.map(transform_block, starts):
            blocks.append(z)
            self._bad.append(bad)
            self._unseen += unseen
            self.n_bad += len(bad)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    @property
    def unseen(self) -> list["UnseenCategory"]:
        """Rows transformed so far with categories that were not in the data of the fit."""
        return self._unseen

    def bad_rows(self) -> NDArray[np.int64]:
        """Return the rows transformed so far that cannot be clustered, int64 (m,), rising."""
        return np.concatenate([np.empty(0, np.int64), *self._bad])

    def problems(self, max_rows: int | None = None) -> list[RowProblem]:
        """Return why rows transformed so far cannot be clustered, in the order of the rows.

        Parameters
        ----------
        max_rows : int, optional
            Return at most the problems of so many rows.
        """
        return self._pipeline.problems_of(self._columns, self.bad_rows()[:max_rows])

    def check(self) -> None:
        """Warn of unseen categories, and refuse rows that cannot be clustered.

        Raises
        ------
        DataError
        """
        _warn_of_unseen(self._unseen)
        if self.n_bad:
            raise refuse_rows(self.problems(1)[0], self.n_bad)


class UnseenCategory(NamedTuple):
    """Rows of a column with a category that was not in the data of the fit."""

    column: str
    n_rows: int
    first_row: int
    value: Any

    def after(self, n_rows: int) -> "UnseenCategory":
        """Return the same for rows that follow others."""
        return self._replace(first_row=self.first_row + n_rows)


def encode(
    encoders: Sequence[Encoder], features: Sequence[str], columns: Mapping[str, pa.Array]
) -> NDArray[np.float32]:
    """Return some features of columns, float32 (n, d), C-order.

    Raises
    ------
    DataError
        For a column that has another type than at the fit.

    Warns
    -----
    UserWarning
        For categories that were not in the data of the fit.
    """
    x, unseen = _encode(encoders, features, columns)
    _warn_of_unseen(unseen)
    return x


def is_frame(X: Any) -> bool:
    """Return whether X has columns with names; a single column of pandas is no frame."""
    return hasattr(type(X), "columns") or (is_arrow(X) and not is_pandas(X))


def frame_columns(X: Any) -> dict[str, Any]:
    """Return the columns of a frame or table by name, in their order.

    Raises
    ------
    DataError
        For frames that are not in memory, and for duplicate names.
    """
    if is_pandas(X):
        names = [str(name) for name in X.columns]
        columns = [X.iloc[:, i] for i in range(len(names))]
    elif is_arrow(X):
        try:
            table = pa.RecordBatchReader.from_stream(X).read_all()
        except pa.ArrowException as error:
            raise DataError(
                "frame.not_a_table",
                f"X is not a table of rows ({error})",
                hint="pass a frame or a table",
                parameter="X",
            ) from None
        names, columns = table.column_names, table.columns
    else:
        raise DataError(
            "frame.not_in_memory",
            f"X is a {type(X).__module__}.{type(X).__name__}",
            rule="must be in memory: a pandas or Polars frame or an Arrow table",
            hint="collect or compute it first",
            parameter="X",
        )
    duplicates = [name for name, n in Counter(names).items() if n > 1]
    if duplicates:
        raise DataError(
            "frame.duplicate_column",
            f"two columns have the name {duplicates[0]!r}",
            hint="rename one of them",
            parameter="X",
        )
    return dict(zip(names, columns, strict=True))


def as_arrow(column: Any, name: str) -> pa.Array:
    """Return a column of a frame or a table as an Arrow array.

    Raises
    ------
    DataError
        For values of several types.
    """
    if isinstance(column, pa.ChunkedArray):
        if pa.types.is_list(column.type):  # all lists may have more elements than 32 bits count
            column = column.cast(pa.large_list(column.type.value_type))
        return column.combine_chunks()
    if isinstance(column, pa.Array):
        return column
    try:
        array = pa.array(column, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError, ValueError) as error:
        raise DataError(
            "column.mixed_types",
            f"column '{name}' cannot be read as one type ({error})",
            hint="convert its values to one type",
            parameter="X",
        ) from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _encode(
    encoders: Sequence[Encoder],
    features: Sequence[str],
    columns: Mapping[str, pa.Array],
    first_row: int = 0,
) -> tuple[NDArray[np.float32], list[UnseenCategory]]:
    """Return some features of columns, and unseen categories; messages count from `first_row`."""
    blocks, unseen = [], []
    for encoder in encoders:
        column = columns[encoder.column]
        try:
            values, rows = _encode_column(encoder, column)
        except WrongVector as error:
            raise error.in_row(encoder.column, f"row {first_row + error.row}", "X") from None
        blocks.append(values)
        if rows.size:
            first = int(rows[0])
            unseen.append(UnseenCategory(encoder.column, len(rows), first, column[first].as_py()))
    names = [name for encoder in encoders for name in encoder.feature_names()]
    if len(encoders) == 1 and names == list(features):
        return np.require(blocks[0], requirements=("C", "W")), unseen
    position = {name: f for f, name in enumerate(names)}
    x = np.concatenate(blocks, axis=1)
    if names != list(features):
        x = np.take(x, [position[name] for name in features], axis=1)
    return np.ascontiguousarray(x), unseen


def _encode_column(
    encoder: Encoder, column: pa.Array
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the features of a column, float32 (n, width), and the rows of unseen categories."""
    no_rows = np.empty(0, np.int64)
    if pa.types.is_null(column.type) and encoder.kind == "vector":
        return np.full((len(column), encoder.n_features), np.nan, np.float32), no_rows
    if encoder.kind in ("number", "vector"):
        is_known = is_number if encoder.kind == "number" else is_vector
        if not is_known(column.type) and not pa.types.is_null(column.type):
            raise DataError(
                "column.not_numeric",
                f"column '{encoder.column}' has type {column.type}, but had {encoder.kind}s at the "
                "fit",
                hint="convert the column",
                parameter="X",
            )
        with np.errstate(over="ignore"):
            if encoder.kind == "vector":
                values = encoder.subtract_origin(as_matrix(column, encoder.shape))
            else:
                values = encoder.subtract_origin(as_numbers(column))[:, None]
            return values.astype(np.float32), no_rows
    values = np.empty((len(column), encoder.n_features), np.float32)
    return values, encoder.encode_into(column, values)


def _warn_of_unseen(unseen: Sequence[UnseenCategory]) -> None:
    """Warn once for each column; the items of a column are in the order of the rows."""
    for column in dict.fromkeys(item.column for item in unseen):
        items = [item for item in unseen if item.column == column]
        n_rows = sum(item.n_rows for item in items)
        warnings.warn(
            f"column '{column}': {count_with(n_rows, 'row', 'has', 'have')} a category that was "
            f"not in the data of the fit, first {printable_value(items[0].value)} in row "
            f"{items[0].first_row}; it is treated as unknown",
            UserWarning,
            stacklevel=4,
        )


def _as_array(X: Any) -> NDArray[Any]:
    """Return X as an array of numbers or of objects; masked values are NaN.

    Raises
    ------
    DataError
        For sparse matrices, and for other values.
    """
    if is_sparse(X):
        raise DataError(
            "array.sparse",
            f"X is a {type(X).__module__}.{type(X).__name__}",
            rule="must be dense",
            hint="pass some rows at a time as X.toarray()",
            parameter="X",
        )
    try:
        x = np.asarray(X)
        if isinstance(X, np.ma.MaskedArray) and x.dtype.kind in _NUMERIC:
            x = np.where(np.ma.getmaskarray(X), np.nan, x)
    except _CONVERSION_ERRORS as error:
        raise _not_numeric(str(error)) from None
    if x.ndim == 2 and x.dtype.kind not in _NUMERIC:
        raise _not_numeric(f"the type of its values is {x.dtype}")
    return x


def _not_numeric(problem: str) -> DataError:
    return DataError("array.not_numeric", problem, rule="must hold numbers", parameter="X")


def _has_objects(column: Any) -> bool:
    return bool(getattr(column, "dtype", None) == np.dtype(object))


def _part(column: Any, rows: slice) -> Any:
    """Return some rows of a column of a frame or a table."""
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column.slice(rows.start, rows.stop - rows.start)
    return column.iloc[rows]
