"""Metrics of DBSCAN by all the names that scikit-learn has for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gpuseg.errors import ConfigError, literal, set_key

_ALIASES = {
    "l1": "manhattan",
    "cityblock": "manhattan",
    "l2": "euclidean",
    "infinity": "chebyshev",
}

_POWERS = {1: "manhattan", 2: "euclidean", math.inf: "chebyshev"}
"""The metric that "minkowski" is, by its power p."""

METRICS = ("euclidean", "manhattan", "chebyshev", "cosine", "haversine")

_ELSEWHERE = "use one of these metrics, or sklearn.cluster.DBSCAN, which has it"

_ONLY_ELSEWHERE = (
    *("braycurtis", "canberra", "dice", "hamming", "jaccard", "kulsinski"),
    *("matching", "nan_euclidean", "pyfunc", "rogerstanimoto", "russellrao", "sokalmichener"),
    *("sokalsneath", "yule"),
)

_NEXT_STEPS = {
    **dict.fromkeys(_ONLY_ELSEWHERE, _ELSEWHERE),
    "sqeuclidean": "use 'euclidean' with the square root of `eps`",
    "correlation": "subtract from each row its mean, and use 'cosine'",
    "seuclidean": "divide each column by its standard deviation, and use 'euclidean'",
    "mahalanobis": "multiply the rows by the Cholesky factor of the inverse covariance, and use "
    "'euclidean'",
    "precomputed": "pass the rows in place of their distances, or use sklearn.cluster.DBSCAN",
}
"""What to do where a script has a metric of scikit-learn that gpuseg does not compute."""


def resolve_metric(metric: Any, p: Any = None, metric_params: Any = None) -> Any:
    """Return gpuseg's name of a metric; a value that is no name, as it is.

    Parameters
    ----------
    metric : object
        A name of scikit-learn: "l1", "cityblock", "l2" and "minkowski", too.
    p : float or None
        The power of "minkowski"; None is 2.
    metric_params : dict or None
        May have p, too.

    Raises
    ------
    ConfigError
        For a metric that gpuseg does not compute, a power of another metric than "minkowski", and
        other parameters of metrics.
    """
    if callable(metric):
        raise ConfigError(
            "metric.callable",
            "metric is a function",
            rule=f"must be one of {', '.join(map(repr, METRICS))}",
            hint=_ELSEWHERE,
            parameter="metric",
        )
    power = _power(p, metric_params)
    if metric == "minkowski":
        return _minkowski(2 if power is None else power)
    name = _ALIASES.get(metric, metric) if isinstance(metric, str) else metric
    if power is not None and _POWERS.get(power) != name:
        raise ConfigError(
            "p.without_minkowski",
            value=power,
            rule="is the power of `metric` = 'minkowski', but the metric is "
            f"{literal(repr(metric))}",
            hint=f"leave `p` out, or {set_key('metric', 'minkowski')}",
            parameter="p",
        )
    if isinstance(name, str) and name in _NEXT_STEPS:
        raise ConfigError(
            "metric.not_available",
            value=name,
            rule=f"must be one of {', '.join(map(repr, METRICS))}",
            hint=_NEXT_STEPS[name],
            parameter="metric",
        )
    return name


def _minkowski(power: Any) -> str:
    if power in _POWERS:
        return _POWERS[power]
    raise ConfigError(
        "p.not_available",
        value=power,
        rule="must be 1 (manhattan), 2 (euclidean) or inf (chebyshev)",
        hint="use one of these, or sklearn.cluster.DBSCAN, which has other powers",
        parameter="p",
    )


def _power(p: Any, metric_params: Any) -> Any:
    """Return the power that `p` or `metric_params` gives; None if neither does."""
    if metric_params is not None and not isinstance(metric_params, Mapping):
        raise ConfigError(
            "parameter.invalid_value",
            value=metric_params,
            rule="must be None or a dict",
            parameter="metric_params",
        )
    others = sorted(map(str, (metric_params or {}).keys() - {"p"}))
    if others:
        weighted = "multiply each column by its weight to the power 1/p, and leave it out"
        scaled = "scale the columns, and leave it out"
        raise ConfigError(
            "metric_params.not_available",
            value=others[0],
            rule="may have only p, the power of `metric` = 'minkowski'",
            hint=weighted if others[0] == "w" else scaled,
            parameter="metric_params",
        )
    power = (metric_params or {}).get("p", p)
    if power is None:
        return None
    is_number = isinstance(power, int | float) and not isinstance(power, bool)
    if not is_number or math.isnan(power) or power <= 0:
        raise ConfigError(
            "parameter.invalid_value",
            value=power,
            rule="must be None or a number > 0",
            parameter="p",
        )
    if p is not None and power != p:
        raise ConfigError(
            "p.twice",
            value=p,
            rule=f"is {power:g} in `metric_params`",
            hint="leave one of the two out",
            parameter="p",
        )
    return power
