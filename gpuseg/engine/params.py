"""Parameters of the algorithms, as data: the estimators and the job file share these rules."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class KMeansParams(BaseModel):
    """Parameters of k-means; scikit-learn's names, meanings and defaults.

    Attributes
    ----------
    n_clusters : int >= 1
    init : {"k-means++", "random"} or centres (n_clusters, n_features), in the features' units
    n_init : "auto" or int >= 1
        Runs on the whole data, of which the one with the least inertia is kept; each begins
        with a seeding of its own. "auto" is one run from the best of ten seedings.
    max_iter : int >= 1
    tol : float >= 0
        Stop when Σ|Δcentre|² <= tol × mean variance of the features.
    random_state : int >= 0
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    n_clusters: Annotated[int, Field(ge=1)] = 8
    init: Literal["k-means++", "random"] | Sequence[Sequence[float]] = "k-means++"
    n_init: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    max_iter: Annotated[int, Field(ge=1)] = 300
    tol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    random_state: Annotated[int, Field(ge=0, lt=2**63)] = 0
