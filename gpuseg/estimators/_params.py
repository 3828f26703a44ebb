"""Parameters of the estimators, checked: from scikit-learn's conventions to gpuseg's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.algorithms.params import MAX_SWEEP
from gpuseg.errors import ConfigError
from gpuseg.estimators._initial_centers import centers_as_lists
from gpuseg.estimators._metric_names import METRICS, resolve_metric
from gpuseg.estimators._numpy_scalars import python_values, to_python
from gpuseg.estimators._sklearn_params import (
    DBSCANSklearnParams,
    KMeansSklearnParams,
    check_sklearn_params,
    n_threads_of,
)
from gpuseg.estimators._warnings import warn_caller
from gpuseg.validation import check_n_threads, nearest_known, validated

_SCALABLE_SEEDINGS = ("k-means||", "scalable-k-means++", "scalable-kmeans++")
"""Names that other libraries have for k-means||."""


def kmeans_params(options: Mapping[str, Any]) -> KMeansParams:
    """Return the parameters of `KMeans`, given as its `get_params` returns them.

    Where `init` is a function, they have the default in its place; see `_initial_centers`.

    Raises
    ------
    ConfigError
        For a parameter outside its rule.

    Warns
    -----
    RuntimeWarning
        For several runs from the same initial centers: there is only one run.
    """
    check_n_threads(options["n_threads"])
    check_sklearn_params(KMeansSklearnParams, options)
    init = options["init"]
    values = python_values(options, [name for name in KMeansParams.model_fields if name != "init"])
    values["random_state"] = to_python(resolve_seed(options["random_state"]))
    if isinstance(init, str):
        values["init"] = init
    elif not callable(init):
        values["init"] = centers_as_lists(init)
    params = validated(KMeansParams, values, _next_step(options))
    return params if callable(init) else _with_one_run(params)


def _with_one_run(params: KMeansParams) -> KMeansParams:
    """Return the parameters with one run where initial centers are given."""
    if isinstance(params.init, str) or params.n_init in ("auto", 1):
        return params
    warn_caller(
        f"n_init = {params.n_init}, but all runs would start from the same centers (init): "
        "there is one run. Use n_init = 1",
        RuntimeWarning,
    )
    return params.model_copy(update={"n_init": 1})


def dbscan_params(options: Mapping[str, Any]) -> DBSCANParams:
    """Return the parameters of `DBSCAN`, given as its `get_params` returns them.

    Raises
    ------
    ConfigError
        For a parameter outside its rule.
    """
    n_threads_of(options["n_threads"], options["n_jobs"])
    check_sklearn_params(DBSCANSklearnParams, options)
    values = python_values(options, DBSCANParams.model_fields)
    values["metric"] = resolve_metric(
        values["metric"], **python_values(options, ("p", "metric_params"))
    )
    if isinstance(values["eps"], int) and not isinstance(values["eps"], bool):
        values["eps"] = float(values["eps"])
    return validated(DBSCANParams, values, _nearest_metric(values["metric"]))


def _nearest_metric(metric: Any) -> Callable[[str, list[str] | None], str]:
    """Return the hint for the name of a metric that nothing has."""
    suggestion = nearest_known(metric, METRICS) if isinstance(metric, str) else ""
    return lambda key, texts: suggestion if key == "metric" else ""


def _next_step(options: Mapping[str, Any]) -> Callable[[str, list[str] | None], str]:
    """Return the hints for values that other libraries or other classes of NumPy have."""

    def hint(key: str, texts: list[str] | None) -> str:
        value = options[key]
        if key == "init" and isinstance(value, str) and value in _SCALABLE_SEEDINGS:
            return "use 'k-means++', which seeds on a sample and so suits many rows, too"
        if key == "random_state" and not isinstance(value, Real):
            return "use a whole number, a numpy.random.RandomState or None"
        return ""

    return hint


def resolve_seed(random_state: Any) -> Any:
    """Return the seed of a `random_state`; None is a fresh one."""
    if random_state is None:
        return secrets.randbits(62)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return random_state


def checked_seed(random_state: Any) -> int:
    """Return the seed of a `random_state`, checked.

    Raises
    ------
    ConfigError
    """
    seed = to_python(resolve_seed(random_state))
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ConfigError(
            "random_state.invalid",
            value=random_state,
            rule="must be a whole number from 0 to 2**63 - 1, a numpy.random.RandomState or None",
            parameter="random_state",
        )
    return seed


def one_seed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of `KMeans` for several `n_clusters`, with one seed for all of them.

    Raises
    ------
    ConfigError
        For initial centers, which suit only one `n_clusters`.
    """
    init = options.get("init", "")
    if not isinstance(init, str) and not callable(init):
        raise ConfigError(
            "init.several_n_clusters",
            parameter="init",
            rule="initial centers suit only one `n_clusters`",
            hint="leave `init` out, or use KMeans",
        )
    return {**options, "random_state": resolve_seed(options.get("random_state"))}


def several_counts(n_clusters: Any, n_least: int, least: int, rule: str, hint: str) -> list[int]:
    """Return several numbers of clusters, each once, in increasing order.

    Parameters
    ----------
    n_clusters : iterable of int >= `least`
        At least `n_least` of them; it may have no end, which is refused.
    rule : str
        What it must be.
    hint : str
        The next step where it is something else.

    Raises
    ------
    ConfigError
    """
    try:
        values = list(islice(n_clusters, MAX_SWEEP + 1))
    except TypeError:  # a single number
        values = []
    counts = sorted(set(values)) if all(isinstance(value, Real) for value in values) else []
    if not n_least <= len(counts) <= MAX_SWEEP or counts[0] < least:
        raise ConfigError(
            "n_clusters.not_several",
            value=n_clusters,
            rule=f"{rule}; at most {MAX_SWEEP:,} numbers in all",
            hint=hint,
            parameter="n_clusters",
        )
    return counts
