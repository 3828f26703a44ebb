"""What was done to the rows of a fit, saved with a model, and done again to new rows."""

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
        """Return rows of raw columns as they are clustered, float32 (n, p).

        Raises
        ------
        DataError
            For a column that is lacking or holds something else than at the fit, and values that
            cannot be prepared.

        Warns
        -----
        UserWarning
            Of categories that were not there at the fit.
        """
        columns = self._of_frame(X) if is_frame(X) else self._of_array(X)
        return self.prepared(encoded(self._used(), self.features, columns), backend)

    def prepared(self, x: NDArray[np.float32], backend: str) -> NDArray[np.float32]:
        """Return rows of features as they are clustered, float32 (n, p); x may be overwritten.

        Raises
        ------
        DataError
            For values that are missing and not filled, infinite, or outside a transform's domain.
        """
        infinite = np.isinf(x).any(axis=1)  # clipping would hide it
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            found: NDArray[np.float32] = registry.get(backend).prepare(x, self.preparation)
        bad = np.flatnonzero(infinite | ~np.isfinite(found).all(axis=1))
        if bad.size:
            raise DataError(
                f"X has {bad.size} rows with values that are missing, infinite or outside the "
                f"domain of a transform, first row {bad[0]}; mend those rows, or fit with missing "
                "= 'mean', 'median' or 'zero'"
            )
        return found

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

    def _of_frame(self, X: Any) -> dict[str, Any]:
        found = frame_columns(X)
        lacking = [name for name in self.columns if name not in found]
        if lacking:
            raise DataError(f"X has no column {lacking[0]!r}: must have {', '.join(self.columns)}")
        return {name: as_arrow(found[name], name) for name in self.columns}

    def _of_array(self, X: Any) -> dict[str, Any]:
        categories = [e.column for e in self._used() if e.family or e.categories]
        if categories:
            raise DataError(
                f"X is an array, and {categories[0]!r} holds categories: must be a data frame or "
                f"an Arrow table with the columns {', '.join(self.columns)}"
            )
        try:
            with np.errstate(over="ignore"):
                x = np.array(X, dtype=np.float32, order="C")
        except (ValueError, TypeError) as error:
            raise DataError(f"X must hold numbers: {error}") from None
        if x.ndim != 2:
            raise DataError(f"X has shape {x.shape}: must be rows of features, as in [[1.0, 2.0]]")
        if x.shape[1] != len(self.columns):
            raise DataError(
                f"X has {x.shape[1]} columns: must have {len(self.columns)}, in this order: "
                f"{', '.join(self.columns)}"
            )
        return {name: pa.array(x[:, f]) for f, name in enumerate(self.columns)}


def encoded(
    encoders: Sequence[Encoder], features: Sequence[str], columns: Mapping[str, pa.Array]
) -> NDArray[np.float32]:
    """Return some features of columns, float32 (n, d), C-order.

    Raises
    ------
    DataError
        For a column that holds something else than at the fit.

    Warns
    -----
    UserWarning
        Of categories that were not there at the fit.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for encoder in encoders:
        found |= _features(encoder, columns[encoder.column])
    return np.stack([found[name] for name in features], axis=1)


def is_frame(X: Any) -> bool:
    """Whether X has columns with names."""
    return hasattr(type(X), "columns") or hasattr(X, "__arrow_c_stream__")


def frame_columns(X: Any) -> dict[str, Any]:
    """Return the columns of a frame or table by name, in their order.

    Raises
    ------
    DataError
        For frames that are not in memory, and names that occur twice.
    """
    if type(X).__module__.startswith("pandas"):
        names = [str(name) for name in X.columns]
        columns = [X.iloc[:, i] for i in range(len(names))]
    elif hasattr(X, "__arrow_c_stream__"):
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


def _features(encoder: Encoder, column: pa.Array) -> dict[str, NDArray[np.float32]]:
    """Return the features of a column by name."""
    if encoder.kind == "number":
        if not is_number(column.type) and not pa.types.is_null(column.type):
            raise DataError(
                f"column '{encoder.column}' holds {column.type}, and numbers at the fit; convert it"
            )
        with np.errstate(over="ignore"):
            return {encoder.column: as_numbers(column).astype(np.float32)}
    names = encoder.names()
    out = np.empty((len(column), len(names)), np.float32)
    unseen = encoder.write(column, out)
    if unseen.size:
        value = column[int(unseen[0])].as_py()
        warnings.warn(
            f"column '{encoder.column}': {unseen.size:,} rows hold a category that was not there "
            f"at the fit, first {value!r} in row {unseen[0]}; it is taken for none of the known",
            UserWarning,
            stacklevel=2,
        )
    return {name: out[:, i] for i, name in enumerate(names)}
