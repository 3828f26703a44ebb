"""Parameters of k-means."""

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gpuseg.algorithms.params import AlgorithmParams, MaxIter, NClusters, NInit, RandomState
from gpuseg.errors import ConfigError, DataError, set_key
from gpuseg.formatting import count


class KMeansParams(AlgorithmParams):
    """Parameters of k-means; scikit-learn's names, meanings and defaults.

    Attributes
    ----------
    n_clusters : int from 1 to 1,000,000
    init : {"k-means++", "random"} or centers (n_clusters, n_features)
        Centers are in the units of the clustered rows; a job has them in the units of its input.
    n_init : "auto" or int from 1 to 10,000
        Number of runs on the whole data, each from its own seeding; the run with the least
        inertia is kept. "auto" is ten runs for "random"; for "k-means++" it is one run from the
        best of ten seedings, or of fewer for more than 128 clusters. With centers as `init` there
        is one run.
    max_iter : int from 1 to 1,000,000
    tol : float >= 0
        Stop when Σ|Δcenter|² <= tol × mean variance of the features.
    random_state : int >= 0
    metric : {"euclidean", "cosine"}
        With "cosine", rows and centers are scaled to length one (spherical k-means: Dhillon and
        Modha, "Concept decompositions for large sparse text data using clustering", Machine
        Learning 42, 2001). Distance and inertia are then measured on the unit sphere, where
        |x - c|² = 2 - 2·cos(x, c).
    """

    n_clusters: NClusters = 8
    init: Literal["k-means++", "random"] | list[list[float]] = "k-means++"
    n_init: Literal["auto"] | NInit = "auto"
    max_iter: MaxIter = 300
    tol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    random_state: RandomState = 0
    metric: Literal["euclidean", "cosine"] = "euclidean"

    def with_origin(self, origin: NDArray[np.float64] | None) -> Self:
        """Return the parameters for rows from which an origin, float64 (d,), was subtracted."""
        if origin is None or isinstance(self.init, str):
            return self
        return self.model_copy(update={"init": (np.array(self.init) - origin).tolist()})

    def check_init(self, n_features: int) -> None:
        """Check that initial centers suit the data.

        Raises
        ------
        ConfigError
        """
        if isinstance(self.init, str):
            return
        if self.n_init not in ("auto", 1):
            raise ConfigError(
                "n_init.not_one",
                "every run would start from the same centers (init)",
                value=self.n_init,
                rule="must be 1 or 'auto'",
                parameter="n_init",
            )
        widths = sorted({len(row) for row in self.init})
        n_given = len(self.init)
        if widths == [n_features] and n_given != self.n_clusters:
            difference = self.n_clusters - n_given
            other = f"give {difference} more" if difference > 0 else f"leave {-difference} out"
            raise ConfigError(
                "init.wrong_shape",
                f"has {count(n_given, 'center')}",
                rule=f"must have one for each cluster, and `n_clusters` = {self.n_clusters}",
                hint=f"{set_key('n_clusters', n_given)}, or {other}",
                parameter="init",
            )
        if (n_given, widths) != (self.n_clusters, [n_features]):
            lengths = " or ".join(map(str, widths)) or "no"
            raise ConfigError(
                "init.wrong_shape",
                f"has {count(n_given, 'row')} of {lengths} values",
                rule="must have shape (n_clusters, n_features) = "
                f"({self.n_clusters}, {n_features})",
                parameter="init",
            )
        if not all(math.isfinite(value) for row in self.init for value in row):
            raise ConfigError(
                "init.not_finite",
                "has missing or infinite values",
                rule="centers must be finite",
                parameter="init",
            )


def check_n_rows(n_clusters: int, n_rows: int) -> None:
    """Check that there are at least as many rows as clusters."""
    if n_rows < n_clusters:
        raise DataError(
            "n_clusters.too_few_rows",
            f"the data has only {count(n_rows, 'row')}",
            value=n_clusters,
            hint=f"use `n_clusters` <= {n_rows}",
            parameter="n_clusters",
        )
