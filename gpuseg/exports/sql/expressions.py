"""Expressions of SQL as trees, whose float64 arithmetic has the bits of NumPy's.

Only operators, CASE, CAST, LN, EXP and SQRT are used, since every dialect has them with the same
meaning. LEAST and GREATEST are not: they ignore NULL in some dialects and return it in others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from sqlglot import exp

Branch = tuple[exp.Expr, exp.Expr]
"""A condition, and the value where it is true."""

BEYOND_FLOAT32 = 2.0**128 - 2.0**103
"""The smallest number that becomes infinite as float32."""

_LARGEST_LOG = 89.0
"""An upper bound of log(1 + |x|) for x in float32."""

_LARGEST_EXPONENT = 700.0
"""Where `numerics.yeo_johnson.expm1` ends; EXP of more may overflow, and of less underflow."""

_SMALLEST_NORMAL = 2.0**-126
"""The smallest number that has 24 digits as float32."""

_SMALLEST_FACTOR = 2.0**-300

_ROUNDING_FACTOR = 2.0**29
"""float64 has 29 digits more than float32."""


def column(name: str, table: str | None = None) -> exp.Column:
    """Return a column of a step, whose name is written as it is."""
    return exp.column(name, table=table, quoted=True)


def aliased(columns: Mapping[str, exp.Expr]) -> list[exp.Expr]:
    """Return expressions with the names of their columns."""
    return [exp.alias_(value, name, quoted=True, copy=False) for name, value in columns.items()]


def number(value: float) -> exp.Expr:
    """Return a literal that is a DOUBLE: it has an exponent, and as many digits as it needs."""
    digits = repr(abs(float(value))).upper()
    literal = exp.Literal.number(digits if "E" in digits else f"{digits}E0")
    return exp.Neg(this=literal) if value < 0 else literal


def whole_number(value: int) -> exp.Expr:
    """Return a literal of a whole number."""
    literal = exp.Literal.number(str(abs(value)))
    return exp.Neg(this=literal) if value < 0 else literal


def number_or_null(value: float) -> exp.Expr:
    """Return a literal; NaN and infinity are NULL."""
    return number(value) if math.isfinite(value) else exp.null()


def plus(a: exp.Expr, b: exp.Expr) -> exp.Expr:
    return exp.Add(this=a, expression=_term(b))


def minus(a: exp.Expr, b: exp.Expr | float) -> exp.Expr:
    """Return a - b; a number below zero is added."""
    if isinstance(b, exp.Expr):
        return exp.Sub(this=a, expression=_term(b))
    return plus(a, number(-b)) if b < 0 else exp.Sub(this=a, expression=number(b))


def times(a: exp.Expr, b: exp.Expr) -> exp.Expr:
    return exp.Mul(this=_factor(a), expression=_factor(b))


def over(a: exp.Expr, b: exp.Expr) -> exp.Expr:
    """Return a / b as it stands: no dialect adds a cast, or a test for zero."""
    return exp.Div(this=_factor(a), expression=_factor(b), typed=True, safe=False)


def negative(a: exp.Expr) -> exp.Expr:
    return exp.Neg(this=_factor(a))


def less(a: exp.Expr, b: float) -> exp.Expr:
    return exp.LT(this=a, expression=number(b))


def greater(a: exp.Expr, b: float) -> exp.Expr:
    return exp.GT(this=a, expression=number(b))


def at_most(a: exp.Expr, b: exp.Expr) -> exp.Expr:
    return exp.LTE(this=a, expression=b)


def equal(a: exp.Expr, b: exp.Expr) -> exp.Expr:
    return exp.EQ(this=a, expression=b)


def is_null(a: exp.Expr) -> exp.Expr:
    return exp.Is(this=a, expression=exp.null())


def all_of(conditions: Sequence[exp.Expr]) -> exp.Expr:
    return exp.and_(*conditions, copy=False, wrap=False)


def between(a: str, low: float, high: float) -> exp.Expr:
    """Return whether a column is above `low` and below `high`; NaN is not."""
    return all_of([greater(column(a), low), less(column(a), high)])


def case(branches: Iterable[Branch], otherwise: exp.Expr | None = None) -> exp.Expr:
    """Return the value of the first branch whose condition is true; without one, NULL."""
    branches = list(branches)
    if not branches:
        return exp.null() if otherwise is None else otherwise
    whens = [exp.If(this=condition, true=value) for condition, value in branches]
    return exp.Case(ifs=whens, default=exp.null() if otherwise is None else otherwise)


def missing_or_finite(value: exp.Expr, finite: exp.Expr, missing: exp.Expr) -> exp.Expr:
    """Return one of two expressions for a DOUBLE, and NULL for an infinite one.

    NULL and NaN are missing. NaN is above all numbers in some dialects, and in others no comparison
    with it is true. 1 / NaN <= 1 is false in both, and 1 / x <= 1 is true for large and infinite x.
    """
    refused = exp.null()
    return case(
        [
            (all_of([greater(value.copy(), -BEYOND_FLOAT32), less(value.copy(), BEYOND_FLOAT32)]),
             finite),
            (exp.LT(this=value.copy(), expression=number(0.0)), refused),
            (_is_large(value), refused.copy()),
        ],
        missing,
    )  # fmt: skip


def is_present(value: exp.Expr) -> list[exp.Expr]:
    """Return conditions of which one is true if a DOUBLE is neither NULL nor NaN."""
    return [less(value.copy(), BEYOND_FLOAT32), _is_large(value)]


def _is_large(value: exp.Expr) -> exp.Expr:
    """Return whether a number that is not below `BEYOND_FLOAT32` is no NaN."""
    return at_most(over(number(1.0), value.copy()), number(1.0))


def as_float32(name: str) -> exp.Expr:
    """Return a column rounded to float32, as a DOUBLE; its magnitude is below `BEYOND_FLOAT32`.

    t = 2²⁹·x is exact. t - x is rounded to a multiple of the unit in the last place of t, which is
    that of float32 for x; the second difference is exact. Halves go to the even neighbor, as IEEE
    754 has it: t is an even multiple then. Only numbers below 2^-126 keep more digits than float32.
    """
    scaled = times(number(_ROUNDING_FACTOR), column(name))
    return minus(scaled, minus(scaled.copy(), column(name)))


def bounded_float32(name: str, largest: float) -> exp.Expr:
    """Return a column rounded to float32; NULL if it would be infinite.

    Parameters
    ----------
    largest : float
        An upper bound of its magnitude.
    """
    if largest < BEYOND_FLOAT32:
        return as_float32(name)
    return case([(between(name, -BEYOND_FLOAT32, BEYOND_FLOAT32), as_float32(name))])


def clipped(name: str, low: float, high: float, *others: Branch) -> exp.Expr:
    """Return a column within its bounds, or the first of other branches; infinity is no bound."""
    bounds: list[Branch] = []
    if math.isfinite(low):
        bounds.append((less(column(name), low), number(low)))
    if math.isfinite(high):
        bounds.append((greater(column(name), high), number(high)))
    return case([*bounds, *others], column(name))


def rounded_if_tiny(name: str) -> Branch:
    """Return the branch of numbers below the normal ones of float32, which rounds them.

    PostgreSQL would refuse the statement where their squares underflow.
    """
    grid = number(1.5 * 2.0 ** (52 - 149))  # its last place is that of the tiny numbers of float32
    return between(name, -_SMALLEST_NORMAL, _SMALLEST_NORMAL), minus(
        plus(column(name), grid), grid.copy()
    )


def log1p(x: exp.Expr) -> exp.Expr:
    """Return log(1 + x) for x > -1, with the error of 1 + x corrected (`numerics.log1p`)."""
    u = plus(number(1.0), x)
    lost = minus(x.copy(), minus(u.copy(), 1.0))
    return plus(exp.Ln(this=u), over(lost, u.copy()))


def expm1(y: str, exponential: str) -> exp.Expr:
    """Return e^y - 1 from columns with y and e^y, without the error of the difference.

    Source: Kahan, as in Higham, "Accuracy and stability of numerical algorithms", section 1.14.1.
    """
    difference = minus(column(exponential), 1.0)
    corrected = over(times(difference, column(y)), exp.Ln(this=column(exponential)))
    return case([(equal(column(exponential), number(1.0)), column(y))], corrected)


def needs_clipping(power: float) -> bool:
    """Return whether exponents of a Yeo-Johnson transform may be beyond those of EXP."""
    return max(abs(power), abs(2.0 - power)) * _LARGEST_LOG > _LARGEST_EXPONENT


def clipped_exponent(y: str) -> exp.Expr:
    """Return a column within the exponents of EXP."""
    return clipped(y, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)


def sum_of(terms: Sequence[exp.Expr], start: exp.Expr | None = None) -> exp.Expr:
    """Return the sum of terms, added from left to right."""
    total = start
    for term in terms:
        total = term if total is None else plus(total, term)
    return number(0.0) if total is None else total


def product_or_zero(name: str, factor: float) -> exp.Expr:
    """Return a column times a factor; a factor whose products are lost in float32 is zero.

    PostgreSQL refuses products that underflow.
    """
    return times(column(name), number(factor if abs(factor) > _SMALLEST_FACTOR else 0.0))


def _term(a: exp.Expr) -> exp.Expr:
    """Return an expression as it may stand behind + and -."""
    return exp.paren(a, copy=False) if isinstance(a, exp.Add | exp.Sub) else a


def _factor(a: exp.Expr) -> exp.Expr:
    """Return an expression as it may stand beside × and ÷."""
    return exp.paren(a, copy=False) if isinstance(a, exp.Binary) else a
