"""gpuseg: exact, distributed customer segmentation.

``import gpuseg`` loads nothing heavy; each public name is imported at its first use.

Examples
--------
>>> import gpuseg
>>> "KMeans" in dir(gpuseg)
True
"""

from __future__ import annotations

TYPE_CHECKING = False
"""Known to type checkers; to import it from `typing` would be half of the time of this import."""

if TYPE_CHECKING:  # the names of _PUBLIC, which tests/contracts/test_public_names.py compares
    from gpuseg import accel as accel
    from gpuseg import features as features
    from gpuseg import mlflow as mlflow
    from gpuseg import synthetic as synthetic
    from gpuseg.errors import ConfigError as ConfigError
    from gpuseg.errors import DataError as DataError
    from gpuseg.errors import GpusegError as GpusegError
    from gpuseg.errors import ResourceError as ResourceError
    from gpuseg.estimators.dbscan import DBSCAN as DBSCAN
    from gpuseg.estimators.estimate_eps import estimate_eps as estimate_eps
    from gpuseg.estimators.kmeans import KMeans as KMeans
    from gpuseg.estimators.preprocessor import Preprocessor as Preprocessor
    from gpuseg.estimators.select_k import select_k as select_k
    from gpuseg.estimators.silhouette import SilhouetteScore as SilhouetteScore
    from gpuseg.estimators.silhouette import silhouette_score as silhouette_score
    from gpuseg.estimators.sweep import KMeansSweep as KMeansSweep
    from gpuseg.estimators.sweep import kmeans_sweep as kmeans_sweep
    from gpuseg.exports.export import export as export
    from gpuseg.jobs.history import history as history
    from gpuseg.jobs.refresh.run_refresh import refresh as refresh
    from gpuseg.jobs.run import RunResult as RunResult
    from gpuseg.jobs.run import run as run
    from gpuseg.jobs.score.run_drift import DriftResult as DriftResult
    from gpuseg.jobs.score.run_drift import drift as drift
    from gpuseg.jobs.score.run_score import ScoreResult as ScoreResult
    from gpuseg.jobs.score.run_score import score as score
    from gpuseg.model_registry.registry import ModelRegistry as ModelRegistry
    from gpuseg.model_selection.k_distance import EpsEstimate as EpsEstimate
    from gpuseg.model_selection.select_k import KSelection as KSelection
    from gpuseg.models.base import SegmentModel as SegmentModel
    from gpuseg.models.dbscan import DBSCANModel as DBSCANModel
    from gpuseg.models.hierarchical import HierarchicalModel as HierarchicalModel
    from gpuseg.models.kmeans import KMeansModel as KMeansModel
    from gpuseg.models.loading import load_model as load_model

__version__ = "0.1.0"

_PUBLIC = {
    "ConfigError": "gpuseg.errors",
    "DBSCAN": "gpuseg.estimators.dbscan",
    "DBSCANModel": "gpuseg.models.dbscan",
    "DataError": "gpuseg.errors",
    "DriftResult": "gpuseg.jobs.score.run_drift",
    "EpsEstimate": "gpuseg.model_selection.k_distance",
    "GpusegError": "gpuseg.errors",
    "HierarchicalModel": "gpuseg.models.hierarchical",
    "KMeans": "gpuseg.estimators.kmeans",
    "KMeansModel": "gpuseg.models.kmeans",
    "KMeansSweep": "gpuseg.estimators.sweep",
    "KSelection": "gpuseg.model_selection.select_k",
    "ModelRegistry": "gpuseg.model_registry.registry",
    "Preprocessor": "gpuseg.estimators.preprocessor",
    "ResourceError": "gpuseg.errors",
    "RunResult": "gpuseg.jobs.run",
    "ScoreResult": "gpuseg.jobs.score.run_score",
    "SegmentModel": "gpuseg.models.base",
    "SilhouetteScore": "gpuseg.estimators.silhouette",
    "accel": "gpuseg",
    "drift": "gpuseg.jobs.score.run_drift",
    "estimate_eps": "gpuseg.estimators.estimate_eps",
    "export": "gpuseg.exports.export",
    "features": "gpuseg",
    "history": "gpuseg.jobs.history",
    "kmeans_sweep": "gpuseg.estimators.sweep",
    "load_model": "gpuseg.models.loading",
    "mlflow": "gpuseg",
    "refresh": "gpuseg.jobs.refresh.run_refresh",
    "run": "gpuseg.jobs.run",
    "score": "gpuseg.jobs.score.run_score",
    "select_k": "gpuseg.estimators.select_k",
    "silhouette_score": "gpuseg.estimators.silhouette",
    "synthetic": "gpuseg",
}
"""The module of each public name; a name of "gpuseg" itself is a submodule."""

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gpuseg' has no attribute {name!r}")
    from importlib import import_module

    from gpuseg import fork_safety  # noqa: F401 - first: another thread may fork meanwhile

    module = _PUBLIC[name]
    if module == __name__:
        return import_module(f"{module}.{name}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
