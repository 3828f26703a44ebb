"""Count the values of columns, and fit the encoders to these counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.errors import DataError
from gpuseg.formatting import count
from gpuseg.preprocessing.encoding.arrow_columns import as_text, gaps
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.encoding.vectors import Shape, missing_elements

Encodings = Mapping[str, str | Sequence[str]]
"""Encoding of each column of categories: "onehot", "frequency", or the values in their order."""

MAX_CATEGORIES = 100_000
"""Maximum number of distinct values of a category; a column with more probably holds ids."""


@dataclass
class ColumnCounts:
    """Counts of some rows of a column.

    Attributes
    ----------
    rows, missing : int
    values : Counter of str
        Of a column of categories.
    value_type : str
        See `Encoder`; "" if every value is missing.
    """

    rows: int = 0
    missing: int = 0
    values: Counter[str] = field(default_factory=Counter)
    value_type: str = ""

    def add(
        self, column: pa.Array, name: str, is_category: bool, shape: Shape | None = None
    ) -> None:
        """Add the counts of more rows.

        Parameters
        ----------
        shape : tuple of int, optional
            That of the vectors, for a column of vectors.

        Raises
        ------
        DataError
            For values that cannot be categories, and for too many distinct ones.
        WrongVector
            For vectors of another shape.
        """
        self.rows += len(column)
        if not is_category:
            missing = missing_elements(column, shape) if shape else gaps(column)
            self.missing += int(missing.sum())
            return
        value_type, text = as_text(column, name)
        self.missing += text.null_count
        counts = pc.value_counts(text.drop_null())
        pairs = zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)
        self.merge(ColumnCounts(0, 0, Counter(dict(pairs)), value_type), name)

    def merge(self, other: "ColumnCounts", name: str) -> None:
        """Add the counts of other rows of the column."""
        self.rows += other.rows
        self.missing += other.missing
        self.values.update(other.values)
        self.value_type = self.value_type or other.value_type
        if len(self.values) > MAX_CATEGORIES:
            raise DataError(
                "category.too_many_values",
                f"column '{name}' has more than {MAX_CATEGORIES:,} distinct values",
                hint="it looks like an identifier; remove it from `categorical`",
                parameter="categorical",
            )


def fit_encoders(
    columns: Sequence[str],
    encodings: Encodings,
    counts: Mapping[str, ColumnCounts],
    max_categories: int,
    missing_indicator: bool,
    keeps_missing: bool,
    shapes: Mapping[str, Shape],
) -> tuple[Encoder, ...]:
    """Return the encoders of all columns, in their order; missing indicators follow at the end.

    Parameters
    ----------
    max_categories : int
        Maximum number of features of a one-hot category, including "other".
    missing_indicator : bool
        Whether each number with missing values gets a feature that marks them.
    keeps_missing : bool
        Whether rows without a category are kept; they then get a category of their own.
    shapes : mapping of str to tuple of int
        Columns of vectors, and the shape of these.

    Raises
    ------
    DataError
        For values that are not in the given order, and features with the same name.
    """
    encoders = []
    for name in columns:
        encoding = encodings.get(name)
        if encoding is None:
            encoders.append(uncoded(name, shapes))
        elif encoding == "onehot":
            encoders.append(_one_hot(name, counts[name], max_categories, keeps_missing))
        elif encoding == "frequency":
            encoders.append(_frequency(name, counts[name], keeps_missing))
        else:
            encoders.append(_ordinal(name, counts[name], tuple(encoding)))
    if missing_indicator:
        numbers = [name for name in columns if name not in encodings]
        encoders += [
            Encoder(name, "is missing", shape=shapes.get(name, ()))
            for name in numbers
            if counts[name].missing
        ]
    _check_unique([name for encoder in encoders for name in encoder.feature_names()])
    return tuple(encoders)


def uncoded(column: str, shapes: Mapping[str, Shape]) -> Encoder:
    """Return the encoder of a column of numbers, or of vectors if it has a shape."""
    shape = shapes.get(column)
    return Encoder(column) if shape is None else Encoder(column, "vector", shape=shape)


def _check_unique(features: Sequence[str]) -> None:
    duplicates = [name for name, count in Counter(features).items() if count > 1]
    if duplicates:
        raise DataError(
            "feature.duplicate_name",
            f"two features would have the name '{duplicates[0]}'",
            rule="names of columns and of encoded features must be unique",
            hint="rename the column or the value",
            parameter="features",
        )


def _one_hot(name: str, counts: ColumnCounts, max_categories: int, keeps_missing: bool) -> Encoder:
    by_count = sorted(counts.values, key=lambda value: (-counts.values[value], value))
    has_other = len(by_count) > max_categories
    categories = tuple(sorted(by_count[: max_categories - has_other]))
    missing = keeps_missing and counts.missing > 0
    if not categories and not missing:
        raise DataError(
            "feature.all_missing",
            f"column '{name}' has {count(counts.rows, 'row')}, all without a value",
            hint="leave it out of `categorical`",
            parameter="categorical",
        )
    return Encoder(
        name, "onehot", counts.value_type, categories, (), has_other, missing, keeps_missing
    )


def _frequency(name: str, counts: ColumnCounts, keeps_missing: bool) -> Encoder:
    categories = tuple(sorted(counts.values))
    frequencies = [*(counts.values[value] for value in categories), counts.missing]
    shares = tuple(frequency / counts.rows for frequency in frequencies)
    missing = keeps_missing and counts.missing > 0
    return Encoder(
        name, "frequency", counts.value_type, categories, shares, False, missing, keeps_missing
    )


def _ordinal(name: str, counts: ColumnCounts, order: tuple[str, ...]) -> Encoder:
    unknown = sorted(set(counts.values) - set(order))
    if unknown:
        n_rows = sum(counts.values[value] for value in unknown)
        raise DataError(
            "category.not_in_order",
            f"column '{name}' has {count(n_rows, 'row')} with values that its order does not "
            f"contain, such as {unknown[0]!r}",
            hint="add them to the order, or make them null",
            parameter="categorical",
        )
    return Encoder(name, "ordinal", counts.value_type, order)
