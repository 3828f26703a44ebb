"""log(1 + x) and the Yeo-Johnson transform as nodes, with the bits of gpuseg's own.

ONNX has neither frexp nor ldexp. A mantissa and its exponent are found by comparisons with powers
of two and exact multiplications; 2^k is looked up in a table.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gpuseg.exports.onnx.graph import INT64, Graph
from gpuseg.numerics.log1p import LOG_2, SERIES, SQRT_HALF
from gpuseg.numerics.yeo_johnson import (
    FACTORIALS,
    INVERSE_LOG_2,
    LARGEST,
    LOG_2_HIGH,
    LOG_2_LOW,
)

_LOWEST_EXPONENT = -24
"""Of 1 + x, where x is a float32 above -1."""

_POWERS_OF_2 = (128, 64, 32, 16, 8, 4, 2, 1)
"""Their sum is beyond every exponent of 1 + x, counted from the lowest one."""

_LARGEST_POWER = math.ceil(LARGEST * INVERSE_LOG_2)


def log1p(graph: Graph, x: str) -> str:
    """Return log(1 + x), float64, of float64 values that float32 holds; see `numerics.log1p`."""
    x = graph("Where", graph("Greater", x, -1.0), x, math.nan)
    u = graph("Add", x, 1.0)
    value, exponent = _significand_and_exponent(graph, u)
    low = graph("Less", value, 2.0 * SQRT_HALF)
    mantissa = graph("Where", low, value, graph("Mul", value, 0.5))
    power_of_2 = graph("Where", low, exponent, graph("Add", exponent, 1.0))
    s = graph("Div", graph("Sub", mantissa, 1.0), graph("Add", mantissa, 1.0))
    series = _horner(graph, SERIES, graph("Mul", s, s))
    log = graph(
        "Add",
        graph("Mul", power_of_2, LOG_2),
        graph("Mul", graph("Mul", s, 2.0), series),
    )
    rounding = graph("Div", graph("Sub", x, graph("Sub", u, 1.0)), u)
    return graph("Add", log, rounding)


def yeo_johnson(graph: Graph, x: str, powers: NDArray[np.float64]) -> str:
    """Return the transform of each column by its λ, float64; see `numerics.yeo_johnson`."""
    negative = graph("Less", x, 0.0)
    log = log1p(graph, graph("Abs", x))
    t = graph("Where", negative, 2.0 - powers, powers)
    is_log = graph("Equal", t, 0.0)
    divisor = graph("Where", is_log, 1.0, t)
    power = graph("Div", _expm1(graph, graph("Mul", t, log)), divisor)
    magnitude = graph("Where", is_log, log, power)
    return graph("Where", negative, graph("Neg", magnitude), magnitude)


def _significand_and_exponent(graph: Graph, u: str) -> tuple[str, str]:
    """Return v from 1 to 2 and the exponent e, with u = v·2^e; NaN stays NaN."""
    value = graph("Mul", u, 2.0**-_LOWEST_EXPONENT)
    exponent = graph.constant(float(_LOWEST_EXPONENT))
    for power in _POWERS_OF_2:
        is_above = graph("GreaterOrEqual", value, 2.0**power)
        value = graph("Where", is_above, graph("Mul", value, 2.0**-power), value)
        exponent = graph("Add", graph("Where", is_above, float(power), 0.0), exponent)
    return value, exponent


def _expm1(graph: Graph, y: str) -> str:
    """Return e^y - 1, float64; see `numerics.yeo_johnson.expm1`."""
    y = graph("Where", graph("Greater", y, LARGEST), LARGEST, y)
    y = graph("Where", graph("Less", y, -LARGEST), -LARGEST, y)
    k = graph("Round", graph("Mul", y, INVERSE_LOG_2))
    r = graph("Sub", graph("Sub", y, graph("Mul", k, LOG_2_HIGH)), graph("Mul", k, LOG_2_LOW))
    series = graph("Mul", _horner(graph, FACTORIALS, r), r)
    place = graph("Where", graph("IsNaN", k), 0.0, k)  # NaN has no place in the table
    place = graph.cast(graph("Add", place, float(_LARGEST_POWER)), INT64)
    table = np.ldexp(1.0, np.arange(-_LARGEST_POWER, _LARGEST_POWER + 1))
    power = graph("Gather", table, place)
    return graph("Add", graph("Mul", power, series), graph("Sub", power, 1.0))


def _horner(graph: Graph, coefficients: tuple[float, ...], x: str) -> str:
    series = graph("Add", graph("Mul", x, coefficients[0]), coefficients[1])
    for coefficient in coefficients[2:]:
        series = graph("Add", graph("Mul", series, x), coefficient)
    return series
