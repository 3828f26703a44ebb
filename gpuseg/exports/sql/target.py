"""A dialect of SQL, and a table in it: names, types, and what its optimizer must not do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect, Dialects, NormalizationStrategy
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.generator import Generator

from gpuseg.errors import ConfigError
from gpuseg.exports.sql.expressions import aliased, column, whole_number
from gpuseg.validation import nearest

DEFAULT_DIALECT, DEFAULT_TABLE = "duckdb", "customers"

_NO_SELECT = {"", "dax", "prql", "solr", "tableau"}
"""Dialects of sqlglot without queries of common table expressions, and its own."""

DIALECTS = tuple(sorted({dialect.value for dialect in Dialects} - _NO_SELECT))
"""The dialects that a statement can be written in."""

_LARGEST_ROW_COUNT = 2**64 - 1

_NATIONAL_TEXT = {"tsql", "fabric"}
"""Dialects in which text with letters beyond ASCII needs N'…'."""

_DOUBLE_TYPES = {"oracle": "BINARY_DOUBLE"}
"""Types of float64 that are not what sqlglot writes for DOUBLE. Oracle's DOUBLE PRECISION is a
decimal number."""

_PLAIN_LOWER_CASE = re.compile(r"[a-z_][a-z0-9_]*")

_OTHER_NAMES = {"mssql": "tsql", "sqlserver": "tsql", "synapse": "tsql"}
"""Names of databases whose dialect has another name."""


@dataclass(frozen=True)
class TargetTable:
    """The dialect that is written, and the table that is read.

    Attributes
    ----------
    dialect : str
    table : exp.Table
    """

    dialect: str
    table: exp.Table

    @classmethod
    def of(cls, dialect: str, table: str) -> "TargetTable":
        """Return the target for the names that a user gives.

        Raises
        ------
        ConfigError
            For an unknown dialect, and for what is not the name of a table in it.
        """
        if dialect not in DIALECTS:
            raise ConfigError(
                "export.unknown_dialect", value=dialect,
                rule=f"must be one of {', '.join(DIALECTS)}", parameter="dialect",
                hint=_meant(dialect),
            )  # fmt: skip
        try:
            parsed = exp.maybe_parse(table, into=exp.Table, dialect=dialect)
        except SqlglotError:
            parsed = None
        if parsed is None or not _is_name(parsed):
            raise ConfigError(
                "export.not_a_table", value=table,
                rule=f"must be the name of a table as {dialect} writes it, such as customers or "
                "shop.customers",
                hint="quote names with other characters, as the dialect quotes them",
                parameter="table",
            )  # fmt: skip
        for node in parsed.walk():
            node.comments = None
        return cls(dialect, parsed)

    def identifier(self, name: str) -> exp.Identifier:
        """Return a name of the user's table or of the result, quoted.

        Names of plain lower-case letters are upper case where a dialect makes them so that are not
        quoted: this is how such a table has them.
        """
        strategy = Dialect.get_or_raise(self.dialect).normalization_strategy
        folds = strategy is NormalizationStrategy.UPPERCASE
        is_plain = _PLAIN_LOWER_CASE.fullmatch(name) is not None
        return exp.to_identifier(name.upper() if folds and is_plain else name, quoted=True)

    def as_double(self, value: exp.Expr) -> exp.Expr:
        """Return a value as float64."""
        name = _DOUBLE_TYPES.get(self.dialect)
        if name is None:
            return exp.cast(value, exp.DataType.build("double"), copy=False)
        return exp.cast(value, exp.DataType.build(name, udt=True), copy=False)

    def text(self, value: str) -> exp.Expr:
        """Return a text as a literal.

        Raises
        ------
        ConfigError
            For a text with the character 0, which SQL cannot write.
        """
        if "\0" in value:
            raise ConfigError(
                "export.null_character", "a category has the character 0", value=value,
                rule="SQL cannot write it", hint="export as 'json' or 'mlflow'", parameter="to",
            )  # fmt: skip
        if self.dialect in _NATIONAL_TEXT:
            return exp.National(this=value)
        return exp.Literal.string(value)

    def fenced(self, select: exp.Select) -> exp.Select:
        """Return a step whose expressions are computed once for a row.

        Some databases put the expressions of a step in place of its columns, wherever these are
        used, so that the work grows with each step. LIMIT and OFFSET stop that.
        """
        match self.dialect:
            case "postgres":
                return select.offset(0, copy=False)
            case "sqlite":
                return select.limit(whole_number(-1), copy=False).offset(0, copy=False)
            case "mysql":
                return select.limit(_LARGEST_ROW_COUNT, copy=False)
            case _:
                return select

    def row_number(self, partition: Sequence[exp.Expr], order: Sequence[exp.Expr]) -> exp.Expr:
        """Return the number of a row among those of its part; where NULL stands has no meaning."""
        nulls_first = Dialect.get_or_raise(self.dialect).NULL_ORDERING == "nulls_are_small"
        ordered = [exp.Ordered(this=value, nulls_first=nulls_first) for value in order]
        return exp.Window(
            this=exp.RowNumber(),
            partition_by=list(partition),
            order=exp.Order(expressions=ordered),
        )

    def rows(self, names: Sequence[str], rows: Sequence[Sequence[exp.Expr]]) -> exp.Select:
        """Return a query with literal rows.

        The columns have the types of the first row, of which the literals are cast.
        """
        if self.dialect == "oracle":  # before version 23 it has no VALUES
            return _union_from_dual(names, rows)
        tuples = [exp.Tuple(expressions=list(row)) for row in rows]
        if self.dialect == "sqlite":  # a list of names is no part of its VALUES
            unnamed = exp.Subquery(this=exp.Values(expressions=tuples))
            by_name = {name: column(f"column{i + 1}") for i, name in enumerate(names)}
            return exp.select(*aliased(by_name)).from_(unnamed, copy=False)
        alias = exp.TableAlias(
            this=exp.to_identifier("literal_rows", quoted=True),
            columns=[exp.to_identifier(name, quoted=True) for name in names],
        )
        values = exp.Values(expressions=tuples, alias=alias)
        return exp.select(*aliased({name: column(name) for name in names})).from_(
            values, copy=False
        )

    def write(self, statement: exp.Select) -> str:
        """Return the text of a statement, with a semicolon and a line end.

        Raises
        ------
        ConfigError
            For a dialect that cannot express it.
        """
        try:
            generator = _one_line_generator(self.dialect)
            text = generator.generate(statement, copy=False)
        except SqlglotError as error:
            raise ConfigError(
                "export.dialect_cannot", "the dialect cannot express the statement",
                value=self.dialect, reason=str(error),
                hint="choose another dialect", parameter="dialect",
            ) from None  # fmt: skip
        return f"{text};\n"


def _one_line_generator(dialect: str) -> Generator:
    """Return a generator with lines and indentation, but not inside of parentheses."""
    base = Dialect.get_or_raise(dialect).generator_class

    def paren_sql(self: Generator, expression: exp.Paren) -> str:
        return f"({self.sql(expression, 'this')})"

    generator: Generator = type("OneLine", (base,), {"paren_sql": paren_sql})(
        dialect=dialect, pretty=True, unsupported_level=ErrorLevel.RAISE
    )
    return generator


def _union_from_dual(names: Sequence[str], rows: Sequence[Sequence[exp.Expr]]) -> exp.Select:
    """Return a query with literal rows, each selected from DUAL."""
    dual = exp.table_("DUAL")
    selects = [
        exp.select(*aliased(dict(zip(names, row, strict=True)))).from_(dual.copy(), copy=False)
        for row in rows
    ]
    union: exp.Query = selects[0]
    for select in selects[1:]:
        union = exp.Union(this=union, expression=select, distinct=False)
    source = exp.Subquery(this=union)
    return exp.select(*aliased({name: column(name) for name in names})).from_(source, copy=False)


def _is_name(table: exp.Table) -> bool:
    """Return whether a table is nothing but a name, perhaps with schema and catalog."""
    others = {key for key, value in table.args.items() if value} - {"this", "db", "catalog"}
    return not others and all(isinstance(part, exp.Identifier) for part in table.parts)


def _meant(dialect: str) -> str:
    """Return a hint for a name that sqlglot does not have, but others use."""
    meant = _OTHER_NAMES.get(dialect.lower()) or nearest(dialect.lower(), DIALECTS)
    return f"did you mean '{meant}'?" if meant else ""
