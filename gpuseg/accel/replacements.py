"""Which names of scikit-learn are replaced, and by what.

The names are those of what computes, inside of scikit-learn: its own code goes on to check
arguments, to draw random numbers, to warn and to set attributes. Such names are private. They are
replaced only in versions that have them, and only if they take the arguments that they should.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import sklearn

from gpuseg.accel.dbscan import replace_dbscan_fit
from gpuseg.accel.kmeans import replace_run, replace_tolerance
from gpuseg.accel.log import LOGGER
from gpuseg.accel.mini_batch import replace_mini_batch_fit
from gpuseg.accel.silhouette import replace_distances

FIRST_VERSION, LAST_VERSION = (1, 6), (1, 9)
"""The versions of scikit-learn that have these names, both inclusive."""

Factory = Callable[[Callable[..., Any], ModuleType], Callable[..., Any]]
"""Takes the original and its module, and returns what replaces it."""

_RUN = ("X", "sample_weight", "centers_init", "max_iter", "verbose", "tol", "n_threads")
_BISECT = ("sklearn.cluster._bisect_k_means",)
_FIT = ("self", "X", "y", "sample_weight")


@dataclass(frozen=True)
class Replacement:
    """A name that is replaced.

    Attributes
    ----------
    path : str
        The name inside of its module; ``Class.method`` for a method.
    arguments : tuple of str
        What it must take.
    factory : Factory
    importers : tuple of str
        Other modules that have the name too.
    """

    path: str
    arguments: tuple[str, ...]
    factory: Factory
    importers: tuple[str, ...] = ()


REPLACEMENTS = {
    "sklearn.cluster._kmeans": (
        Replacement("_tolerance", ("X", "tol"), replace_tolerance),
        Replacement("_kmeans_single_lloyd", _RUN, replace_run, _BISECT),
        Replacement("_kmeans_single_elkan", _RUN, replace_run, _BISECT),
        Replacement("MiniBatchKMeans.fit", _FIT, replace_mini_batch_fit),
    ),
    "sklearn.cluster._dbscan": (Replacement("DBSCAN.fit", _FIT, replace_dbscan_fit),),
    "sklearn.metrics.cluster._unsupervised": (
        Replacement(
            "pairwise_distances_chunked",
            ("X", "Y", "reduce_func", "metric", "n_jobs", "working_memory", "kwds"),
            replace_distances,
        ),
    ),
}


@dataclass(frozen=True)
class _Change:
    """A name that was replaced.

    Attributes
    ----------
    owner : module or class
    name : str
    original, substitute : callable
    importers : tuple of str
        Modules that may have the substitute, too.
    """

    owner: Any
    name: str
    original: Callable[..., Any]
    substitute: Callable[..., Any]
    importers: tuple[str, ...]


_changes: dict[str, list[_Change]] = {}
"""What was replaced, by module."""


def replace_names(module: ModuleType) -> None:
    """Replace the names of a module that has run; those replaced already stay so."""
    if module.__name__ in _changes:
        return
    if not _is_known(sklearn.__version__):
        LOGGER.warning(
            "scikit-learn %s computes by itself: gpuseg.accel knows versions %d.%d to %d.%d",
            sklearn.__version__,
            *FIRST_VERSION,
            *LAST_VERSION,
        )
        return
    _changes[module.__name__] = []
    for replacement in REPLACEMENTS[module.__name__]:
        _replace(module, replacement)


def restore_names() -> None:
    """Put the originals back."""
    for change in [change for changes in _changes.values() for change in changes]:
        setattr(change.owner, change.name, change.original)
        _set_in(change.importers, change.name, change.substitute, change.original)
    _changes.clear()


def _replace(module: ModuleType, replacement: Replacement) -> None:
    """Replace a name in its module and in those that imported it."""
    owner_name, _, name = replacement.path.rpartition(".")
    owner = getattr(module, owner_name, None) if owner_name else module
    original = getattr(owner, name, None)
    if original is None or tuple(inspect.signature(original).parameters) != replacement.arguments:
        LOGGER.warning(
            "%s.%s of scikit-learn %s is unknown, and stays",
            module.__name__,
            replacement.path,
            sklearn.__version__,
        )
        return
    substitute = replacement.factory(original, module)
    setattr(owner, name, substitute)
    _set_in(replacement.importers, name, original, substitute)
    _changes[module.__name__].append(
        _Change(owner, name, original, substitute, replacement.importers)
    )


def _set_in(importers: tuple[str, ...], name: str, before: Any, after: Any) -> None:
    """Set a name of the modules that are imported and have it from the module of the original."""
    for importer in importers:
        module = sys.modules.get(importer)
        if module is not None and getattr(module, name, None) is before:
            setattr(module, name, after)


def _is_known(version: str) -> bool:
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return False
    return FIRST_VERSION <= (major, minor) <= LAST_VERSION
