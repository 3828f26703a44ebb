"""gpuseg: exact, distributed customer segmentation.

``import gpuseg`` loads nothing heavy; each public name is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuseg.errors import ConfigError as ConfigError
    from gpuseg.errors import DataError as DataError
    from gpuseg.errors import GpusegError as GpusegError
    from gpuseg.errors import ResourceError as ResourceError
    from gpuseg.estimators.dbscan import DBSCAN as DBSCAN
    from gpuseg.estimators.estimate_eps import estimate_eps as estimate_eps
    from gpuseg.estimators.kmeans import KMeans as KMeans
    from gpuseg.estimators.preprocessor import Preprocessor as Preprocessor
    from gpuseg.estimators.select_k import select_k as select_k
    from gpuseg.estimators.sweep import KMeansSweep as KMeansSweep
    from gpuseg.estimators.sweep import kmeans_sweep as kmeans_sweep
    from gpuseg.jobs.run import run as run
    from gpuseg.model_selection.k_distance import EpsEstimate as EpsEstimate
    from gpuseg.model_selection.select_k import KSelection as KSelection
    from gpuseg.models.kmeans import KMeansModel as KMeansModel
    from gpuseg.models.loading import load_model as load_model
    from gpuseg.synthetic.customers import write_customers as write_customers

__version__ = "0.1.0"

_HOME = {
    "DBSCAN": "gpuseg.estimators.dbscan",
    "KSelection": "gpuseg.model_selection.select_k",
    "select_k": "gpuseg.estimators.select_k",
    "EpsEstimate": "gpuseg.model_selection.k_distance",
    "estimate_eps": "gpuseg.estimators.estimate_eps",
    "KMeans": "gpuseg.estimators.kmeans",
    "KMeansSweep": "gpuseg.estimators.sweep",
    "kmeans_sweep": "gpuseg.estimators.sweep",
    "Preprocessor": "gpuseg.estimators.preprocessor",
    "run": "gpuseg.jobs.run",
    "KMeansModel": "gpuseg.models.kmeans",
    "load_model": "gpuseg.models.loading",
    "write_customers": "gpuseg.synthetic.customers",
    "GpusegError": "gpuseg.errors",
    "ConfigError": "gpuseg.errors",
    "DataError": "gpuseg.errors",
    "ResourceError": "gpuseg.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "features":
        return import_module("gpuseg.features")
    if name not in _HOME:
        raise AttributeError(f"module 'gpuseg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
