"""What a feature is in SQL, and how a bound on it is said."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpuseg.preprocessing.encoding.encoder import MISSING, OTHER, Encoder
from gpuseg.profiling.rules.surrogate_tree import Bound

MAX_CATEGORIES = 200
"""A column of more is not spelled out in SQL."""


@dataclass(frozen=True)
class Feature:
    """A feature as rules speak of it.

    Attributes
    ----------
    name : str
    sql : str
        Its value from the columns of the input.
    kind : {"number", "flag", "ordinal"}
        A flag is 0 or 1: of a category, or of a gap.
    said : str
        The same in words.
    steps : sequence of str
        The values of an ordinal feature, in their order.
    whole : bool
        Whether all values seen are whole numbers.
    unsaid : str
        Of a flag: the opposite, in words.
    fill : float or None
        What stands in for a missing value, where there are some.
    """

    name: str
    sql: str
    kind: str
    said: str
    steps: Sequence[str] = ()
    whole: bool = False
    unsaid: str = ""
    fill: float | None = None

    def in_sql(self, bound: Bound) -> str:
        """Return a bound as a condition in SQL."""
        parts = []
        if bound.low > -math.inf:
            parts.append(f"{self.sql} > {number(bound.low)}")
        if bound.high < math.inf:
            parts.append(f"{self.sql} <= {number(bound.high)}")
        return " AND ".join(parts)

    def in_words(self, bound: Bound) -> str:
        """Return a bound in words."""
        low, high = bound.low, bound.high
        if self.kind == "flag":
            return self.said if low >= 0 else self.unsaid
        gap = self.fill is not None and low < self.fill <= high
        if self.kind == "ordinal":
            within = [s for i, s in enumerate(self.steps) if low < i <= high] + ["missing"] * gap
            return f"{self.said} is {' or '.join(within)}"
        return self._number_in_words(low, high) + " or missing" * gap

    def _number_in_words(self, low: float, high: float) -> str:
        if self.whole:
            low, high = math.floor(low) + 1 if low > -math.inf else low, _floor(high)
            if low == high:
                return f"{self.said} is {high:,.0f}"
        above = f"{'at least' if self.whole else 'above'} {_shown(low)}"
        most = f"at most {_shown(high)}"
        parts = [above] * (low > -math.inf) + [most] * (high < math.inf)
        return f"{self.said} {' and '.join(parts)}"


def features_of(encoders: Sequence[Encoder], fill: Mapping[str, float]) -> dict[str, Feature]:
    """Return the features that can be said in SQL, by name.

    Those of columns whose names differ in case alone cannot: to SQL they are one.

    Parameters
    ----------
    fill : mapping
        What stands in for a missing value, by feature, where some are missing.
    """
    columns = [name.casefold() for name in dict.fromkeys(e.column for e in encoders)]
    found: dict[str, Feature] = {}
    for encoder in encoders:
        if columns.count(encoder.column.casefold()) == 1:
            found |= {own.name: own for own in _features(encoder, fill.get(encoder.column))}
    return found


def _features(e: Encoder, fill: float | None) -> list[Feature]:
    column = quoted(e.column)
    if e.kind == "number":
        sql = f"CAST({column} AS REAL)"
        if fill is not None:
            sql = f"CASE WHEN {_gap(e)} THEN {number(fill)} ELSE {sql} END"
            sql = f"CAST({sql} AS REAL)"
        return [Feature(e.column, sql, "number", e.column, fill=fill)]
    if e.kind == "is missing":
        return [_flag(e.feature_names()[0], _gap(e), e.column, "missing")]
    if len(e.categories) > MAX_CATEGORIES:
        return []
    if e.kind == "onehot":
        return _one_hot(e, column)
    values = e.shares if e.kind == "frequency" else range(len(e.categories))
    none = e.shares[-1] if e.kind == "frequency" and e.missing else fill
    cases = [] if none is None else [f"WHEN {_gap(e)} THEN {number(none)}"]
    cases += [
        f"WHEN {column} = {_literal(category, e)} THEN {number(value)}"
        for category, value in zip(e.categories, values, strict=False)
    ]
    rest = 0.0 if e.kind == "frequency" else fill
    cases += [] if rest is None else [f"ELSE {number(rest)}"]
    sql = f"CAST(CASE {' '.join(cases)} END AS REAL)"
    if e.kind == "frequency":
        return [Feature(e.column, sql, "number", f"share of {e.column}", fill=fill)]
    return [Feature(e.column, sql, "ordinal", e.column, e.categories, fill=fill)]


def _one_hot(e: Encoder, column: str) -> list[Feature]:
    known = ", ".join(_literal(value, e) for value in e.categories)
    flags = [
        _flag(f"{e.column}={value}", f"{column} = {_literal(value, e)}", e.column, value)
        for value in e.categories
    ]
    if e.other:
        other = f"NOT ({_gap(e)}) AND {column} NOT IN ({known})"
        flags.append(_flag(f"{e.column}={OTHER}", other, e.column, "another"))
    if e.missing:
        flags.append(_flag(f"{e.column}={MISSING}", _gap(e), e.column, "missing"))
    return flags


def _flag(name: str, condition: str, column: str, value: str) -> Feature:
    sql = f"(CASE WHEN {condition} THEN 1 ELSE 0 END)"
    said, unsaid = f"{column} is {value}", f"{column} is not {value}"
    return Feature(name, sql, "flag", said, unsaid=unsaid)


def _gap(e: Encoder) -> str:
    """Return the condition that a column has no value: null, or not a number.

    The latter as text, since databases look at the statistics of a Parquet file, which know of no
    NaN, and conclude that there is none.
    """
    column = quoted(e.column)
    if e.value_type in ("text", "booleans"):
        return f"{column} IS NULL"
    return f"({column} IS NULL OR LOWER(CAST({column} AS VARCHAR)) = 'nan')"


def _literal(value: str, e: Encoder) -> str:
    """Return a category as its column holds it."""
    if e.value_type == "text":
        return "'" + value.replace("'", "''") + "'"
    return value


def quoted(name: str) -> str:
    """Return a column's name as SQL wants it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def number(value: float) -> str:
    """Return a number as SQL takes it for a double, in as few digits as it has."""
    text = repr(float(value)).removesuffix(".0")
    return text if "e" in text else f"{text}e0"


def _floor(value: float) -> float:
    return math.floor(value) if math.isfinite(value) else value


def _shown(value: float) -> str:
    return f"{value:,.12g}" if abs(value) < 1e12 else f"{value:g}"
