"""Encode one column as features.

An encoder is fitted once, to the counts of the data (`column_counts`), and then treats every later
row in the same way. A category that was not in the data of the fit is encoded as follows:

* one-hot: as "other" if there is such a feature, otherwise as none of the known categories;
* frequency: as share 0;
* ordinal: as a missing value, since it has no position in the order.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import to_numpy
from gpuseg.errors import DataError
from gpuseg.preprocessing.encoding.arrow_columns import as_text, gaps
from gpuseg.preprocessing.encoding.vectors import Shape, element_names, missing_elements

Kind = Literal["number", "vector", "is missing", "onehot", "frequency", "ordinal"]

OTHER, MISSING = "(other)", "(missing)"
"""Labels of the rare and of the missing values of a column."""


@dataclass(frozen=True)
class Encoder:
    """Encoder of one column as one or more features.

    Attributes
    ----------
    column : str
    kind : {"number", "vector", "is missing", "onehot", "frequency", "ordinal"}
    value_type : str
        Type of the column's values at the fit: "text", "whole numbers" or "booleans"; "" for
        numbers.
    categories : tuple of str
        Categories with a code of their own.
    shares : tuple of float
        For "frequency": shares of the rows; the last is the share of rows without a category.
    other : bool
        Whether a one-hot feature represents the remaining categories.
    missing : bool
        Whether a missing category is a category of its own.
    keeps_missing : bool
        Whether rows without a category are kept. If missing is not a category of its own, such a
        row is encoded as one with a category that was not in the data of the fit. Rows that are
        not kept get a missing value.
    origin : float
        Subtracted from a number in float64, before it becomes float32 (`numerics.origin`).
    shape : tuple of int
        Of the vectors of a column, also where the feature is whether they are missing.
    origins : tuple of float
        The origin of each element of a vector; empty if all are 0.
    """

    column: str
    kind: Kind = "number"
    value_type: str = ""
    categories: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    other: bool = False
    missing: bool = False
    keeps_missing: bool = False
    origin: float = 0.0
    shape: Shape = ()
    origins: tuple[float, ...] = ()

    @property
    def n_features(self) -> int:
        """Number of features."""
        return math.prod(self.shape) if self.kind == "vector" else len(self.feature_names())

    @property
    def has_origin(self) -> bool:
        """Whether something is subtracted from the values."""
        return self.origin != 0.0 or bool(self.origins)

    def feature_names(self) -> list[str]:
        """Return the names of the features."""
        if self.kind == "vector":
            return element_names(self.column, self.shape)
        if self.kind == "is missing":
            return [f"{self.column} is missing"]
        if self.kind != "onehot":
            return [self.column]
        extra = [OTHER] * self.other + [MISSING] * self.missing
        return [f"{self.column}={name}" for name in (*self.categories, *extra)]

    def subtract_origin(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return numbers of the column, measured from the origin.

        They are float32 or float64 (n,), or (n, n_features) for vectors.
        """
        if not self.has_origin:
            return values
        moved: NDArray[np.float64] = values.astype(np.float64) - np.array(
            self.origins or self.origin
        )
        return moved

    def encode_into(self, column: pa.Array, out: NDArray[np.float32]) -> NDArray[np.int64]:
        """Write the features of a column that has no numbers into out (rows, n_features).

        Returns
        -------
        int64 (m,)
            The rows with a category that was not in the data of the fit.

        Raises
        ------
        DataError
            If the type of the values differs from the fit.
        WrongVector
            If vectors are marked that are missing, and one has another shape.
        """
        if self.kind == "is missing":
            out[:, 0] = missing_elements(column, self.shape) if self.shape else gaps(column)
            return np.empty(0, np.int64)
        code, gap = self._codes(column)
        unseen = (code < 0) & ~gap
        if self.keeps_missing and not self.missing:  # the fit had no missing value
            unseen, gap = code < 0, np.zeros_like(gap)
        if self.kind == "onehot":
            self._encode_one_hot(out, code, gap, unseen)
        elif self.kind == "frequency":
            values = np.append(self.shares, [0.0])  # code -1 selects the last
            out[:, 0] = values[code]
            out[gap, 0] = self.shares[-1] if self.missing else np.nan
        else:
            out[:, 0] = np.where(code < 0, np.nan, code)
        return np.flatnonzero(unseen & (not self.other))

    def _encode_one_hot(
        self,
        out: NDArray[np.float32],
        code: NDArray[np.int64],
        gap: NDArray[np.bool_],
        unseen: NDArray[np.bool_],
    ) -> None:
        out[:] = 0
        known = np.flatnonzero(code >= 0)
        out[known, code[known]] = 1
        if self.other:
            out[unseen, len(self.categories)] = 1
        if self.missing:
            out[gap, -1] = 1
        else:
            out[gap] = np.nan

    def _codes(self, column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the index of each value in the categories (-1 if absent), and the gaps."""
        value_type, text = as_text(column, self.column)
        if value_type not in (self.value_type, ""):
            raise DataError(
                "category.changed_type",
                f"column '{self.column}' has {value_type}, but had {self.value_type} at the fit",
                rule="categories are compared as text",
                hint="convert the column",
            )
        index = pc.index_in(text, value_set=pa.array(self.categories, pa.string()))
        code = to_numpy(pc.fill_null(index, -1)).astype(np.int64)
        return code, to_numpy(pc.is_null(text))

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as values of JSON."""
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
        }
        if not self.shape:  # models without vectors can be read by older versions
            del values["shape"], values["origins"]
        return values


def feature_origins(
    encoders: Sequence[Encoder], features: Sequence[str]
) -> NDArray[np.float64] | None:
    """Return the origin of each of the features, float64 (d,); None if all are 0."""
    by_name = {e.column: e.origin for e in encoders if e.kind == "number"}
    for encoder in encoders:
        if encoder.origins:
            by_name |= dict(zip(encoder.feature_names(), encoder.origins, strict=True))
    origins = np.array([by_name.get(name, 0.0) for name in features])
    return origins if origins.any() else None


def with_origins(encoders: Sequence[Encoder], origins: Mapping[str, float]) -> list[Encoder]:
    """Return the encoders, those of numbers and vectors with the origins of their features."""

    def moved(encoder: Encoder) -> Encoder:
        if encoder.kind == "number":
            return replace(encoder, origin=origins.get(encoder.column, 0.0))
        of_elements = tuple(origins.get(name, 0.0) for name in encoder.feature_names())
        return replace(encoder, origins=of_elements) if any(of_elements) else encoder

    return [moved(e) if origins and e.kind in ("number", "vector") else e for e in encoders]
