"""Result of a DBSCAN fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.cost_model import CostEstimate


@dataclass(frozen=True)
class DBSCANFit:
    """Result of a DBSCAN fit; labels and distances stay in the shards.

    Attributes
    ----------
    n_clusters : int
    sizes : int64 (n_clusters,)
        Rows of each cluster.
    n_core, n_border, n_noise : int
        Rows of each kind.
    estimate : CostEstimate
        The work as estimated before clustering.
    distances_per_shard : list of int
        Pairs of rows with a computed distance.
    seconds_per_shard : list of float
        What that work takes on one thread, by the cost model.
    rows_per_shard : list of int
        Rows of each shard's partition.
    peak_rows_per_shard : list of int
        Maximum number of rows that each shard held at once, halo rows included.
    """

    n_clusters: int
    sizes: NDArray[np.int64]
    n_core: int
    n_border: int
    n_noise: int
    estimate: CostEstimate
    distances_per_shard: list[int]
    seconds_per_shard: list[float]
    rows_per_shard: list[int]
    peak_rows_per_shard: list[int]

    @property
    def n_rows(self) -> int:
        """Number of rows, int."""
        return self.n_core + self.n_border + self.n_noise
