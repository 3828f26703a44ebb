"""What is counted in the columns of the data, and the encoders that are settled from it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.errors import DataError
from gpuseg.preprocessing.encoding.arrow_columns import as_text, gaps
from gpuseg.preprocessing.encoding.encoder import Encoder

Asked = Mapping[str, str | Sequence[str]]
"""Columns of categories, and what becomes of each: "onehot", "frequency", or a list: an order."""

MAX_CATEGORIES = 100_000
"""Different values that a column of categories may have: one with more holds ids."""


@dataclass
class ColumnCounts:
    """What is counted in some rows of a column before its encoder is settled.

    Attributes
    ----------
    rows, missing : int
    values : Counter of str
        Of a column of categories.
    family : str
        See `Encoder`; "" where every value is missing.
    """

    rows: int = 0
    missing: int = 0
    values: Counter[str] = field(default_factory=Counter)
    family: str = ""

    def add(self, column: pa.Array, name: str, categories: bool) -> None:
        """Count a column.

        Raises
        ------
        DataError
            For what cannot be a category, and for too many of them.
        """
        self.rows += len(column)
        if not categories:
            self.missing += int(gaps(column).sum())
            return
        family, text = as_text(column, name)
        self.missing += text.null_count
        found = pc.value_counts(text.drop_null())
        pairs = zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)
        self.merge(ColumnCounts(0, 0, Counter(dict(pairs)), family), name)

    def merge(self, other: "ColumnCounts", name: str) -> None:
        """Add what was counted in other rows of the column."""
        self.rows += other.rows
        self.missing += other.missing
        self.values.update(other.values)
        self.family = self.family or other.family
        if len(self.values) > MAX_CATEGORIES:
            raise DataError(
                f"column '{name}' has more than {MAX_CATEGORIES:,} different values: that is an "
                "id, and says nothing of what customers have in common; leave it out"
            )


def settle(
    columns: Sequence[str],
    asked: Asked,
    tallies: Mapping[str, ColumnCounts],
    most: int,
    flags: bool,
    gaps_are_values: bool,
    key: str,
) -> tuple[Encoder, ...]:
    """Return the encoders of all columns, in their order; flags of gaps come last.

    Parameters
    ----------
    most : int
        Columns that a one-hot category takes, "other" included.
    flags : bool
        Whether each number with gaps gets a flag that tells where they are.
    gaps_are_values : bool
        Whether rows without a category stay: they are then a category of their own.
    key : str
        The parameter that holds `asked`, for messages.

    Raises
    ------
    DataError
        For values that an order does not hold, and features that would have one name.
    """
    encoders = []
    for name in columns:
        how = asked.get(name)
        if how is None:
            encoders.append(Encoder(name))
        elif how == "onehot":
            encoders.append(_one_hot(name, tallies[name], most, gaps_are_values))
        elif how == "frequency":
            encoders.append(_frequency(name, tallies[name], gaps_are_values))
        else:
            encoders.append(_ordinal(name, tallies[name], tuple(how), key))
    numbers = [name for name in columns if name not in asked]
    with_gaps = [name for name in numbers if flags and tallies[name].missing]
    settled = (*encoders, *(Encoder(name, "is missing") for name in with_gaps))
    _refuse_twice([name for encoder in settled for name in encoder.names()])
    return settled


def _refuse_twice(features: Sequence[str]) -> None:
    twice = [name for name, count in Counter(features).items() if count > 1]
    if twice:
        raise DataError(
            f"two features would be called '{twice[0]}': a column of that name and what becomes of "
            "another, or a value that is called as the category of others; rename one"
        )


def _one_hot(name: str, tally: ColumnCounts, most: int, gaps_are_values: bool) -> Encoder:
    by_count = sorted(tally.values, key=lambda value: (-tally.values[value], value))
    other = len(by_count) > most
    kept = tuple(sorted(by_count[: most - other]))
    missing = gaps_are_values and tally.missing > 0
    return Encoder(name, "onehot", tally.family, kept, (), other, missing, gaps_are_values)


def _frequency(name: str, tally: ColumnCounts, gaps_are_values: bool) -> Encoder:
    kept = tuple(sorted(tally.values))
    counts = [*(tally.values[value] for value in kept), tally.missing]
    shares = tuple(count / tally.rows for count in counts)
    missing = gaps_are_values and tally.missing > 0
    return Encoder(name, "frequency", tally.family, kept, shares, False, missing, gaps_are_values)


def _ordinal(name: str, tally: ColumnCounts, order: tuple[str, ...], key: str) -> Encoder:
    beyond = sorted(set(tally.values) - set(order))
    if beyond:
        count = sum(tally.values[value] for value in beyond)
        raise DataError(
            f"{key}.{name}: {count:,} rows hold values that the order does not, such as "
            f"{beyond[0]!r}; add them where they belong, or make them null"
        )
    return Encoder(name, "ordinal", tally.family, order)
