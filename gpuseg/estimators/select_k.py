"""Choose the number of clusters, for rows in memory and for Dask collections."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from numpy.typing import ArrayLike

from gpuseg.algorithms.data_statistics import measure
from gpuseg.backends import registry
from gpuseg.estimators._inputs.load import load_rows
from gpuseg.estimators._inputs.row_format import KMeansRows
from gpuseg.estimators._params import kmeans_params, one_seed, several_counts
from gpuseg.estimators.kmeans import KMeans
from gpuseg.model_selection.select_k import KSelection, fit_and_select
from gpuseg.reporting.svg import selection_figure, standalone


class PlottableKSelection(KSelection):
    """A `KSelection` that can be drawn; a notebook shows drawing and table."""

    def svg(self) -> str:
        """Return the silhouettes by number of clusters, with their errors, as an SVG file."""
        figure = selection_figure(self.criteria, self.n_clusters)
        assert figure is not None  # there are two numbers or more
        return standalone(figure)

    def _repr_html_(self) -> str:
        return f"{self.svg()}<pre>{escape(str(self))}</pre>"


def select_k(
    X: ArrayLike,
    n_clusters: Iterable[int] = range(2, 16),
    *,
    sample_weight: ArrayLike | None = None,
    client: Any = None,
    **params: Any,
) -> PlottableKSelection:
    """Fit k-means for several numbers of clusters, and choose one by a documented rule.

    The rule is that of `model_selection.select_k`. A number of clusters is a candidate if its
    smallest cluster has at least 1 % of the rows, and if fits to two halves of a sample agree. The
    candidate with the largest simplified silhouette is chosen.
    `KMeans(selection.n_clusters, **params)` is then the model that was measured.

    Parameters
    ----------
    X : as in `KMeans.fit`
    n_clusters : iterable of int >= 2
    sample_weight, client : as in `KMeans.fit`
    **params : other parameters of `KMeans`, such as ``n_init=4, random_state=0``

    Returns
    -------
    PlottableKSelection
        See `KSelection`: the number of clusters, whether the segments are well separated, the
        reason, and `table` with the quality of each number of clusters: silhouettes of about
        2,048 rows against all rows with their error, simplified silhouettes of all rows,
        Calinski-Harabasz, Davies-Bouldin, inertia, stability and the smallest share. Printed, it
        is a table; `svg()` draws it.

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `KMeans.fit`.

    Examples
    --------
    >>> import gpuseg
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(center, 1, size=(100, 2)) for center in (0, 20, 40)])
    >>> gpuseg.select_k(X, range(2, 6), random_state=0).n_clusters
    3
    """
    counts = several_counts(
        n_clusters,
        2,
        2,
        "must be two or more numbers from 2 on, such as range(2, 16)",
        "give the numbers to select from",
    )
    options = one_seed(params)
    estimators = [KMeans(k, **options) for k in counts]
    models = [kmeans_params(estimator.get_params()) for estimator in estimators]
    first = estimators[0]
    backend = registry.choose_backend(first.backend).name
    row_format = KMeansRows(backend, first.metric, first.n_threads)
    with load_rows(first, X, sample_weight, row_format, first.n_threads, client) as rows:
        statistics = measure(rows.executor, backend, models[0].metric)
        selection = fit_and_select(rows.executor, backend, models, statistics)[1]
    return PlottableKSelection(**vars(selection))
