"""Estimate eps of DBSCAN, for rows in memory and for Dask collections."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from gpuseg.backends import registry
from gpuseg.estimators._inputs.load import load_rows
from gpuseg.estimators._inputs.row_format import DBSCANRows
from gpuseg.estimators._params import checked_seed, dbscan_params
from gpuseg.estimators.dbscan import DBSCAN
from gpuseg.model_selection.k_distance import EpsEstimate, find_eps
from gpuseg.runtime.retry import retry_if_lost


def estimate_eps(
    X: ArrayLike,
    min_samples: int = 5,
    *,
    metric: str = "euclidean",
    random_state: Any = 0,
    backend: str = "auto",
    n_threads: int | None = None,
    client: Any = None,
) -> EpsEstimate:
    """Estimate eps from the distances of some rows to their `min_samples`-th nearest row.

    The sample has about 2,048 rows, drawn by a hash of the row numbers; each is compared with all
    rows. The sorted distances form a curve: below its knee are rows with neighbors, above it
    outliers.

    Parameters
    ----------
    X : as in `DBSCAN.fit`
    min_samples, metric, backend, n_threads : as in `DBSCAN`
    random_state : int >= 0, numpy.random.RandomState or None, default 0
        The seed of the sample; None draws a new one.
    client : as in `DBSCAN.fit`

    Returns
    -------
    EpsEstimate
        With the estimate, the distances, and the consequences of this eps and of values around
        it: core rows, noise, pairs of rows to compare, and the share of the largest cluster. The
        last needs a run of DBSCAN, which is left out where it would take too long.

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `DBSCAN.fit`; and for fewer rows than min_samples.

    Examples
    --------
    >>> import gpuseg
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(size=(300, 2)), rng.uniform(-20, 20, size=(20, 2))])
    >>> estimate = gpuseg.estimate_eps(X, min_samples=5)
    >>> bool(0.2 < estimate.eps < 2)
    True
    >>> gpuseg.DBSCAN(estimate.eps, min_samples=5).fit(X).n_clusters_
    1
    """
    seed = checked_seed(random_state)
    estimator = DBSCAN(min_samples=min_samples, metric=metric, backend=backend, n_threads=n_threads)
    params = dbscan_params(estimator.get_params())
    name = registry.choose_backend(backend).name
    with load_rows(estimator, X, None, DBSCANRows(), n_threads, client) as rows:
        return retry_if_lost(
            lambda: find_eps(
                rows.executor,
                params.min_samples,
                params.metric,
                name,
                seed,
                run_candidates=True,
            )
        )
