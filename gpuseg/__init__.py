"""gpuseg: exact, distributed customer segmentation.

``import gpuseg`` loads nothing heavy; each public name is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuseg.errors import DataError as DataError
    from gpuseg.errors import GpusegError as GpusegError
    from gpuseg.errors import JobError as JobError
    from gpuseg.errors import ResourceError as ResourceError
    from gpuseg.estimators.dbscan import DBSCAN as DBSCAN
    from gpuseg.estimators.estimate_eps import eps_profile as eps_profile
    from gpuseg.estimators.kmeans import KMeans as KMeans
    from gpuseg.estimators.preprocessor import Preparer as Preparer
    from gpuseg.estimators.select_k import choose_k as choose_k
    from gpuseg.estimators.sweep import KMeansSweep as KMeansSweep
    from gpuseg.estimators.sweep import kmeans_sweep as kmeans_sweep
    from gpuseg.jobs.run import run as run
    from gpuseg.model_selection.k_distance import EpsProfile as EpsProfile
    from gpuseg.model_selection.select_k import Choice as Choice
    from gpuseg.models.kmeans import Model as Model
    from gpuseg.models.loading import load_model as load_model
    from gpuseg.synthetic.customers import write_customers as write_customers

__version__ = "0.1.0"

_HOME = {
    "DBSCAN": "gpuseg.estimators.dbscan",
    "Choice": "gpuseg.model_selection.select_k",
    "choose_k": "gpuseg.estimators.select_k",
    "EpsProfile": "gpuseg.model_selection.k_distance",
    "eps_profile": "gpuseg.estimators.estimate_eps",
    "KMeans": "gpuseg.estimators.kmeans",
    "KMeansSweep": "gpuseg.estimators.sweep",
    "kmeans_sweep": "gpuseg.estimators.sweep",
    "Preparer": "gpuseg.estimators.preprocessor",
    "run": "gpuseg.jobs.run",
    "Model": "gpuseg.models.kmeans",
    "load_model": "gpuseg.models.loading",
    "write_customers": "gpuseg.synthetic.customers",
    "GpusegError": "gpuseg.errors",
    "JobError": "gpuseg.errors",
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
