"""What `Preprocessor` must know of columns before it can encode them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gpuseg.estimators._inputs.arrays import refuse_not_number
from gpuseg.estimators._inputs.vectors import fixed_shape
from gpuseg.numerics.origin import ColumnRanges
from gpuseg.preprocessing.encoding.arrow_columns import as_numbers, is_number
from gpuseg.preprocessing.encoding.encoder import Encoder, with_origins
from gpuseg.preprocessing.encoding.fit_encoders import ColumnCounts
from gpuseg.preprocessing.encoding.vectors import Shape, as_matrix
from gpuseg.preprocessing.params import PreprocessingParams


@dataclass(frozen=True)
class ColumnSummaries:
    """Counts of all columns, shapes of vectors, and ranges of what may have an origin, by name."""

    counts: Mapping[str, ColumnCounts]
    shapes: Mapping[str, Shape]
    ranges: Mapping[str, ColumnRanges]

    @classmethod
    def of(cls, columns: Mapping[str, pa.Array], params: PreprocessingParams) -> ColumnSummaries:
        """Return the summaries of some rows.

        Raises
        ------
        DataError
            For columns that are neither numbers nor categories, and too many distinct values.
        """
        fixed = {name: fixed_shape(column.type) for name, column in columns.items()}
        shapes = {name: shape for name, shape in fixed.items() if shape is not None}
        counts = {name: ColumnCounts() for name in columns}
        for name, column in columns.items():
            if name not in params.categorical and not pa.types.is_null(column.type):
                refuse_not_number(pa.field(name, column.type))
            counts[name].add(column, name, name in params.categorical, shapes.get(name))
        encoders = params.preview_encoders(list(columns), shapes)
        movable = params.columns_with_origin(encoders, translation_invariant=False)
        ranges = {}
        for name in movable:
            column, shape = columns[name], shapes.get(name)
            if shape:
                ranges[name] = ColumnRanges.of(as_matrix(column, shape).astype(np.float64))
            elif is_number(column.type):
                ranges[name] = ColumnRanges.of(as_numbers(column).astype(np.float64)[:, None])
        return cls(counts, shapes, ranges)

    def merge(self, other: ColumnSummaries) -> ColumnSummaries:
        """Return the summaries of both sets of rows; the counts here are added to."""
        for name, counts in self.counts.items():
            counts.merge(other.counts[name], name)
        both = self.ranges.keys() & other.ranges.keys()
        merged = {name: self.ranges[name].merge(other.ranges[name]) for name in both}
        return ColumnSummaries(self.counts, self.shapes, merged)

    def fit_encoders(self, params: PreprocessingParams) -> tuple[Encoder, ...]:
        """Return the encoders of the columns.

        Raises
        ------
        DataError
            As `preprocessing.encoding.fit_encoders`.
        """
        encoders = params.fit_encoders(list(self.counts), self.counts, self.shapes)
        origins: dict[str, float] = {}
        for encoder in encoders:
            if encoder.kind in ("number", "vector") and encoder.column in self.ranges:
                of_features = self.ranges[encoder.column].origins().tolist()
                origins |= dict(zip(encoder.feature_names(), of_features, strict=True))
        return tuple(with_origins(encoders, origins))
