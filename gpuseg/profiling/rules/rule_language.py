"""Features in SQL, and conditions on them in SQL and in words."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gpuseg.preprocessing.encoding.encoder import MISSING, OTHER, Encoder
from gpuseg.profiling.rules.surrogate_tree import Bound

MAX_CATEGORIES = 200
"""Columns with more categories are not written in SQL."""


@dataclass(frozen=True)
class RuleFeature:
    """A feature as rules write it.

    Attributes
    ----------
    name : str
    sql : str
        Its value, as an expression over the columns of the input.
    kind : {"number", "flag", "ordinal"}
        A flag is 0 or 1: for a category, or for a missing value.
    phrase : str
        Its name in words; for a flag the statement that it is 1.
    steps : sequence of str
        The categories of an ordinal feature, in their order.
    is_integer : bool
        Whether all its values are whole numbers.
    negated_phrase : str
        For a flag: the statement that it is 0.
    fill : float or None
        Value that replaces a missing one, where some are missing; measured from the origin.
    origin : float
        What `sql` subtracts from the column; words give values of the column.
    """

    name: str
    sql: str
    kind: str
    phrase: str
    steps: Sequence[str] = ()
    is_integer: bool = False
    negated_phrase: str = ""
    fill: float | None = None
    origin: float = 0.0

    def in_sql(self, bound: Bound) -> str:
        """Return a bound as a condition in SQL."""
        parts = []
        if bound.low > -math.inf:
            parts.append(f"{self.sql} > {sql_number(bound.low)}")
        if bound.high < math.inf:
            parts.append(f"{self.sql} <= {sql_number(bound.high)}")
        return " AND ".join(parts)

    def in_words(self, bound: Bound) -> str:
        """Return a bound in words."""
        low, high = bound.low, bound.high
        if self.kind == "flag":
            return self.phrase if low >= 0 else self.negated_phrase
        has_missing = self.fill is not None and low < self.fill <= high
        if self.kind == "ordinal":
            steps = [step for i, step in enumerate(self.steps) if low < i <= high]
            return f"{self.phrase} is {' or '.join(steps + ['missing'] * has_missing)}"
        words = self._number_in_words(low + self.origin, high + self.origin)
        return words + " or missing" * has_missing

    def _number_in_words(self, low: float, high: float) -> str:
        if self.is_integer:
            low, high = math.floor(low) + 1 if low > -math.inf else low, _floor(high)
            if low == high:
                return f"{self.phrase} is {high:,.0f}"
        digits = 15 if self.origin else 12
        minimum = f"{'at least' if self.is_integer else 'above'} {_number_in_text(low, digits)}"
        maximum = f"at most {_number_in_text(high, digits)}"
        parts = [minimum] * (low > -math.inf) + [maximum] * (high < math.inf)
        return f"{self.phrase} {' and '.join(parts)}"


def rule_features(
    encoders: Sequence[Encoder],
    fill: Mapping[str, float],
    names: Collection[str],
    columns: Sequence[str] = (),
) -> dict[str, RuleFeature]:
    """Return those of the features `names` that can be written in SQL, by name.

    Columns whose names differ only in case are left out: SQL cannot tell them apart. So are those
    without a name, and those with a NUL character in the name or a category: databases end a text
    there, or refuse it. A name that ends so may be that of another column.

    Parameters
    ----------
    fill : mapping
        Values that replace missing ones, by feature, where some are missing.
    columns : sequence of str
        All columns of the input.
    """
    count = Counter(
        _name_in_sql(name) for name in {*columns, *(encoder.column for encoder in encoders)}
    )
    wanted = set(names)
    return {
        feature.name: feature
        for encoder in encoders
        if encoder.column
        and count[_name_in_sql(encoder.column)] == 1
        and not any("\0" in text for text in (encoder.column, *encoder.categories))
        and not wanted.isdisjoint(encoder.feature_names())
        for feature in _features(encoder, fill.get(encoder.column))
        if feature.name in wanted
    }


def _name_in_sql(column: str) -> str:
    return column.partition("\0")[0].casefold()


def _features(e: Encoder, fill: float | None) -> list[RuleFeature]:
    column = sql_name(e.column)
    if e.kind == "number":
        value = f"({column} - {sql_number(e.origin)})" if e.origin else column
        sql = f"CAST({value} AS REAL)"
        if fill is not None:
            sql = f"CASE WHEN {_is_missing(e)} THEN {sql_number(fill)} ELSE {sql} END"
            sql = f"CAST({sql} AS REAL)"
        return [RuleFeature(e.column, sql, "number", e.column, fill=fill, origin=e.origin)]
    if e.kind == "is missing":
        return [_flag(e.feature_names()[0], _is_missing(e), e.column, "missing")]
    if len(e.categories) > MAX_CATEGORIES:
        return []
    if e.kind == "onehot":
        return _one_hot(e, column)
    values = e.shares if e.kind == "frequency" else range(len(e.categories))
    missing = e.shares[-1] if e.kind == "frequency" and e.missing else fill
    cases = [] if missing is None else [f"WHEN {_is_missing(e)} THEN {sql_number(missing)}"]
    cases += [
        f"WHEN {column} = {_literal(category, e)} THEN {sql_number(value)}"
        for category, value in zip(e.categories, values, strict=False)
    ]
    other = 0.0 if e.kind == "frequency" else fill
    cases += [] if other is None else [f"ELSE {sql_number(other)}"]
    sql = f"CAST(CASE {' '.join(cases)} END AS REAL)"
    if e.kind == "frequency":
        return [RuleFeature(e.column, sql, "number", f"share of {e.column}", fill=fill)]
    return [RuleFeature(e.column, sql, "ordinal", e.column, e.categories, fill=fill)]


def _one_hot(e: Encoder, column: str) -> list[RuleFeature]:
    categories = ", ".join(_literal(value, e) for value in e.categories)
    flags = [
        _flag(f"{e.column}={value}", f"{column} = {_literal(value, e)}", e.column, value)
        for value in e.categories
    ]
    if e.other:
        condition = f"NOT ({_is_missing(e)}) AND {column} NOT IN ({categories})"
        flags.append(_flag(f"{e.column}={OTHER}", condition, e.column, "another"))
    if e.missing:
        flags.append(_flag(f"{e.column}={MISSING}", _is_missing(e), e.column, "missing"))
    return flags


def _flag(name: str, condition: str, column: str, value: str) -> RuleFeature:
    sql = f"(CASE WHEN {condition} THEN 1 ELSE 0 END)"
    negated = f"{column} is not {value}"
    return RuleFeature(name, sql, "flag", f"{column} is {value}", negated_phrase=negated)


def _is_missing(e: Encoder) -> str:
    """Return the condition that a column has no value: it is null or NaN.

    NaN is compared as text, since databases trust the statistics of a Parquet file, which ignore
    NaN, and conclude that there is none.
    """
    column = sql_name(e.column)
    if e.value_type in ("text", "booleans"):
        return f"{column} IS NULL"
    return f"({column} IS NULL OR LOWER(CAST({column} AS VARCHAR)) = 'nan')"


def _literal(value: str, e: Encoder) -> str:
    """Return a category as an SQL literal of the column's type."""
    if e.value_type == "text":
        return "'" + value.replace("'", "''") + "'"
    return value


def sql_name(name: str) -> str:
    """Return a column's name as a quoted SQL identifier; any character may be in it."""
    return '"' + name.replace('"', '""') + '"'


def sql_number(value: float) -> str:
    """Return a number as an SQL literal of type double, in as few digits as it has."""
    text = repr(float(value)).removesuffix(".0")
    return text if "e" in text else f"{text}e0"


def _floor(value: float) -> float:
    return math.floor(value) if math.isfinite(value) else value


def _number_in_text(value: float, digits: int) -> str:
    return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:g}"
