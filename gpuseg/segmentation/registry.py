"""Algorithms that a job can name: those of gpuseg, and those that other packages register."""

import os
from dataclasses import replace
from threading import RLock
from typing import Any

from gpuseg.errors import ConfigError, GpusegError
from gpuseg.models.plugins import Plugin, load_plugins, same_class
from gpuseg.segmentation.base import SegmentationAlgorithm, SegmentSpec
from gpuseg.segmentation.dbscan import DBSCANSegmentation
from gpuseg.segmentation.hierarchical import HierarchicalSegmentation
from gpuseg.segmentation.kmeans import KMeansSegmentation

_ALGORITHMS: dict[str, SegmentationAlgorithm[Any]] = {}
_LOCK = RLock()


def _unlock_in_child() -> None:
    """Let a forked child register algorithms, whatever other threads of its parent do."""
    global _LOCK
    _LOCK = RLock()


os.register_at_fork(after_in_child=_unlock_in_child)


def register(algorithm: SegmentationAlgorithm[Any]) -> None:
    """Add an algorithm to those that a job can name; an object of the same class is replaced.

    Raises
    ------
    ConfigError
        If another algorithm has its name.
    """
    with _LOCK:
        other = _ALGORITHMS.get(algorithm.name, algorithm)
        if not same_class(type(other), type(algorithm)):
            raise ConfigError(
                "algorithm.name_taken", "another algorithm has this name", value=algorithm.name,
                parameter="algorithm", hint="register it under another name",
            )  # fmt: skip
        _ALGORITHMS[algorithm.name] = algorithm


register(KMeansSegmentation())  # the first one is the default
register(DBSCANSegmentation())
register(HierarchicalSegmentation())


def registered() -> tuple[SegmentationAlgorithm[Any], ...]:
    """Return all algorithms that can be used; the first one is the default of a job."""
    with _LOCK:
        for plugin in load_plugins():
            _registered(plugin)
        return tuple(_ALGORITHMS.values())


def require_loaded(name: Any) -> None:
    """Refuse the name of an algorithm whose package cannot be loaded.

    Raises
    ------
    ResourceError
    """
    if name in [algorithm.name for algorithm in registered()]:
        return
    for plugin in map(_registered, load_plugins()):
        if plugin.problem and plugin.name == name:
            raise plugin.error()


def algorithm_of(spec: SegmentSpec) -> SegmentationAlgorithm[Any]:
    """Return the algorithm that takes these parameters."""
    return _ALGORITHMS[spec.algorithm]


def _registered(plugin: Plugin) -> Plugin:
    """Register what a plug-in is; return the plug-in, with the problem if there is one."""
    if plugin.problem:
        return plugin
    if not isinstance(plugin.value, SegmentationAlgorithm):
        return replace(plugin, problem=f"{plugin.value!r} is no SegmentationAlgorithm")
    if _ALGORITHMS.get(plugin.value.name) is plugin.value:
        return plugin
    try:
        register(plugin.value)
    except GpusegError as error:
        return replace(plugin, problem=str(error))
    return plugin
