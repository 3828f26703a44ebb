"""The steps from the columns of the table to the rows that are clustered."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from gpuseg.backends.feature_transform import LOG1P, YEO_JOHNSON, FeatureTransform, Projection
from gpuseg.exports.feature_sources import FeatureSource
from gpuseg.exports.sql.expressions import (
    BEYOND_FLOAT32,
    as_float32,
    between,
    bounded_float32,
    case,
    clipped,
    clipped_exponent,
    column,
    equal,
    expm1,
    greater,
    is_present,
    less,
    log1p,
    minus,
    missing_or_finite,
    needs_clipping,
    negative,
    number,
    number_or_null,
    over,
    product_or_zero,
    rounded_if_tiny,
    times,
    whole_number,
)
from gpuseg.exports.sql.prepared_lookup import PreparedLookup, prepare_values
from gpuseg.exports.sql.raw_columns import (
    NO_CATEGORY,
    OTHER_CATEGORY,
    code_name,
    feature_name,
)
from gpuseg.exports.sql.steps import Steps

_MAX_FLOAT64 = float(np.finfo(np.float64).max)


def prepare_rows(
    steps: Steps,
    sources: list[FeatureSource],
    transform: FeatureTransform,
    lookups: dict[int, PreparedLookup],
) -> list[str]:
    """Add the steps from `read_table` to the rows that are clustered; return their columns.

    A row that gpuseg would refuse has NULL in one of them.
    """
    numbers = [f for f, source in enumerate(sources) if source.encoder.kind == "number"]
    _fill_and_clip(steps, sources, transform, lookups)
    steps.add("single", {feature_name(f): as_float32(feature_name(f)) for f in numbers})
    _take_logarithms(steps, [f for f in numbers if transform.transform[f] == LOG1P])
    powers = [f for f in numbers if transform.transform[f] == YEO_JOHNSON]
    _apply_powers(steps, powers, transform.powers())
    _scale(steps, numbers, transform)
    names = [feature_name(f) for f in range(len(sources))]
    if transform.projection is not None:
        names = _project(steps, names, transform.projection)
    if transform.unit:
        _normalize(steps, names)
    return names


def _fill_and_clip(
    steps: Steps,
    sources: list[FeatureSource],
    transform: FeatureTransform,
    lookups: dict[int, PreparedLookup],
) -> None:
    """Fill and clip numbers, and give gaps and one-hot columns their final values.

    Bounds are float32 themselves, so that clipping may come before rounding.
    """
    columns, codes = {}, set()
    low, high = transform.bounds().astype(np.float64).tolist()
    for f, source in enumerate(sources):
        name, kind = feature_name(f), source.encoder.kind
        if kind == "number":
            fill = float(transform.fill[f])
            filled = min(max(fill, low[f]), high[f]) if math.isfinite(fill) else fill
            columns[name] = missing_or_finite(
                column(name),
                clipped(name, low[f], high[f], rounded_if_tiny(name)),
                number_or_null(filled),
            )
        elif kind == "is missing":
            there, gap = prepare_values([0.0, 1.0], transform, f)
            branches = [(test, number_or_null(there)) for test in is_present(column(name))]
            columns[name] = steps.target.as_double(case(branches, number_or_null(gap)))
        elif kind == "onehot":
            code = code_name(source, sources)
            codes.add(code)
            columns[name] = steps.target.as_double(_of_code(code, source, lookups[f]))
    steps.add("filled", columns, without=codes)


def _of_code(code: str, source: FeatureSource, lookup: PreparedLookup) -> exp.Expr:
    """Return the value of a one-hot feature for the code of a category."""
    names = source.encoder.categories
    values = {i: lookup.values.get(name, lookup.otherwise) for i, name in enumerate(names)}
    values |= {OTHER_CATEGORY: lookup.otherwise, NO_CATEGORY: lookup.missing}
    literals = {i: number_or_null(value) for i, value in values.items()}
    default = Counter(literals.values()).most_common(1)[0][0]
    branches = [
        (equal(column(code), whole_number(i)), literal)
        for i, literal in literals.items()
        if literal != default
    ]
    return case(branches, default.copy())


def _take_logarithms(steps: Steps, features: Sequence[int]) -> None:
    names = [feature_name(f) for f in features]
    steps.add(
        "logarithms", {n: case([(greater(column(n), -1.0), log1p(column(n)))]) for n in names}
    )
    steps.add("single_logarithms", {name: as_float32(name) for name in names})


def _apply_powers(steps: Steps, features: Sequence[int], powers: NDArray[np.float64]) -> None:
    """Add the steps of Yeo-Johnson transforms; see `numerics.yeo_johnson`."""
    power_of = {feature_name(f): float(powers[f]) for f in features}
    log, exponent, exponential, difference = (
        {name: f"{name}_{suffix}" for name in power_of} for suffix in ("log", "y", "e", "expm1")
    )

    def signed(name: str, positive: exp.Expr, below_zero: exp.Expr) -> exp.Expr:
        return case([(less(column(name), 0.0), below_zero)], positive)

    def magnitude(name: str, t: float) -> exp.Expr:
        return over(column(difference[name]), number(t)) if t else column(log[name])

    steps.add(
        "logarithms_of_magnitudes",
        {log[n]: log1p(signed(n, column(n), negative(column(n)))) for n in power_of},
    )
    steps.add(
        "exponents",
        {
            exponent[n]: signed(
                n, times(column(log[n]), number(t)), times(column(log[n]), number(2.0 - t))
            )
            for n, t in power_of.items()
        },
    )
    steps.add(
        "bounded_exponents",
        {
            exponent[n]: clipped_exponent(exponent[n])
            for n, t in power_of.items()
            if needs_clipping(t)
        },
    )
    steps.add("exponentials", {exponential[n]: exp.Exp(this=column(exponent[n])) for n in power_of})
    steps.add(
        "differences_of_exponentials",
        {difference[n]: expm1(exponent[n], exponential[n]) for n in power_of},
    )
    steps.add(
        "powers",
        {
            n: signed(n, magnitude(n, t), negative(magnitude(n, 2.0 - t)))
            for n, t in power_of.items()
        },
        without=[c for names in (log, exponent, exponential, difference) for c in names.values()],
    )


def _scale(steps: Steps, numbers: Sequence[int], transform: FeatureTransform) -> None:
    scaled, rounded = {}, {}
    low, high = transform.bounds().astype(np.float64).tolist()
    for f in numbers:
        name, shift, scale = feature_name(f), float(transform.shift[f]), float(transform.scale[f])
        is_power = transform.transform[f] == YEO_JOHNSON
        is_log = transform.transform[f] == LOG1P
        if (shift, scale) == (0.0, 1.0) and not is_power:
            continue  # it is float32 already
        value = over(minus(column(name), shift), number(scale))
        largest = 89.0 if is_log else max(abs(low[f]), abs(high[f]))
        largest = min(largest, BEYOND_FLOAT32)
        if is_power:  # its magnitude may be beyond what float64 can divide
            reach = BEYOND_FLOAT32 * scale
            if math.isfinite(shift + reach) and math.isfinite(shift - reach):
                value = case([(between(name, shift - 2 * reach, shift + 2 * reach), value)])
            largest = _MAX_FLOAT64
        scaled[name] = value
        rounded[name] = bounded_float32(name, (largest + abs(shift)) / scale)
    steps.add("scaled", scaled)
    steps.add("single_scaled", rounded)


def _project(steps: Steps, names: Sequence[str], projection: Projection) -> list[str]:
    """Add the steps to principal components; return their columns."""
    means = dict(zip(names, projection.mean.tolist(), strict=True))
    steps.add("centered", {name: minus(column(name), mean) for name, mean in means.items()})
    components = {f"p{j}": weights for j, weights in enumerate(projection.components.tolist())}
    terms = {
        name: [product_or_zero(x, weight) for x, weight in zip(names, weights, strict=True)]
        for name, weights in components.items()
    }
    steps.add_sums("components", terms, without=names)
    steps.add("single_components", {n: bounded_float32(n, _MAX_FLOAT64) for n in components})
    return list(components)


def _normalize(steps: Steps, names: Sequence[str]) -> None:
    """Add the steps that scale rows to length one; rows of zeros become NULL."""
    square, length = "squared_length", "length"
    steps.add_sums(square, {square: [times(column(name), column(name)) for name in names]})
    steps.add(length, {length: exp.Sqrt(this=column(square))}, without=[square])
    has_length = [(greater(column(length), 0.0), over(column(n), column(length))) for n in names]
    steps.add(
        "unit_length",
        {n: case([branch]) for n, branch in zip(names, has_length, strict=True)},
        without=[length],
    )
    steps.add("single_unit_length", {name: as_float32(name) for name in names})
