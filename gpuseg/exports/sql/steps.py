"""The steps of a statement: common table expressions, each of which reads the one before."""

from collections.abc import Iterable, Mapping

from sqlglot import exp

from gpuseg.exports.sql.expressions import aliased, column, sum_of
from gpuseg.exports.sql.target import TargetTable

MAX_TERMS = 100
"""Terms that are added in one expression; SQLite and DuckDB limit the depth of expressions."""

MAX_TERMS_OF_STEP = 400
"""Terms of all sums of a step, as far as each sum then has at least `MIN_TERMS`: DuckDB looks for
common expressions in a time that grows with the terms of the step times those of a sum."""

MIN_TERMS = 20
"""Terms that each sum has in a step; fewer would need many steps."""


class Steps:
    """Common table expressions that grow by one step at a time.

    No expression contains another one more than a few times, since each step reads the columns of
    the one before.

    Parameters
    ----------
    target : TargetTable
    """

    def __init__(self, target: TargetTable) -> None:
        self.target = target
        self._tables: list[tuple[str, exp.Select]] = []
        self._columns: list[str] = []
        self._prefix = "gpuseg_"
        while any(part.name.lower().startswith(self._prefix) for part in target.table.parts):
            self._prefix += "_"  # a step must not hide the table

    @property
    def last(self) -> str:
        """The name of the last step."""
        return self._tables[-1][0]

    def start(self, name: str, columns: Mapping[str, exp.Expr], source: exp.Select) -> None:
        """Add the first step: columns of a query that has none."""
        self._columns = list(columns)
        self._append(name, source.select(*aliased(columns), copy=False))

    def add(
        self, name: str, columns: Mapping[str, exp.Expr], *, without: Iterable[str] = ()
    ) -> None:
        """Add a step with columns computed from the last one; all others stay, but `without`.

        A step without columns is none.
        """
        if not columns:
            return
        dropped = set(without) - columns.keys()
        kept = [c for c in self._columns if c not in dropped]
        self._columns = kept + [c for c in columns if c not in kept]
        values = {c: columns[c] if c in columns else column(c) for c in self._columns}
        self._append(name, exp.select(*aliased(values)).from_(self.table(self.last), copy=False))

    def add_sums(
        self, name: str, terms: Mapping[str, list[exp.Expr]], *, without: Iterable[str] = ()
    ) -> None:
        """Add steps with sums, whose terms are added in their order."""
        length = max(map(len, terms.values()))
        at_once = min(max(MAX_TERMS_OF_STEP // len(terms), MIN_TERMS), MAX_TERMS)
        for start in range(0, length, at_once):
            is_last = start + at_once >= length
            sums = {
                c: sum_of(parts[start : start + at_once], column(c) if start else None)
                for c, parts in terms.items()
            }
            self.add(name, sums, without=without if is_last else ())

    def add_rows(self, name: str, rows: exp.Select) -> str:
        """Add literal rows, that a step can read beside the one before; return their name."""
        full = self._name(name)
        self._tables.insert(0, (full, rows))
        return full

    def cross_join(self, rows: str, columns: Iterable[str], name: str) -> None:
        """Add a step with each row of the last one beside each of `rows`, which has `columns`."""
        new = list(columns)
        values = {c: column(c, self.last) for c in self._columns} | {
            c: column(c, rows) for c in new
        }
        select = exp.select(*aliased(values)).from_(self.table(self.last), copy=False)
        self._columns += new
        self._append(name, select.join(self.table(rows), join_type="cross", copy=False))

    def filter(self, condition: exp.Expr) -> None:
        """Let the last step have only rows of its own source for which a condition is true."""
        self._tables[-1][1].where(condition, copy=False)

    def table(self, name: str) -> exp.Table:
        """Return a step as a table."""
        return exp.table_(name, quoted=True)

    def finish(self, columns: Mapping[str, exp.Expr]) -> exp.Select:
        """Return the statement, with these columns of the last step by the names of the result."""
        chosen = [
            exp.alias_(value, self.target.identifier(name)) for name, value in columns.items()
        ]
        statement = exp.select(*chosen).from_(self.table(self.last), copy=False)
        for name, select in self._tables:
            alias = exp.to_identifier(name, quoted=True)
            statement.with_(alias, as_=select, copy=False)
        return statement

    def _append(self, name: str, select: exp.Select) -> None:
        self._tables.append((self._name(name), self.target.fenced(select)))

    def _name(self, name: str) -> str:
        names = {table for table, _ in self._tables}
        full = f"{self._prefix}{name}"
        numbers = (f"{full}_{i}" for i in range(2, len(names) + 3))
        return next(candidate for candidate in (full, *numbers) if candidate not in names)
