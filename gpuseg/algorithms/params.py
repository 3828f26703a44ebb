"""Parameters of the algorithms, as data: the estimators and the job file share these rules."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gpuseg.errors import ConfigError
from gpuseg.numerics.distance_metrics import Metric


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
        ConfigError
        """
        if isinstance(self.init, str):
            return
        if self.n_init not in ("auto", 1):
            raise ConfigError(
                f"n_init = {self.n_init}: must be 1 or 'auto' where init gives the centres, since "
                "every run would be the same"
            )
        widths = sorted({len(row) for row in self.init})
        if (len(self.init), widths) != (self.n_clusters, [n_features]):
            seen = f"{len(self.init)} rows of {' or '.join(map(str, widths)) or 'no'} values"
            raise ConfigError(
                f"init has {seen}: must be centres of shape (n_clusters, n_features) = "
                f"({self.n_clusters}, {n_features})"
            )
        if not all(math.isfinite(value) for row in self.init for value in row):
            raise ConfigError(
                "init has values that are missing or infinite: must be finite centres"
            )


class HierarchicalParams(BaseModel):
    """Parameters of a hierarchy of segments.

    Attributes
    ----------
    n_clusters : int >= 1
        Segments; left out where `levels` are given.
    levels : list of int >= 1, rising, or None
        Numbers of segments of several levels; every finer segment is inside one of each coarser
        level.
    micro_segments : int >= 2
        Small segments that k-means finds first, and that are merged. Data of no more distinct rows
        is merged as it is.
    max_iter : int >= 1
        Passes of that k-means over all rows, after those over a sample: what is merged need not be
        settled to the last.
    random_state : int >= 0
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    n_clusters: Annotated[int, Field(ge=1)] | None = None
    levels: list[Annotated[int, Field(ge=1)]] | None = None
    micro_segments: Annotated[int, Field(ge=2)] = 1000
    max_iter: Annotated[int, Field(ge=1)] = 2
    random_state: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _levels_suit(self) -> "HierarchicalParams":
        levels = self.levels
        if levels is not None and self.n_clusters is not None:
            raise ValueError("n_clusters: stands beside levels, whose last it is; leave one out")
        if levels is not None and (not levels or levels != sorted(set(levels))):
            raise ValueError(f"levels = {levels}: must be numbers that rise, as in [3, 8, 20]")
        if self.micro_segments < self.finest:
            raise ValueError(
                f"micro_segments = {self.micro_segments}: must be at least the number of segments, "
                f"{self.finest}"
            )
        return self

    @property
    def cuts(self) -> list[int]:
        """Numbers of segments, rising."""
        return self.levels or [self.n_clusters or 8]

    @property
    def finest(self) -> int:
        """The largest number of segments."""
        return self.cuts[-1]
