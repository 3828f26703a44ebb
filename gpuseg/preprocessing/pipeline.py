"""What was done to the rows of a fit, saved with a model, and done again to new rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import TRANSFORMS, FeatureTransform, Projection
from gpuseg.errors import DataError
from gpuseg.numerics.to_float32 import to_float32
from gpuseg.optional import is_arrow, is_pandas
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, is_number
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.runtime.executor import TaskContext

_ROWS_PER_BLOCK = 16_384
"""Rows transformed at a time by a thread; their features stay in the cache."""


@dataclass(frozen=True)
class FeaturePipeline:
    """From rows as they are found to rows as they are clustered.

    Attributes
    ----------
    encoders : tuple of Encoder
        From columns to features.
    features : tuple of str
        Those of the encoders' features that are used.
    preparation : Preparation
        From these features to what is clustered.
    """

    encoders: tuple[Encoder, ...]
    features: tuple[str, ...]
    preparation: FeatureTransform

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are needed, in the order in which an array must have them."""
        return tuple(dict.fromkeys(encoder.column for encoder in self._used()))

    def rows(self, X: ArrayLike, backend: str) -> NDArray[np.float32]:
        """Return all rows of raw columns as they are clustered, float32 (n, p).

        Raises
        ------
        DataError
            For a missing column, a column of another type than at the fit, and values that cannot
            be transformed.

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
        columns = self._of_frame(X) if is_frame(X) else self._of_array(X)
        return RawRows(self, columns)

    def prepared(self, x: NDArray[np.float32], backend: str) -> NDArray[np.float32]:
        """Return rows of features as they are clustered, float32 (n, p); x may be overwritten.

        Raises
        ------
        DataError
            For values that are missing and not filled, infinite, or outside a transform's domain.
        """
        z, bad = self._transformed(x, backend)
        _refuse_bad_rows(bad)
        return z

    def transform_block(
        self, columns: "RawColumns", rows: slice, backend: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], list["UnseenCategory"]]:
        """Return rows as they are clustered, those that cannot be, and unseen categories.

        Both number the rows from the first one of `columns`.
        """
        x, unseen = _encode(self._used(), self.features, columns.read(rows))
        z, bad = self._transformed(x, backend)
        return z, bad + rows.start, [item.after(rows.start) for item in unseen]

    def _transformed(
        self, x: NDArray[np.float32], backend: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return rows as they are clustered, and which of them are not finite."""
        infinite = np.isinf(x).any(axis=1)  # clipping would hide it
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            z: NDArray[np.float32] = registry.get(backend).prepare(x, self.preparation)
        return z, np.flatnonzero(infinite | ~np.isfinite(z).all(axis=1))

    def described(self) -> dict[str, Any]:
        """Return as JSON holds it what `tensors` does not."""
        p = self.preparation
        return {
            "features": list(self.features),
            "encoders": [encoder.described() for encoder in self.encoders],
            "transform": [TRANSFORMS[code] for code in p.transform.tolist()],
            "unit_length": p.unit,
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the preparation by name."""
        p = self.preparation
        found = {"fill": p.fill, "shift": p.shift, "scale": p.scale, "clip": p.clip}
        found["power"] = p.power
        if p.projection is not None:
            found["pca_mean"] = p.projection.mean
            found["pca_components"] = p.projection.components
        return {name: np.ascontiguousarray(a) for name, a in found.items() if a is not None}

    @classmethod
    def read(cls, described: Mapping[str, Any], t: Mapping[str, NDArray[Any]]) -> "FeaturePipeline":
        """Return what `described` and `tensors` tell."""
        codes = np.array([TRANSFORMS.index(name) for name in described["transform"]], np.int64)
        projection = None
        if "pca_components" in t:
            projection = Projection(t["pca_mean"], t["pca_components"])
        preparation = FeatureTransform(
            t["fill"], codes, t["shift"], t["scale"], described["unit_length"], t.get("clip"),
            t.get("power"), projection,
        )  # fmt: skip
        encoders = tuple(Encoder.read(own) for own in described["encoders"])
        return cls(encoders, tuple(described["features"]), preparation)

    def _used(self) -> list[Encoder]:
        wanted = set(self.features)
        return [e for e in self.encoders if not wanted.isdisjoint(e.names())]

    def _of_frame(self, X: Any) -> "RawColumns":
        frame = frame_columns(X)
        missing = [name for name in self.columns if name not in frame]
        if missing:
            raise DataError(
                "x.missing_column",
                f"X has no column {missing[0]!r}",
                rule=f"must have {', '.join(self.columns)}",
            )
        return FrameColumns({name: frame[name] for name in self.columns})

    def _of_array(self, X: Any) -> "RawColumns":
        categories = [e.column for e in self._used() if e.family or e.categories]
        if categories:
            raise DataError(
                "x.not_a_frame",
                f"X is an array, but {categories[0]!r} holds categories",
                rule="must be a data frame or an Arrow table with the columns "
                f"{', '.join(self.columns)}",
            )
        try:
            x = np.asarray(X)
        except (ValueError, TypeError) as error:
            raise _not_numeric(error) from None
        if x.ndim != 2:
            raise DataError(
                "x.wrong_dimensions",
                f"X has shape {x.shape}",
                rule="must be rows of features, as in [[1.0, 2.0]]",
            )
        if x.shape[1] != len(self.columns):
            raise DataError(
                "x.wrong_width",
                f"X has {x.shape[1]} columns",
                rule=f"must have {len(self.columns)}, in this order: {', '.join(self.columns)}",
            )
        return ArrayColumns(x, self.columns)


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
    """Columns of an array of numbers (n, d), and their names."""

    def __init__(self, x: NDArray[Any], names: Sequence[str]) -> None:
        self._x, self._names, self.n_rows = x, names, len(x)

    def read(self, rows: slice) -> Mapping[str, pa.Array]:
        """See `RawColumns`."""
        try:
            x = to_float32(self._x[rows])
        except (ValueError, TypeError) as error:
            raise _not_numeric(error) from None
        return {name: pa.array(x[:, f]) for f, name in enumerate(self._names)}


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

    def check(self) -> None:
        """Warn of unseen categories, and refuse rows that cannot be clustered.

        Raises
        ------
        DataError
        """
        _warn_of_unseen(self._unseen)
        if self._bad:
            _refuse_bad_rows(np.concatenate(self._bad))


class UnseenCategory(NamedTuple):
    """Rows of a column with a category that was not in the data of the fit."""

    column: str
    n_rows: int
    first_row: int
    value: Any

    def after(self, n_rows: int) -> "UnseenCategory":
        """Return the same for rows that follow others."""
        return self._replace(first_row=self.first_row + n_rows)


def encoded(
    encoders: Sequence[Encoder], features: Sequence[str], columns: Mapping[str, pa.Array]
) -> NDArray[np.float32]:
    """Return some features of columns, float32 (n, d), C-order.

    Raises
    ------
    DataError
        For a column of another type than at the fit.

    Warns
    -----
    UserWarning
        For categories that were not in the data of the fit.
    """
    x, unseen = _encode(encoders, features, columns)
    _warn_of_unseen(unseen)
    return x


def _encode(
    encoders: Sequence[Encoder], features: Sequence[str], columns: Mapping[str, pa.Array]
) -> tuple[NDArray[np.float32], list[UnseenCategory]]:
    by_name: dict[str, NDArray[np.float32]] = {}
    unseen = []
    for encoder in encoders:
        column = columns[encoder.column]
        values, rows = _features(encoder, column)
        by_name |= {name: values[:, i] for i, name in enumerate(encoder.names())}
        if rows.size:
            first = int(rows[0])
            unseen.append(UnseenCategory(encoder.column, len(rows), first, column[first].as_py()))
    return np.stack([by_name[name] for name in features], axis=1), unseen


def _features(encoder: Encoder, column: pa.Array) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the features of a column, float32 (n, width), and the rows of unseen categories."""
    if encoder.kind == "number":
        if not is_number(column.type) and not pa.types.is_null(column.type):
            raise DataError(
                "feature.not_numeric",
                f"column '{encoder.column}' holds {column.type}, but numbers at the fit",
                hint="convert it",
            )
        with np.errstate(over="ignore"):
            return as_numbers(column).astype(np.float32)[:, None], np.empty(0, np.int64)
    values = np.empty((len(column), len(encoder.names())), np.float32)
    return values, encoder.write(column, values)


def _warn_of_unseen(unseen: Sequence[UnseenCategory]) -> None:
    """Warn once for each column; the items of a column are in the order of the rows."""
    for column in dict.fromkeys(item.column for item in unseen):
        items = [item for item in unseen if item.column == column]
        warnings.warn(
            f"column '{column}': {sum(item.n_rows for item in items):,} rows hold a category that "
            f"was not in the data of the fit, first {items[0].value!r} in row "
            f"{items[0].first_row}; it counts as none of the known categories",
            UserWarning,
            stacklevel=4,
        )


def _refuse_bad_rows(bad: NDArray[np.int64]) -> None:
    if bad.size:
        raise DataError(
            "x.not_finite",
            f"X has {bad.size} rows with values that are missing, infinite or outside the domain "
            f"of a transform, first row {bad[0]}",
            hint="fix those rows, or fit with `missing` = 'mean', 'median' or 'zero'",
        )


def _not_numeric(error: Exception) -> DataError:
    return DataError("x.not_numeric", f"X must hold numbers: {error}")


def _has_objects(column: Any) -> bool:
    return bool(getattr(column, "dtype", None) == np.dtype(object))


def _part(column: Any, rows: slice) -> Any:
    """Return some rows of a column of a frame or a table."""
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column.slice(rows.start, rows.stop - rows.start)
    return column.iloc[rows]


def is_frame(X: Any) -> bool:
    """Whether X has columns with names."""
    return hasattr(type(X), "columns") or is_arrow(X)


def frame_columns(X: Any) -> dict[str, Any]:
    """Return the columns of a frame or table by name, in their order.

    Raises
    ------
    DataError
        For frames that are not in memory, and names that occur twice.
    """
    if is_pandas(X):
        names = [str(name) for name in X.columns]
        columns = [X.iloc[:, i] for i in range(len(names))]
    elif is_arrow(X):
        try:
            table = pa.RecordBatchReader.from_stream(X).read_all()
        except pa.ArrowException as error:
            raise DataError(f"X is no table of rows ({error}): give a frame or a table") from None
        names, columns = table.column_names, table.columns
    else:
        raise DataError(
            f"X is a {type(X).__module__}.{type(X).__name__}: must be in memory, a pandas or "
            "Polars frame or an Arrow table; collect or compute it first"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"X has two columns called {twice[0]!r}: rename one of them")
    return dict(zip(names, columns, strict=True))


def as_arrow(column: Any, name: str) -> pa.Array:
    """Return a column of a frame or a table as Arrow's.

    Raises
    ------
    DataError
        For values of several types.
    """
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks()
    if isinstance(column, pa.Array):
        return column
    try:
        found = pa.array(column, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError, ValueError) as error:
        raise DataError(f"column '{name}': cannot be read as one type ({error})") from None
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
