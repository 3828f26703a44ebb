"""How to choose eps of DBSCAN, for rows in memory and for Dask collections."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from numpy.typing import ArrayLike

from gpuseg.backends import registry
from gpuseg.errors import ConfigError
from gpuseg.estimators._inputs import dask as lazily
from gpuseg.estimators.dbscan import DBSCAN
from gpuseg.model_selection.k_distance import EpsEstimate, find_eps
from gpuseg.runtime.executor import LocalExecutor
from gpuseg.sharding.shard import Shard


def estimate_eps(
    X: ArrayLike,
    min_samples: int = 5,
    *,
    metric: str = "euclidean",
    random_state: int = 0,
    backend: str = "auto",
    n_threads: int | None = None,
    client: Any = None,
) -> EpsEstimate:
    """Return the distances of some rows to their `min_samples`-th nearest row, and a good eps.

    The sample, about 2,048 rows, is drawn by a hash of the row numbers; each is compared with
    all rows. Where the curve of the sorted distances turns up, rows that have neighbours end and
    outliers begin.

    Parameters
    ----------
    X : as in `DBSCAN.fit`
    min_samples, metric, backend, n_threads : as in `DBSCAN`
    random_state : int >= 0
        Another one draws another sample.
    client : as in `DBSCAN.fit`

    Returns
    -------
    EpsEstimate
        `eps`, `k_distances`, and in `candidates` what eps and values around it lead to: core rows,
        noise, pairs of rows to compare, and the share of the largest cluster, for which DBSCAN is
        run, unless that would be too much work.

    Raises
    ------
    ConfigError, DataError, ResourceError
        As `DBSCAN.fit`; and for fewer rows than min_samples.
    """
    model = DBSCAN(min_samples=min_samples, metric=metric, backend=backend, n_threads=n_threads)
    params, choice = model._params(), registry.choose_backend(backend)
    if not isinstance(random_state, int) or random_state < 0:
        raise ConfigError(f"random_state = {random_state!r}: must be an int >= 0")
    if lazily.is_collection(X):
        placed: Any = lazily.shards_of(model, X, None, client, choice.name)
    else:
        executor = LocalExecutor(n_threads)
        executor.load(lambda own, env: own, [Shard(model._matrix(X, reset=True))])
        placed = nullcontext(executor)
    with placed as executor:
        return find_eps(
            executor,
            params.min_samples,
            params.metric,
            choice.name,
            random_state,
            run_candidates=True,
        )
