"""What a feature is in SQL, and how a bound on it is said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gpuseg.encoding import Encoder
from gpuseg.encoding.encoder import MISSING, OTHER
from gpuseg.portrait.tree import Bound

MOST_CATEGORIES = 200
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
    """

    name: str
    sql: str
    kind: str
    said: str
    steps: Sequence[str] = ()
    whole: bool = False

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
            return self.said if low >= 0 else self.said.replace(" is ", " is not ", 1)
        if self.kind == "ordinal":
            within = [s for i, s in enumerate(self.steps) if low < i <= high]
            return f"{self.said} is {' or '.join(within)}"
        if self.whole:
            low, high = math.floor(low) + 1 if low > -math.inf else low, _floor(high)
            if low == high:
                return f"{self.said} is {high:,.0f}"
        above = f"{'at least' if self.whole else 'above'} {_shown(low)}"
        most = f"at most {_shown(high)}"
        parts = [above] * (low > -math.inf) + [most] * (high < math.inf)
        return f"{self.said} {' and '.join(parts)}"


def features_of(encoders: Sequence[Encoder], fill: dict[str, float]) -> dict[str, Feature]:
    """Return the features that can be said in SQL, by name.

    Parameters
    ----------
    fill : dict
        What stands in for a missing value, by feature.
    """
    found: dict[str, Feature] = {}
    for encoder in encoders:
        found |= {own.name: own for own in _features(encoder, fill)}
    return found


def _features(e: Encoder, fill: dict[str, float]) -> list[Feature]:
    column = quoted(e.column)
    if e.kind == "number":
        sql = f"CAST({column} AS REAL)"
        if e.column in fill:  # a database takes NaN for a value
            sql = f"COALESCE(NULLIF({sql}, CAST('NaN' AS REAL)), {number(fill[e.column])})"
        return [Feature(e.column, sql, "number", e.column)]
    if e.kind == "is missing":
        gap = f"({column} IS NULL OR CAST({column} AS REAL) = CAST('NaN' AS REAL))"
        return [_flag(e.names()[0], gap, f"{e.column} is missing")]
    if len(e.categories) > MOST_CATEGORIES:
        return []
    if e.kind == "onehot":
        return _one_hot(e, column)
    values = e.shares if e.kind == "frequency" else range(len(e.categories))
    cases = [
        f"WHEN {column} = {_literal(category, e)} THEN {number(value)}"
        for category, value in zip(e.categories, values, strict=False)
    ]
    none = e.shares[-1] if e.kind == "frequency" and e.missing else fill.get(e.column)
    cases += [] if none is None else [f"WHEN {column} IS NULL THEN {number(none)}"]
    rest = 0.0 if e.kind == "frequency" else fill.get(e.column)
    cases += [] if rest is None else [f"ELSE {number(rest)}"]
    sql = f"CAST(CASE {' '.join(cases)} END AS REAL)"
    if e.kind == "frequency":
        return [Feature(e.column, sql, "number", f"share of {e.column}")]
    return [Feature(e.column, sql, "ordinal", e.column, e.categories)]


def _one_hot(e: Encoder, column: str) -> list[Feature]:
    known = ", ".join(_literal(value, e) for value in e.categories)
    flags = [
        _flag(f"{e.column}={value}", f"{column} = {_literal(value, e)}", f"{e.column} is {value}")
        for value in e.categories
    ]
    if e.other:
        other = f"{column} IS NOT NULL AND {column} NOT IN ({known})"
        flags.append(_flag(f"{e.column}={OTHER}", other, f"{e.column} is another"))
    if e.missing:
        flags.append(_flag(f"{e.column}={MISSING}", f"{column} IS NULL", f"{e.column} is missing"))
    return flags


def _flag(name: str, condition: str, said: str) -> Feature:
    return Feature(name, f"(CASE WHEN {condition} THEN 1 ELSE 0 END)", "flag", said)


def _literal(value: str, e: Encoder) -> str:
    """Return a category as its column holds it."""
    if e.family == "text":
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
