"""The last steps of a statement: the nearest center of each row, and its segment.

There are two forms with the same result. In the columns form each center has a column with the
squared distance. In the table form the centers are rows, and each row of the table is joined with
all of them. In both, the features are added in their order, as gpuseg does.
"""

from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from gpuseg.exports.center_model import CenterModel
from gpuseg.exports.sql.expressions import (
    Branch,
    all_of,
    as_float32,
    at_most,
    case,
    column,
    equal,
    is_null,
    minus,
    number,
    times,
    whole_number,
)
from gpuseg.exports.sql.raw_columns import COPY, ROW_ID
from gpuseg.exports.sql.steps import Steps
from gpuseg.output_columns import DISTANCE, SEGMENT

MAX_CENTERS = 64
"""Centers up to which the columns form can be chosen: it compares each one with all others."""

MAX_PRODUCTS = 2_000
"""Centers times columns of a row up to which it is chosen without being asked for."""

_SQUARE, _CENTER, _RANK = "squared_distance", "center", "rank_of_center"


def is_small(centers: NDArray[np.float64]) -> bool:
    """Return whether the columns form of centers (k, p) is short."""
    return len(centers) <= MAX_CENTERS and centers.size <= MAX_PRODUCTS


def nearest_by_columns(steps: Steps, names: Sequence[str], model: CenterModel) -> None:
    """Add steps with a column for each center, and the columns of the segments."""
    squares = [f"squared_distance_{j}" for j in range(len(model.centers))]
    terms = {
        name: [_squared(minus(column(x), c)) for x, c in zip(names, center, strict=True)]
        for name, center in zip(squares, model.centers.tolist(), strict=True)
    }
    steps.add_sums("distances", terms, without=names)
    steps.add("nearest", {_CENTER: _index_of_least(squares)})
    chosen = [
        (equal(column(_CENTER), whole_number(j)), column(name)) for j, name in enumerate(squares)
    ]
    steps.add("square", {_SQUARE: case(chosen)}, without=squares)
    root = exp.Sqrt(this=column(_SQUARE))
    steps.add("root", {DISTANCE: root, **_segments(model)}, without=[_SQUARE, _CENTER])


def nearest_by_rows(steps: Steps, names: Sequence[str], model: CenterModel) -> None:
    """Add steps in which the centers are rows, and the columns of the segments."""
    weights = [f"c{f}" for f in range(len(names))]
    labels = {SEGMENT: model.segment, **model.levels}
    label_names = {label: f"label{i}" for i, label in enumerate(labels)}
    rows: list[list[exp.Expr]] = []
    for j, center in enumerate(model.centers.tolist()):
        values = [number(c) for c in center]
        if not rows:
            values = [steps.target.as_double(value) for value in values]
        rows.append(
            [whole_number(j), *(whole_number(int(of[j])) for of in labels.values()), *values]
        )
    columns = [_CENTER, *label_names.values(), *weights]
    centers = steps.add_rows("centers", steps.target.rows(columns, rows))
    steps.cross_join(centers, columns, "pairs")
    terms = [_squared(minus(column(x), column(c))) for x, c in zip(names, weights, strict=True)]
    steps.add_sums("distances", {_SQUARE: terms}, without=[*names, *weights])
    row, order = (ROW_ID, COPY), (_SQUARE, _CENTER)
    rank = steps.target.row_number([*map(column, row)], [*map(column, order)])
    steps.add("ranked", {_RANK: rank})
    segments = {
        label: case([(is_null(column(_SQUARE)), exp.null())], column(name))
        for label, name in label_names.items()
    }
    root = exp.Sqrt(this=column(_SQUARE))
    others = [_SQUARE, _CENTER, _RANK, COPY, *label_names.values()]
    steps.add("root", {DISTANCE: root, **segments}, without=others)
    steps.filter(equal(column(_RANK), whole_number(1)))


def round_distance(steps: Steps) -> None:
    """Add the step that rounds the distances to float32, as a job writes them."""
    steps.add("single_distance", {DISTANCE: as_float32(DISTANCE)})


def _index_of_least(names: Sequence[str]) -> exp.Expr:
    """Return the number of the column with the least value, the first of equal ones, or NULL.

    The first column that is not above any later one has the least value of all.
    """
    branches: list[Branch] = [(is_null(column(names[0])), exp.null())]
    for j, name in enumerate(names[:-1]):
        later = [at_most(column(name), column(other)) for other in names[j + 1 :]]
        branches.append((all_of(later), whole_number(j)))
    return case(branches, whole_number(len(names) - 1))


def _segments(model: CenterModel) -> dict[str, exp.Expr]:
    """Return the columns of the segments by the number of the nearest center."""
    columns: dict[str, exp.Expr] = {}
    for name, segment in {SEGMENT: model.segment, **model.levels}.items():
        labels = segment.tolist()
        if labels == list(range(len(labels))):
            columns[name] = column(_CENTER)
        else:
            pairs = zip(count(), labels, strict=False)
            columns[name] = case(
                (equal(column(_CENTER), whole_number(j)), whole_number(label)) for j, label in pairs
            )
    return columns


def _squared(difference: exp.Expr) -> exp.Expr:
    return times(difference, difference.copy())
