"""Decide whether gpuseg saves time: its engine has to be loaded first, which takes half a second.

The constants are about the seconds on two cores. Only their ratios matter: a slower machine is
slower at all of them. `benchmarks/accel.py` shows whether the decisions are right.
"""

from __future__ import annotations

import os
import sys
from math import inf, log
from pathlib import Path

from gpuseg.accel.settings import current_settings

ENGINE = "gpuseg.accel.engine"
"""The module that imports the engine."""

_LOAD = 0.5
"""Importing the engine, and loading its compiled kernels."""

_COMPILE = 40.0
"""Compiling the kernels, once on each machine."""

_ENTER_ITERATIONS = 7
"""What a fit by gpuseg takes besides its iterations, in iterations of scikit-learn."""

_SPEED = 4
"""Iterations of gpuseg in the time of one of scikit-learn."""

_PER_PRODUCT = 4e-10
"""Of scikit-learn's k-means, for one value of a row and one center: its slowest case."""

_WINDOW = 3
"""Iterations over which the decay of an iteration's change is measured."""


def loading_seconds() -> float:
    """Return what it takes until the engine can compute."""
    if ENGINE in sys.modules:
        return 0.0
    return _LOAD if kernels_are_compiled() else _COMPILE


def kernels_are_compiled() -> bool:
    """Whether numba's cache has kernels; this looks for one, without importing numba."""
    source = Path(__file__).parent.parent / "backends" / "numba" / "kmeans"
    name = "iterate.*.nbi"
    if any((source / "__pycache__").glob(name)):
        return True
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = Path(chosen) if chosen else Path(cache) / "numba"
    return any(folder.glob(f"kmeans_*/{name}"))


def can_save(seconds: float) -> bool:
    """Whether gpuseg can save enough of so many seconds of scikit-learn, if it took none itself."""
    return current_settings().always or seconds - loading_seconds() > current_settings().min_saving


def most_seconds_of_lloyd(n_values: int, n_clusters: int, max_iter: int) -> float:
    """Return what k-means takes in scikit-learn, if it needs all its iterations."""
    return n_values * n_clusters * max_iter * _PER_PRODUCT


def saves_iterations(seconds: float, remaining: float) -> bool:
    """Whether gpuseg should make the remaining iterations, of so many seconds each."""
    saved = remaining * (1 - 1 / _SPEED) - _ENTER_ITERATIONS
    return can_save(saved * seconds)


def remaining_iterations(changes: list[float], limit: float) -> float:
    """Return how many iterations are left until a change is at most the limit.

    Changes shrink by about the same factor from one iteration to the next. Where they do not, as
    many iterations are expected as were made.

    Parameters
    ----------
    changes : list of float
        Of each iteration so far.
    limit : float
        0 means never.
    """
    if len(changes) <= _WINDOW or limit <= 0:
        return inf if limit <= 0 else 0.0
    first, last = changes[-1 - _WINDOW], changes[-1]
    if last <= limit:
        return 0.0
    if last >= first:
        return float(len(changes))
    return log(last / limit) / log(first / last) * _WINDOW
