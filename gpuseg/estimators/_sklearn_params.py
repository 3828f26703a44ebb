"""Parameters of scikit-learn that change how its own code works, not the result.

gpuseg has them so that a script for scikit-learn runs unchanged. All are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from gpuseg.algorithms.params import AlgorithmParams
from gpuseg.errors import ConfigError
from gpuseg.estimators._numpy_scalars import python_values, to_python
from gpuseg.runtime.executor import available_cpus
from gpuseg.validation import MAX_THREADS, check_n_threads, validated

_NEXT_STEPS = {
    "full": "use 'lloyd', its name in scikit-learn today",
    "auto": "use 'lloyd', its name in scikit-learn today",
    "rbc": "use 'auto': gpuseg always searches by an index, and the result is the same",
}
"""What to do where a script has a word of older or of other libraries."""


class KMeansSklearnParams(AlgorithmParams):
    """See `KMeans`."""

    algorithm: Literal["lloyd", "elkan"] = "lloyd"
    copy_x: bool = True
    verbose: bool | Annotated[int, Field(ge=0)] = 0


class DBSCANSklearnParams(AlgorithmParams):
    """See `DBSCAN`."""

    algorithm: Literal["auto", "ball_tree", "kd_tree", "brute"] = "auto"
    leaf_size: Annotated[int, Field(ge=1)] = 30


def check_sklearn_params(model: type[BaseModel], options: Mapping[str, Any]) -> None:
    """Check those parameters of an estimator that `model` has.

    Raises
    ------
    ConfigError
    """
    values = python_values(options, model.model_fields)

    def hint(key: str, texts: list[str] | None) -> str:
        value = values[key]
        return _NEXT_STEPS.get(value, "") if isinstance(value, str) else ""

    validated(model, values, hint)


def n_threads_of(n_threads: Any, n_jobs: Any = None) -> int | None:
    """Return the number of threads that `n_threads` or `n_jobs` gives; None means all processors.

    Parameters
    ----------
    n_jobs : int or None
        As in joblib: -1 is all processors, -2 all but one, and so on.

    Raises
    ------
    ConfigError
        For no such number, and for two different numbers.
    """
    n_threads, n_jobs = to_python(n_threads), to_python(n_jobs)
    check_n_threads(n_threads)
    if n_jobs is None:
        return None if n_threads is None else int(n_threads)
    is_number = isinstance(n_jobs, int) and not isinstance(n_jobs, bool)
    if not is_number or n_jobs == 0 or n_jobs > MAX_THREADS:
        raise ConfigError(
            "n_jobs.invalid",
            value=n_jobs,
            rule=f"must be None, a number from 1 to {MAX_THREADS:,}, or -1 for all processors",
            parameter="n_jobs",
        )
    jobs = int(n_jobs) if n_jobs > 0 else max(available_cpus() + 1 + n_jobs, 1)
    if n_threads is not None and n_threads != jobs:
        raise ConfigError(
            "n_jobs.with_n_threads",
            value=n_jobs,
            rule=f"both set the number of threads, and `n_threads` = {n_threads}",
            hint="leave one of the two out",
            parameter="n_jobs",
        )
    return jobs
