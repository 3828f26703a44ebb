"""Fitted feature pipeline, saved with each model and applied to new rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from gpuseg.backends import registry
from gpuseg.backends.feature_transform import TRANSFORMS, FeatureTransform, Projection
from gpuseg.errors import DataError
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, is_number
from gpuseg.preprocessing.encoding.encoder import Encoder


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
    """

    encoders: tuple[Encoder, ...]
    features: tuple[str, ...]
    feature_transform: FeatureTransform

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are needed, in the order in which an array must have them."""
        return tuple(dict.fromkeys(encoder.column for encoder in self._used_encoders()))

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
        columns = self._columns_of_frame(X) if is_frame(X) else self._columns_of_array(X)
        return self.transform_features(
            encode(self._used_encoders(), self.features, columns), backend
        )

    def transform_features(self, x: NDArray[np.float32], backend: str) -> NDArray[np.float32]:
        """Transform rows of features, float32 (n, p); x may be overwritten.

        Raises
        ------
        DataError
            For values that are missing and not filled, infinite, or outside a transform's domain.
        """
        is_infinite = np.isinf(x).any(axis=1)  # clipping would hide it
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            z: NDArray[np.float32] = registry.get(backend).prepare(x, self.feature_transform)
        bad = np.flatnonzero(is_infinite | ~np.isfinite(z).all(axis=1))
        if bad.size:
            raise DataError(
                "rows.not_transformable",
                f"{bad.size} rows have values that are missing, infinite or outside the domain "
                f"of a transform, first row {bad[0]}",
                hint="fix those rows, or fit with `missing` = 'mean', 'median' or 'zero'",
                parameter="X",
            )
        return z

    def to_json(self) -> dict[str, Any]:
        """Return everything except `tensors` as values of JSON."""
        transform = self.feature_transform
        return {
            "features": list(self.features),
            "encoders": [encoder.to_json() for encoder in self.encoders],
            "transform": [TRANSFORMS[code] for code in transform.transform.tolist()],
            "unit_length": transform.unit,
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
        """Return the pipeline from the results of `to_json` and `tensors`."""
        codes = [TRANSFORMS.index(name) for name in description["transform"]]
        projection = None
        if "pca_components" in tensors:
            projection = Projection(tensors["pca_mean"], tensors["pca_components"])
        transform = FeatureTransform(
            fill=tensors["fill"],
            transform=np.array(codes, np.int64),
            shift=tensors["shift"],
            scale=tensors["scale"],
            unit=description["unit_length"],
            clip=tensors.get("clip"),
            power=tensors.get("power"),
            projection=projection,
        )
        encoders = tuple(Encoder.from_json(encoder) for encoder in description["encoders"])
        return cls(encoders, tuple(description["features"]), transform)

    def _used_encoders(self) -> list[Encoder]:
        used = set(self.features)
        return [e for e in self.encoders if not used.isdisjoint(e.feature_names())]

    def _columns_of_frame(self, X: Any) -> dict[str, Any]:
        columns = frame_columns(X)
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise DataError(
                "column.missing",
                f"there is no column {missing[0]!r}",
                rule=f"must have {', '.join(self.columns)}",
                parameter="X",
            )
        return {name: as_arrow(columns[name], name) for name in self.columns}

    def _columns_of_array(self, X: Any) -> dict[str, Any]:
        encoders = self._used_encoders()
        categories = [e.column for e in encoders if e.value_type or e.categories]
        if categories:
            raise DataError(
                "array.has_categories",
                f"X is an array, but {categories[0]!r} holds categories",
                rule="must be a data frame or an Arrow table with the columns "
                f"{', '.join(self.columns)}",
                parameter="X",
            )
        try:
            with np.errstate(over="ignore"):
                x = np.array(X, dtype=np.float32, order="C")
        except (ValueError, TypeError) as error:
            raise DataError(
                "array.not_numeric", str(error), rule="must hold numbers", parameter="X"
            ) from None
        if x.ndim != 2:
            raise DataError(
                "array.not_two_dimensional",
                f"the shape is {x.shape}",
                rule="must be rows of features, as in [[1.0, 2.0]]",
                parameter="X",
            )
        if x.shape[1] != len(self.columns):
            raise DataError(
                "array.wrong_number_of_columns",
                f"there are {x.shape[1]} columns",
                rule=f"must be {len(self.columns)}, in this order: {', '.join(self.columns)}",
                parameter="X",
            )
        return {name: pa.array(x[:, f]) for f, name in enumerate(self.columns)}


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
    by_name: dict[str, NDArray[np.float32]] = {}
    for encoder in encoders:
        by_name |= _encode_column(encoder, columns[encoder.column])
    return np.stack([by_name[name] for name in features], axis=1)


def is_frame(X: Any) -> bool:
    """Return whether X has columns with names."""
    return hasattr(type(X), "columns") or hasattr(X, "__arrow_c_stream__")


def frame_columns(X: Any) -> dict[str, Any]:
    """Return the columns of a frame or table by name, in their order.

    Raises
    ------
    DataError
        For frames that are not in memory, and for duplicate names.
    """
    if type(X).__module__.startswith("pandas"):
        names = [str(name) for name in X.columns]
        columns = [X.iloc[:, i] for i in range(len(names))]
    elif hasattr(X, "__arrow_c_stream__"):
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
    duplicates = [name for name in names if names.count(name) > 1]
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


def _encode_column(encoder: Encoder, column: pa.Array) -> dict[str, NDArray[np.float32]]:
    """Return the features of a column by name."""
    if encoder.kind == "number":
        if not is_number(column.type) and not pa.types.is_null(column.type):
            raise DataError(
                "column.not_numeric",
                f"column '{encoder.column}' has type {column.type}, but had numbers at the fit",
                hint="convert the column",
                parameter="X",
            )
        with np.errstate(over="ignore"):
            return {encoder.column: as_numbers(column).astype(np.float32)}
    names = encoder.feature_names()
    out = np.empty((len(column), len(names)), np.float32)
    unseen = encoder.encode_into(column, out)
    if unseen.size:
        value = column[int(unseen[0])].as_py()
        warnings.warn(
            f"column '{encoder.column}': {unseen.size:,} rows have a category that was not in the "
            f"data of the fit, first {value!r} in row {unseen[0]}; it is treated as unknown",
            UserWarning,
            stacklevel=2,
        )
    return {name: out[:, i] for i, name in enumerate(names)}
