"""Parameters of the algorithms, as data: the estimators and the job file share these rules."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gpuseg.engine.metrics import Metric
from gpuseg.errors import JobError
from gpuseg.validation import nearest_known

Transform = Literal["none", "log1p"]
Share = Annotated[float, Field(ge=0, le=1)]


class PrepareParams(BaseModel):
    """What is done to features before clustering, in this order.

    Attributes
    ----------
    missing : {"error", "drop", "mean", "median", "zero"}
        Missing values are refused, cost their row, or are filled.
    clip : (float, float) or None
        Quantiles of the values that are there; what lies beyond them becomes them.
    transform : {"none", "log1p"} or dict of feature to one
        Features that the dict does not name stay as they are.
    scale : {"none", "standard", "robust", "minmax"}
        Shift and scale by mean and population standard deviation, by median and interquartile
        range, or by minimum and range.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    missing: Literal["error", "drop", "mean", "median", "zero"] = "error"
    clip: tuple[Share, Share] | None = None
    transform: Transform | dict[str, Transform] = "none"
    scale: Literal["none", "standard", "robust", "minmax"] = "standard"

    @field_validator("clip", mode="before")
    @classmethod
    def _ends(cls, clip: Any) -> Any:
        if clip is None:
            return None
        ends = tuple(clip) if isinstance(clip, list | tuple) else ()
        if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends):
            raise ValueError("must be two quantiles, such as [0.01, 0.99]")
        low, high = (float(end) for end in ends)
        if not 0 <= low < high <= 1:
            raise ValueError("must be two quantiles that rise, from 0 to 1, such as [0.01, 0.99]")
        return low, high

    def transforms(self, features: Sequence[str], key: str) -> tuple[str, ...]:
        """Return the transform of each feature.

        Raises
        ------
        JobError
            For a transform of what is no feature; `key` names the parameter.
        """
        if isinstance(self.transform, str):
            return (self.transform,) * len(features)
        for name in self.transform:
            if name not in features:
                raise JobError(f"{key}.{name}: not a feature; {nearest_known(name, features)}")
        return tuple(self.transform.get(name, "none") for name in features)


class DBSCANParams(BaseModel):
    """Parameters of DBSCAN; scikit-learn's names, meanings and defaults.

    Attributes
    ----------
    eps : float > 0
        Rows no farther apart than this are neighbours. In a job: after `[prepare]`.
    min_samples : int >= 1
        A row is core when its neighbours, itself included, weigh so much together.
    metric : {"euclidean", "manhattan", "cosine", "haversine"}
        "cosine" is 1 - cos; "haversine" is the angle between places on a sphere, for two
        features, latitude and longitude in radians.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    min_samples: Annotated[int, Field(ge=1, le=2**31)] = 5
    metric: Metric = "euclidean"


class KMeansParams(BaseModel):
    """Parameters of k-means; scikit-learn's names, meanings and defaults.

    Attributes
    ----------
    n_clusters : int >= 1
    init : {"k-means++", "random"} or centres (n_clusters, n_features)
        Centres are in the units of what is clustered: in a job, those after `[prepare]`.
    n_init : "auto" or int >= 1
        Runs on the whole data, of which the one with the least inertia is kept; each begins
        with a seeding of its own. "auto" is ten runs for "random"; for "k-means++", one run
        from the best of ten seedings. Given centres make one run.
    max_iter : int >= 1
    tol : float >= 0
        Stop when Σ|Δcentre|² <= tol × mean variance of the features.
    random_state : int >= 0
    metric : {"euclidean", "cosine"}
        With "cosine" rows and centres are scaled to length one (spherical k-means: Dhillon and
        Modha, "Concept decompositions for large sparse text data using clustering", Machine
        Learning 42, 2001). Distance and inertia are then those on the unit sphere, where
        |x - c|² = 2 - 2·cos(x, c).
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    n_clusters: Annotated[int, Field(ge=1)] = 8
    init: Literal["k-means++", "random"] | list[list[float]] = "k-means++"
    n_init: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    max_iter: Annotated[int, Field(ge=1)] = 300
    tol: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    random_state: Annotated[int, Field(ge=0, lt=2**63)] = 0
    metric: Literal["euclidean", "cosine"] = "euclidean"

    def check_init(self, n_features: int) -> None:
        """Refuse initial centres that do not suit the data.

        Raises
        ------
        JobError
        """
        if isinstance(self.init, str):
            return
        if self.n_init not in ("auto", 1):
            raise JobError(
                f"n_init = {self.n_init}: must be 1 or 'auto' where init gives the centres, since "
                "every run would be the same"
            )
        widths = sorted({len(row) for row in self.init})
        if (len(self.init), widths) != (self.n_clusters, [n_features]):
            seen = f"{len(self.init)} rows of {' or '.join(map(str, widths)) or 'no'} values"
            raise JobError(
                f"init has {seen}: must be centres of shape (n_clusters, n_features) = "
                f"({self.n_clusters}, {n_features})"
            )
        if not all(math.isfinite(value) for row in self.init for value in row):
            raise JobError("init has values that are missing or infinite: must be finite centres")
