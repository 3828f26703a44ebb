"""The first step of a statement: the columns of the table that the features are made from."""

from collections.abc import Iterable

from sqlglot import exp

from gpuseg.errors import ConfigError
from gpuseg.exports.feature_sources import FeatureSource
from gpuseg.exports.sql.expressions import (
    Branch,
    case,
    column,
    equal,
    is_null,
    is_present,
    minus,
    number_or_null,
    whole_number,
)
from gpuseg.exports.sql.prepared_lookup import PreparedLookup
from gpuseg.exports.sql.steps import Steps

ROW_ID, COPY = "row_id", "copy_number"
"""The id of a row, and a number that tells rows with the same id apart."""

SOURCE = "customer"
"""The name that the table has in the statement."""

OTHER_CATEGORY, NO_CATEGORY = -1, -2
"""Codes of categories without a number of their own, and of rows without a category."""

MAX_BRANCHES = 50
"""Categories that are compared one by one; a column with more is joined with its categories."""

_KNOWN, _CATEGORY, _VALUE = "is_known", "category", "x"


def feature_name(f: int) -> str:
    """Return the name of the column of a feature in the steps."""
    return f"x{f}"


def code_name(source: FeatureSource, sources: list[FeatureSource]) -> str:
    """Return the name of the column with the codes of a one-hot column."""
    return f"code{[other.encoder for other in sources].index(source.encoder)}"


def read_table(
    steps: Steps,
    id_column: str,
    sources: list[FeatureSource],
    lookups: dict[int, PreparedLookup],
    numbers_copies: bool,
) -> None:
    """Add the step that reads the table.

    Features of numbers and of gaps are the columns as DOUBLE, without the origin. Those of one-hot
    columns are codes, and all other features of categories have their final value.

    Parameters
    ----------
    lookups : dict of int to PreparedLookup
        Of the features of categories.
    numbers_copies : bool
        Whether rows with the same id are numbered.

    Raises
    ------
    ConfigError
        For vectors, and categories that SQL cannot write.
    """
    target = steps.target
    source = exp.alias_(target.table.copy(), SOURCE, quoted=True, table=True)
    select = exp.select().from_(source)
    columns: dict[str, exp.Expr] = {ROW_ID: _user_column(steps, id_column)}
    if numbers_copies:
        same_id, order = ([_user_column(steps, id_column)] for _ in range(2))
        columns[COPY] = target.row_number(same_id, order)
    for f, item in enumerate(sources):
        encoder = item.encoder
        if encoder.shape:
            raise ConfigError(
                "export.vectors", f"the column '{item.column}' has vectors", value="sql",
                rule="SQL reads columns of numbers and of categories",
                hint="export as 'onnx', 'mlflow' or 'json', or score with gpuseg score",
                parameter="to",
            )  # fmt: skip
        value = _user_column(steps, item.column)
        if f not in lookups:
            double = target.as_double(value)
            columns[feature_name(f)] = minus(double, item.origin) if item.origin else double
        elif encoder.kind == "onehot":
            name = code_name(item, sources)
            if name not in columns:
                columns[name] = _code(steps, value, item)
        else:
            columns[feature_name(f)] = target.as_double(
                _looked_up(steps, select, value, item, lookups[f], f)
            )
    steps.start("raw", columns, select)


def _user_column(steps: Steps, name: str) -> exp.Column:
    table = exp.to_identifier(SOURCE, quoted=True)
    return exp.Column(this=steps.target.identifier(name), table=table)


def _code(steps: Steps, value: exp.Expr, item: FeatureSource) -> exp.Expr:
    """Return the number of the category of a one-hot column."""
    names = item.encoder.categories
    branches = [
        (condition, whole_number(names.index(name)))
        for name, condition in _comparisons(steps, value, item, names)
    ]
    return _by_presence(
        steps, value, item, branches, whole_number(OTHER_CATEGORY), whole_number(NO_CATEGORY)
    )


def _looked_up(
    steps: Steps,
    select: exp.Select,
    value: exp.Expr,
    item: FeatureSource,
    lookup: PreparedLookup,
    f: int,
) -> exp.Expr:
    """Return the final value of a feature, by comparisons or from a join with its categories."""
    known = _comparisons(steps, value, item, lookup.values)
    branches: list[Branch] = []
    if len(lookup.values) <= MAX_BRANCHES:
        branches = [(condition, number_or_null(lookup.values[name])) for name, condition in known]
    elif known_literals := dict(_literals(steps, item, lookup.values)):
        rows: list[list[exp.Expr]] = []
        for name, literal in known_literals.items():
            prepared = number_or_null(lookup.values[name])
            first = not rows
            rows.append(
                [whole_number(1), literal, steps.target.as_double(prepared) if first else prepared]
            )
        joined = steps.add_rows(
            f"categories_{f}", steps.target.rows([_KNOWN, _CATEGORY, _VALUE], rows)
        )
        condition = equal(value.copy(), column(_CATEGORY, joined))
        select.join(steps.table(joined), on=condition, join_type="left", copy=False)
        branches = [(equal(column(_KNOWN, joined), whole_number(1)), column(_VALUE, joined))]
    return _by_presence(
        steps, value, item, branches,
        number_or_null(lookup.otherwise), number_or_null(lookup.missing),
    )  # fmt: skip


def _comparisons(
    steps: Steps, value: exp.Expr, item: FeatureSource, names: Iterable[str]
) -> list[tuple[str, exp.Expr]]:
    """Return each category that a value may have, and whether it has it."""
    literals = _literals(steps, item, names)
    return [(name, equal(value.copy(), literal)) for name, literal in literals]


def _literals(
    steps: Steps, item: FeatureSource, names: Iterable[str]
) -> list[tuple[str, exp.Expr]]:
    """Return categories as literals of the type that the column had at the fit.

    Categories of an order that are no such value never occur and are left out.
    """
    match item.encoder.value_type:
        case "text":
            return [(name, steps.target.text(name)) for name in names]
        case "whole numbers":
            return [(name, whole_number(int(name))) for name in names if _is_whole(name)]
        case "booleans":
            booleans = {"true": exp.true(), "false": exp.false()}
            return [(name, booleans[name].copy()) for name in names if name in booleans]
        case _:  # every value was missing
            return []


def _is_whole(name: str) -> bool:
    return name.isascii() and name.removeprefix("-").isdigit() and str(int(name)) == name


def _by_presence(
    steps: Steps,
    value: exp.Expr,
    item: FeatureSource,
    known: list[Branch],
    otherwise: exp.Expr,
    missing: exp.Expr,
) -> exp.Expr:
    """Return the value of a known category, of another one, or of none; NaN is none."""
    if otherwise == missing:
        return case(known, otherwise)
    if item.encoder.value_type == "whole numbers":  # perhaps stored as floating-point numbers
        present = is_present(steps.target.as_double(value.copy()))
        return case([*known, *((test, otherwise.copy()) for test in present)], missing)
    return case([*known, (is_null(value.copy()), missing)], otherwise)
