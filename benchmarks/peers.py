"""The engines that kmeans.py compares: gpuseg and its peers behind one signature.

FAISS's ``SuperKMeans`` is not among them: it prunes by a statistical bound, so its assignments
are approximate, and it needs 32 features.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Centers = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]

_CHUNK = 65_536


@dataclass(frozen=True)
class FitTask:
    """One run of k-means from given centers.

    Attributes
    ----------
    x : float32 (n_samples, n_features), C-order
    init : float32 (n_clusters, n_features)
    max_iter : int
    tol : float
        Stop when Σ|Δcenter|² <= tol × mean feature variance.
    n_threads : int
    """

    x: Floats
    init: Floats
    max_iter: int
    tol: float
    n_threads: int


@dataclass(frozen=True)
class EngineResult:
    """What an engine found.

    Attributes
    ----------
    centers : float (n_clusters, n_features)
    labels : int (n_samples,) or None, for an engine that returns centers alone
    n_iter : int, as the engine reports it
    """

    centers: Centers
    labels: Labels | None
    n_iter: int


@dataclass(frozen=True)
class Engine:
    """A library's way to run k-means.

    Attributes
    ----------
    distribution, module : str, what is installed and what is imported
    fit : callable (FitTask) -> EngineResult
    has_tol : bool, whether it stops by how far the centers moved
    """

    distribution: str
    module: str
    fit: Callable[[FitTask], EngineResult]
    has_tol: bool = True


def gpuseg_fit(task: FitTask) -> EngineResult:
    """Run gpuseg; by default it uses every processor that this process may use."""
    import gpuseg

    model = gpuseg.KMeans(
        len(task.init), init=task.init, n_init=1, max_iter=task.max_iter, tol=task.tol
    ).fit(task.x)
    return EngineResult(model.cluster_centers_, model.labels_, model.n_iter_)


def lloyd(task: FitTask) -> EngineResult:
    """Run scikit-learn's Lloyd."""
    return _scikit_learn(task, "lloyd")


def elkan(task: FitTask) -> EngineResult:
    """Run scikit-learn's Elkan, which keeps n_samples × n_clusters bounds."""
    return _scikit_learn(task, "elkan")


def intelex(task: FitTask) -> EngineResult:
    """Run scikit-learn-intelex, that is oneDAL; refuse where it would run scikit-learn instead."""
    model = import_module("sklearnex.cluster").KMeans(
        len(task.init), init=task.init, n_init=1, max_iter=task.max_iter, tol=task.tol,
        n_jobs=task.n_threads,
    )  # fmt: skip
    model.fit(task.x)
    # Its fallback is silent, and would enter scikit-learn twice.
    if not hasattr(model, "_onedal_estimator"):
        raise RuntimeError("scikit-learn-intelex handed the fit to scikit-learn")
    return EngineResult(model.cluster_centers_, model.labels_, model.n_iter_)


def faiss_fit(task: FitTask) -> EngineResult:
    """Run FAISS over all rows; it returns centers one step on, and no labels.

    A user who wants labels pays one more search, which is left out of its time: to its favor.
    """
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(task.n_threads)
    n_clusters, n_features = task.init.shape
    clustering = faiss.Clustering(n_features, n_clusters)
    clustering.niter = task.max_iter
    # FAISS samples 256 rows a center unless told otherwise.
    clustering.max_points_per_centroid = len(task.x)
    clustering.min_points_per_centroid = 1
    faiss.copy_array_to_vector(task.init.ravel(), clustering.centroids)
    clustering.train(task.x, faiss.IndexFlatL2(n_features))
    centers = faiss.vector_to_array(clustering.centroids).reshape(task.init.shape)
    return EngineResult(centers, None, clustering.iteration_stats.size())


OURS = "gpuseg"
LLOYD = "scikit-learn lloyd"
ENGINES = {
    OURS: Engine("gpuseg", "gpuseg", gpuseg_fit),
    LLOYD: Engine("scikit-learn", "sklearn", lloyd),
    "scikit-learn elkan": Engine("scikit-learn", "sklearn", elkan),
    "scikit-learn-intelex": Engine("scikit-learn-intelex", "sklearnex", intelex),
    # FAISS's early_stop_threshold looks at the objective, not at the centers: it cannot be told
    # to stop where the others do.
    "FAISS": Engine("faiss-cpu", "faiss", faiss_fit, has_tol=False),
}


def gpuseg_sweep(x: Floats, n_clusters: Iterable[int], n_init: int) -> dict[int, EngineResult]:
    """Fit every number of clusters with gpuseg, in one call."""
    import gpuseg

    sweep = gpuseg.kmeans_sweep(x, n_clusters=n_clusters, n_init=n_init, random_state=0)
    return {k: _outcome(model) for k, model in sweep.models.items()}


def scikit_learn_sweep(
    x: Floats, n_clusters: Iterable[int], n_init: int
) -> dict[int, EngineResult]:
    """Fit every number of clusters with scikit-learn, one after the other."""
    from sklearn.cluster import KMeans

    return {k: _outcome(KMeans(k, n_init=n_init, random_state=0).fit(x)) for k in n_clusters}


SWEEPS = {OURS: gpuseg_sweep, LLOYD: scikit_learn_sweep}


def absent() -> list[str]:
    """Return the names of the engines that are not installed."""
    return [name for name, engine in ENGINES.items() if find_spec(engine.module) is None]


def versions() -> dict[str, str]:
    """Return the version of every installed library, and import it."""
    versions = {}
    for engine in ENGINES.values():
        if find_spec(engine.module):
            import_module(engine.module)
            versions[engine.distribution] = version(engine.distribution)
    return versions


def inertia(x: Floats, outcome: EngineResult) -> float:
    """Return Σ|x − center of x's label|² in float64, whatever the engine itself reports.

    Where an engine returns no labels, the nearest of its centers is taken.
    """
    centers = outcome.centers.astype(np.float64)
    total = 0.0
    for first in range(0, len(x), _CHUNK):
        rows = x[first : first + _CHUNK].astype(np.float64)
        if outcome.labels is None:
            labels: Labels = np.argmin((centers**2).sum(axis=1) - 2 * rows @ centers.T, axis=1)
        else:
            labels = outcome.labels[first : first + _CHUNK]
        rows -= centers[labels]
        total += float(np.einsum("ij,ij->", rows, rows))
    return total


def _scikit_learn(task: FitTask, algorithm: str) -> EngineResult:
    from sklearn.cluster import KMeans

    model = KMeans(
        len(task.init), init=task.init, n_init=1, max_iter=task.max_iter, tol=task.tol,
        algorithm=algorithm,
    )  # fmt: skip
    return _outcome(model.fit(task.x))


def _outcome(model: Any) -> EngineResult:
    return EngineResult(model.cluster_centers_, model.labels_, model.n_iter_)
