"""Keywords of other libraries, which a script has whose import alone was changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import ParamSpec

from gpuseg.errors import ConfigError
from gpuseg.validation import nearest_known

P = ParamSpec("P")

_SAME_RESULT = "leave it out: it does not change the result"
_SEEDING = "leave it out: init='k-means++' seeds on a sample, also for many rows"
_MEMORY = "leave it out: gpuseg chooses its blocks by the memory"

_NEXT_STEPS = {
    "n_jobs": "use n_threads",
    "precompute_distances": _SAME_RESULT,
    "convert_dtype": "leave it out: numbers of any type are converted",
    "handle": _SAME_RESULT,
    "output_type": "leave it out: results are NumPy arrays, or on the GPU where X is",
    "oversampling_factor": _SEEDING,
    "init_max_iter": _SEEDING,
    "init_size": _SEEDING,
    "max_samples_per_batch": _MEMORY,
    "max_mbytes_per_batch": _MEMORY,
    "device_buffer_samples": _MEMORY,
    "batch_size": "leave it out: fit uses all rows; for a stream of batches use partial_fit",
    "reassignment_ratio": "leave it out: empty clusters move in each iteration",
    "calc_core_sample_indices": "leave it out: they are always there",
    "verbose": "leave it out: DBSCAN has no iterations to report",
}


class UnknownParameter(ConfigError, TypeError):
    """A keyword that a constructor does not have; a TypeError, as Python raises it."""


def refuses_unknown(init: Callable[P, None]) -> Callable[P, None]:
    """Return a constructor that says what to do about keywords that it does not have.

    Its signature stays, from which scikit-learn reads the parameters.
    """
    known = [name for name in signature(init).parameters if name != "self"]

    @wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        unknown = [name for name in kwargs if name not in known]
        if unknown:
            steps = [_NEXT_STEPS.get(name) or nearest_known(name, known) for name in unknown]
            raise UnknownParameter(
                "parameter.unknown",
                f"{type(args[0]).__name__} has no parameter {', '.join(map(repr, unknown))}",
                hint="; ".join(f"{n}: {step}" for n, step in zip(unknown, steps, strict=True)),
            )
        init(*args, **kwargs)

    return checked
