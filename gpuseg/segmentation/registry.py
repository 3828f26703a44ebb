"""Algorithms that a job can name: those of gpuseg, and those that other packages register."""

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from gpuseg.errors import ConfigError
from gpuseg.segmentation.base import SegmentationAlgorithm, SegmentSpec
from gpuseg.segmentation.dbscan import DBSCANSegmentation
from gpuseg.segmentation.hierarchical import HierarchicalSegmentation
from gpuseg.segmentation.kmeans import KMeansSegmentation

ENTRY_POINTS = "gpuseg.algorithms"
"""Group of entry points; each one is an instance of `SegmentationAlgorithm`."""

_ALGORITHMS: dict[str, SegmentationAlgorithm[Any]] = {}


def register(algorithm: SegmentationAlgorithm[Any]) -> None:
    """Add an algorithm to those that a job can name.

    Raises
    ------
    ConfigError
        If another algorithm has its name.
    """
    if algorithm.name in _ALGORITHMS:
        raise ConfigError(
            "algorithm.name_taken", "another algorithm has this name", value=algorithm.name,
            parameter="algorithm", hint="register it under another name",
        )  # fmt: skip
    _ALGORITHMS[algorithm.name] = algorithm


register(KMeansSegmentation())  # the first one is the default
register(DBSCANSegmentation())
register(HierarchicalSegmentation())


def registered() -> tuple[SegmentationAlgorithm[Any], ...]:
    """Return all algorithms; the first one is the default of a job."""
    _register_entry_points()
    return tuple(_ALGORITHMS.values())


def algorithm_of(spec: SegmentSpec) -> SegmentationAlgorithm[Any]:
    """Return the algorithm that takes these parameters."""
    return _ALGORITHMS[spec.algorithm]


@cache
def _register_entry_points() -> None:
    for entry in entry_points(group=ENTRY_POINTS):
        register(entry.load())
