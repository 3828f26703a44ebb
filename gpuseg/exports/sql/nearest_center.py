"""The last steps of a statement: the nearest center of each row, and its segment.

There are two forms with the same result. In the columns form each center has a column with the
squared distance. In the table form the centers are rows, and each row of the table is joined with
all of them. In both, the features are added in their order, as gpuseg does.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from gpuseg.exports.center_model import CenterModel
from gpuseg.exports.sql.expressions import (
    Branch,
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

CENTERS_AT_ONCE = 64
"""Centers with a column at the same time; databases limit the columns of a query."""

MAX_CENTERS, MAX_PRODUCTS = 1_000, 5_000
"""Centers, and centers times columns of a row, up to which it is chosen without being asked for.

PostgreSQL plans the steps of 1,000 centers for seconds, and those of 2,500 for minutes.
"""

_SQUARE, _CENTER, _RANK = "squared_distance", "center", "rank_of_center"


def is_small(centers: NDArray[np.float64]) -> bool:
    """Return whether the columns form of centers (k, p) is short."""
    return len(centers) <= MAX_CENTERS and centers.size <= MAX_PRODUCTS


def nearest_by_columns(steps: Steps, names: Sequence[str], model: CenterModel) -> None:
    """Add steps with a column for each center, and the columns of the segments."""
    n_centers = len(model.centers)
    places: dict[str, exp.Expr] = {}
    for start in range(0, n_centers, CENTERS_AT_ONCE):
        block = range(start, min(start + CENTERS_AT_ONCE, n_centers))
        terms = {
            f"{_SQUARE}_{j}": [
                _squared(minus(column(x), c))
                for x, c in zip(names, model.centers[j].tolist(), strict=True)
            ]
            for j in block
        }
        is_last = block.stop == n_centers
        steps.add_sums("distances", terms, without=names if is_last else ())
        places |= zip(terms, map(whole_number, block), strict=True)
        places = _keep_least(steps, places)
    ((least, place),) = places.items()
    nearest = {_SQUARE: column(least), _CENTER: place}
    steps.add("nearest", nearest, without=[least, _place_of(least)])
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


def _keep_least(steps: Steps, places: dict[str, exp.Expr]) -> dict[str, exp.Expr]:
    """Add steps that keep the least of columns, and return its name and the place of its center.

    Each step compares neighbors and keeps the lesser one, so that k columns need k - 1
    comparisons. The first of equal ones stays. Where all are NULL, the place has no meaning.

    Parameters
    ----------
    places : dict of str to expression
        The columns in the order of their centers, and the place of the center of each.
    """
    while len(places) > 1:
        names = list(places)
        columns: dict[str, exp.Expr] = {}
        for a, b in zip(names[::2], names[1::2], strict=False):
            is_first = at_most(column(a), column(b))
            columns[a] = case([(is_first, column(a))], column(b))
            columns[_place_of(a)] = case([(is_first.copy(), places[a])], places.pop(b))
            places[a] = column(_place_of(a))
        greater = names[1::2]
        steps.add("lesser", columns, without=[*greater, *map(_place_of, greater)])
    return places


def _place_of(square: str) -> str:
    """Return the name of the column with the place of the center that a square belongs to."""
    return f"{_CENTER}_{square}"


def _segments(model: CenterModel) -> dict[str, exp.Expr]:
    """Return the columns of the segments by the number of the nearest center."""
    no_distance = (is_null(column(_SQUARE)), exp.null())
    columns: dict[str, exp.Expr] = {}
    for name, segment in {SEGMENT: model.segment, **model.levels}.items():
        labels = segment.tolist()
        if labels == list(range(len(labels))):
            columns[name] = case([no_distance], column(_CENTER))
        else:
            by_center: list[Branch] = [
                (equal(column(_CENTER), whole_number(j)), whole_number(label))
                for j, label in enumerate(labels)
            ]
            columns[name] = case([no_distance, *by_center])
    return columns


def _squared(difference: exp.Expr) -> exp.Expr:
    return times(difference, difference.copy())
