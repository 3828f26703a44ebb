"""How to choose the number of clusters, for rows in memory and for Dask collections."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from html import escape
from typing import Any

from numpy.typing import ArrayLike

from gpuseg.algorithms.kmeans.statistics import measure
from gpuseg.backends import registry
from gpuseg.errors import ConfigError
from gpuseg.estimators._inputs import dask as lazily
from gpuseg.estimators._inputs.arrays import as_weights
from gpuseg.estimators.kmeans import KMeans
from gpuseg.model_selection.select_k import KSelection, fit_and_choose
from gpuseg.reporting.svg import selection_figure, standalone
from gpuseg.sharding.shard import Shard


class DrawnChoice(KSelection):
    """A choice that can be drawn, and that a notebook shows."""

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
) -> DrawnChoice:
    """Fit k-means for several numbers of clusters, and choose one by a stated rule.

    The rule is that of `model_selection.select_k`: among numbers of clusters whose smallest
    cluster has at least 1 % of the rows, and for which fits to two halves of a sample agree, the
    greatest simplified silhouette wins. `KMeans(choice.n_clusters, **params)` is then the model
    that was measured.

    Parameters
    ----------
    X : as in `KMeans.fit`
    n_clusters : iterable of int >= 2
    sample_weight, client : as in `KMeans.fit`
    **params : the other parameters of `KMeans`, such as ``n_init=4, random_state=0``

    Returns
    -------
    DrawnChoice
        `n_clusters`, `clear` (whether the segments stand apart at all), `why`, and `table` with
        silhouettes of about 2,048 rows against all rows and their error, simplified silhouettes of
        all rows, Calinski-Harabasz, Davies-Bouldin, inertia, stability and the smallest share.
        Printed, it is a table; `svg()` draws it, and a notebook shows both.

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `KMeans.fit`.
    """
    counts = [n_clusters] if isinstance(n_clusters, int) else sorted(set(n_clusters))
    if len(counts) < 2 or counts[0] < 2:
        raise ConfigError(
            f"n_clusters = {n_clusters!r}: must be two or more numbers from 2 on, such as "
            "range(2, 16)"
        )
    if not isinstance(params.get("init", ""), str):
        raise ConfigError("init gives centres, which suit one n_clusters only; leave it out")
    seed = KMeans(random_state=params.pop("random_state", None))._params().random_state
    estimators = [KMeans(k, random_state=seed, **params) for k in counts]
    first, models = estimators[0], [own._params() for own in estimators]
    backend = registry.choose_backend(first.backend).name
    if lazily.is_collection(X):
        placed: Any = lazily.shards_of(first, X, sample_weight, client, backend)
    else:
        x = first._matrix(X, reset=True)
        placed = nullcontext(first._placed(Shard(x, as_weights(sample_weight, len(x)))))
    with placed as executor:
        measured = measure(executor, backend, models[0].metric)
        chosen = fit_and_choose(executor, backend, models, measured)[1]
    return DrawnChoice(**vars(chosen))
