"""Why rows cannot be transformed: the column, the value and the rule of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg.backends.feature_transform import LOG1P, FeatureTransform
from gpuseg.errors import DataError
from gpuseg.formatting import count_with
from gpuseg.numerics.distance_metrics import Metric, outside_values
from gpuseg.preprocessing.encoding.encoder import Encoder
from gpuseg.preprocessing.missing_values import FILL
from gpuseg.printable import printable_value

_NO_DIRECTION = "at least one feature must differ from zero, for a row to have a direction"

ANY_RULE = (
    "values must be neither missing (NaN) nor infinite, and within the domain of their transform"
)
"""The rule of rows of which the values are no longer known."""


@dataclass(frozen=True)
class RowProblem:
    """A row that cannot be transformed, and the first reason.

    Attributes
    ----------
    row : int
        Number of the row, from 0.
    column : str
        The column with the value; empty if the row as a whole breaks the rule.
    value : object
        The value as Python has it; None if it is missing.
    rule : str
        What the value must be.
    """

    row: int
    column: str
    value: Any
    rule: str

    def describe(self) -> str:
        """Return where the value is, and the value, as one phrase."""
        if not self.column:
            return f"row {self.row}"
        value = "no value" if self.value is None else printable_value(self.value)
        return f"row {self.row}: column '{self.column}' has {value}"


def refuse_rows(problem: RowProblem, n_rows: int) -> DataError:
    """Return the error for rows that cannot be transformed; `problem` is that of the first."""
    rows = count_with(n_rows, "row", "has", "have")
    is_missing = problem.column and problem.value is None
    return DataError(
        "rows.not_transformable",
        f"{rows} values that cannot be scaled, the first in {problem.describe()}",
        rule=problem.rule,
        hint=f"fill it, or at the fit {FILL}" if is_missing else "correct it, or leave the row out",
        parameter="X",
    )


def find_problems(
    rows: NDArray[np.int64],
    columns: Mapping[str, pa.Array],
    x: NDArray[np.float32],
    encoder_of: Sequence[Encoder],
    transform: FeatureTransform,
    metric: Metric = "euclidean",
) -> list[RowProblem]:
    """Return the problem of each of some rows that cannot be transformed.

    Parameters
    ----------
    rows : int64 (m,)
        Their numbers.
    columns : mapping of name to Arrow array (m,)
        The rows as they came.
    x : float32 (m, d)
        Their features.
    encoder_of : sequence of Encoder (d,)
        The encoder of each feature.
    transform : FeatureTransform
    metric : Metric
    """
    broken = broken_rules(x, transform, metric)
    first = np.where(broken.any(axis=1), (broken > 0).argmax(axis=1), -1)
    problems = []
    for i, (row, f) in enumerate(zip(rows.tolist(), first.tolist(), strict=True)):
        if f < 0:
            problems.append(RowProblem(row, "", None, _NO_DIRECTION))
            continue
        encoder = encoder_of[f]
        value = columns[encoder.column][i].as_py()
        problems.append(RowProblem(row, encoder.column, value, _rule(encoder, int(broken[i, f]))))
    return problems


_INFINITE, _MISSING, _BELOW_DOMAIN, _BEYOND_FLOAT32, _NO_RADIANS = 1, 2, 3, 4, 5

_RULES = {
    _INFINITE: "must be finite, and within ±3.4e38, the range of float32",
    _MISSING: "must not be missing",
    _BELOW_DOMAIN: "must be above -1, since log1p is applied",
    _BEYOND_FLOAT32: "must be within float32 after scaling",
    _NO_RADIANS: "must be in radians: a latitude within ±½π, a longitude within ±2π",
}


def broken_rules(
    x: NDArray[np.float32], transform: FeatureTransform, metric: Metric
) -> NDArray[np.int64]:
    """Return the number of the rule that each value breaks, int64 (m, d); 0 if it breaks none."""
    filled = np.where(np.isnan(x), transform.fill, x)
    low, high = transform.bounds()
    clipped = np.clip(filled, low, high)
    each = replace(transform, projection=None, unit=False, origin=None)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scaled = each.apply(filled.astype(np.float64)).astype(np.float32)
        rules = [
            np.isinf(x),
            np.isnan(filled),
            (transform.transform == LOG1P) & (clipped <= -1.0),
            ~np.isfinite(scaled),
        ]
    numbers = [_INFINITE, _MISSING, _BELOW_DOMAIN, _BEYOND_FLOAT32]
    outside = outside_values(scaled, metric) if metric == "haversine" else None
    if outside is not None:  # a row without a direction has no value to blame
        rules, numbers = [*rules, outside], [*numbers, _NO_RADIANS]
    return np.select(rules, numbers, 0)


def _rule(encoder: Encoder, broken: int) -> str:
    if broken == _MISSING and encoder.kind == "ordinal":
        return f"must be one of {', '.join(encoder.categories)}"
    return _RULES[broken]


def rule_of_row(x: NDArray[np.float32], transform: FeatureTransform, metric: Metric) -> str:
    """Return the first rule that a row breaks, of which only the features are known.

    Parameters
    ----------
    x : float32 (1, d)
        A row that cannot be transformed.
    """
    broken = broken_rules(x, transform, metric)
    numbers = broken[broken > 0]
    return f"values {_RULES[int(numbers[0])]}" if numbers.size else _NO_DIRECTION
