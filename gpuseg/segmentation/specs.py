"""The `[segment]` section of a job: each algorithm with its parameters."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, WrapValidator, model_validator

from gpuseg.algorithms.dbscan.params import DBSCANParams
from gpuseg.algorithms.hierarchical.params import HierarchicalParams
from gpuseg.algorithms.kmeans.params import KMeansParams

Count = Annotated[int, Field(ge=1)]

_COUNTS_RULE = (
    "must be a whole number >= 1, 'auto', the [first, last] of a range, or a list of at least "
    "three that rises"
)


def _counts(value: Any, parse: Callable[[Any], Any]) -> int | list[int] | str:
    if value == "auto":
        return "auto"
    try:
        counts = parse(value)
    except ValueError:
        raise ValueError(_COUNTS_RULE) from None
    if isinstance(counts, int):
        return counts
    if (
        not isinstance(counts, list)
        or len(counts) < 2
        or counts != sorted(set(counts))
        or counts[0] < 1
    ):
        raise ValueError(_COUNTS_RULE)
    return counts


Counts = Annotated[Count | list[int] | Literal["auto"], WrapValidator(_counts)]


class KMeansSpec(KMeansParams):
    """The algorithm and its parameters, which are the estimator's own.

    Several numbers of clusters make a sweep: two of them are the first and the last of a range,
    more are a list. "auto" chooses among those from 2 to `max_clusters`.
    """

    algorithm: Literal["kmeans", "dbscan", "hierarchical"] = "kmeans"
    n_clusters: Counts = 8  # type: ignore[assignment]
    max_clusters: Annotated[int, Field(ge=3)] = 15

    @model_validator(mode="after")
    def _init_suits(self) -> "KMeansSpec":
        if not isinstance(self.init, str) and not isinstance(self.n_clusters, int):
            raise ValueError("init: centres suit one n_clusters only; give one, or leave init out")
        return self

    def counts(self) -> list[int]:
        """Return the numbers of clusters, in rising order."""
        if isinstance(self.n_clusters, int):
            return [self.n_clusters]
        if self.n_clusters == "auto":
            return list(range(2, self.max_clusters + 1))
        if len(self.n_clusters) == 2:
            return list(range(self.n_clusters[0], self.n_clusters[1] + 1))
        return self.n_clusters

    def models(self) -> list[KMeansParams]:
        """Return the algorithm's parameters for each number of clusters."""
        values = self.model_dump(exclude={"algorithm", "n_clusters", "max_clusters"})
        return [KMeansParams(n_clusters=k, **values) for k in self.counts()]


class DBSCANSpec(DBSCANParams):
    """DBSCAN and its parameters, which are the estimator's own.

    `max_pairs` is the work that a job may take: pairs of rows whose distance is computed.
    """

    algorithm: Literal["dbscan"] = "dbscan"
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"]  # type: ignore[assignment]
    max_pairs: Annotated[float, Field(gt=0)] = 1e13

    def params(self, eps: float | None = None) -> DBSCANParams:
        """Return the algorithm's parameters; with another eps where one is given."""
        values = self.model_dump(exclude={"algorithm", "max_pairs"})
        return DBSCANParams(**{**values, "eps": eps or values["eps"]})


class HierarchicalSpec(HierarchicalParams):
    """A hierarchy and its parameters, those of the engine."""

    algorithm: Literal["hierarchical"] = "hierarchical"

    def params(self) -> HierarchicalParams:
        """Return the algorithm's parameters."""
        return HierarchicalParams(**self.model_dump(exclude={"algorithm"}))


def level_columns(rules: KMeansSpec | DBSCANSpec | HierarchicalSpec) -> list[str]:
    """Return the names of the output's columns for levels, where there are several."""
    if not isinstance(rules, HierarchicalSpec) or len(rules.cuts) == 1:
        return []
    return [f"segment_{k}" for k in rules.cuts]
