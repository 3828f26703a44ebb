"""Parameters of the estimators, checked: from scikit-learn's conventions to gpuseg's own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.kmeans.params import KMeansParams
from gpuseg.algorithms.params import MAX_SWEEP
from gpuseg.errors import ConfigError
from gpuseg.validation import check_n_threads, validated


def kmeans_params(options: Mapping[str, Any]) -> KMeansParams:
    """Return the parameters of `KMeans`, given as its `get_params` returns them.

    Raises
    ------
    ConfigError
        For a parameter outside its rule.
    """
    values = {name: to_python_scalar(options[name]) for name in KMeansParams.model_fields}
    values["random_state"] = to_python_scalar(resolve_seed(options["random_state"]))
    if not isinstance(options["init"], str):
        values["init"] = np.asarray(options["init"], dtype=np.float64).tolist()
    check_n_threads(options["n_threads"])
    return validated(KMeansParams, values)


def dbscan_params(options: Mapping[str, Any]) -> DBSCANParams:
    """Return the parameters of `DBSCAN`, given as its `get_params` returns them.

    Raises
    ------
    ConfigError
        For a parameter outside its rule.
    """
    check_n_threads(options["n_threads"])
    values = {name: to_python_scalar(options[name]) for name in DBSCANParams.model_fields}
    if isinstance(values["eps"], int) and not isinstance(values["eps"], bool):
        values["eps"] = float(values["eps"])
    return validated(DBSCANParams, values)


def resolve_seed(random_state: Any) -> Any:
    """Return the seed of a `random_state`; None is a fresh one."""
    if random_state is None:
        return secrets.randbits(62)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return random_state


def one_seed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of `KMeans` for several `n_clusters`, with one seed for all of them.

    Raises
    ------
    ConfigError
        For initial centers, which suit only one `n_clusters`.
    """
    if not isinstance(options.get("init", ""), str):
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


def to_python_scalar(value: Any) -> Any:
    """Return Python's own number for a NumPy scalar: the parameters' types are strict."""
    return value.item() if isinstance(value, np.generic) else value
