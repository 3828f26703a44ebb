"""Parameters of DBSCAN."""

from typing import Annotated

from pydantic import Field

from gpuseg.algorithms.params import AlgorithmParams
from gpuseg.numerics.distance_metrics import Metric


class DBSCANParams(AlgorithmParams):
    """Parameters of DBSCAN; scikit-learn's names, meanings and defaults.

    Attributes
    ----------
    eps : float > 0
        Rows at most this far apart are neighbors. In a job: after `[prepare]`.
    min_samples : int >= 1
        A row is core where the total weight of its neighbors, itself included, is at least this.
    metric : {"euclidean", "manhattan", "chebyshev", "cosine", "haversine"}
        "chebyshev" is the largest difference of a feature. "cosine" is 1 - cos; "haversine" is
        the angle between two points on a sphere, for two features, latitude and longitude in
        radians.
    """

    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    min_samples: Annotated[int, Field(ge=1, le=2**31)] = 5
    metric: Metric = "euclidean"
