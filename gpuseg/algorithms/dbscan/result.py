"""What a run of DBSCAN found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpuseg.algorithms.dbscan.cost_model import CostEstimate


@dataclass(frozen=True)
class DBSCANFit:
    """What a run of DBSCAN found; labels and distances are where the rows are.

    Attributes
    ----------
    n_clusters : int
    sizes : int64 (n_clusters,)
        Rows of each cluster.
    n_core, n_border, n_noise : int
        Rows.
    forecast : Work
        What was thought of the pairs and the seconds beforehand.
    looked : list of int
        Pairs of rows whose distance each shard computed.
    seconds : list of float
        What that and its rows take each shard on one thread, as forecasts reckon.
    rows : list of int
        Rows of each shard's region.
    most_rows : list of int
        Rows that each shard held at most, visitors included.
    """

    n_clusters: int
    sizes: NDArray[np.int64]
    n_core: int
    n_border: int
    n_noise: int
    forecast: CostEstimate
    looked: list[int]
    seconds: list[float]
    rows: list[int]
    most_rows: list[int]

    @property
    def n_rows(self) -> int:
        """Number of rows, int."""
        return self.n_core + self.n_border + self.n_noise
