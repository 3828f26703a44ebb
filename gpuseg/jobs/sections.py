"""The sections of the job file, and the rules of their keys."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    WrapValidator,
    field_validator,
    model_validator,
)

from gpuseg.engine.params import DBSCANParams, HierarchicalParams, KMeansParams
from gpuseg.engine.prepare_params import PrepareParams
from gpuseg.errors import JobError
from gpuseg.features.definitions import available
from gpuseg.features.lines import Roles, as_moment
from gpuseg.validation import nearest_known

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


def _size(value: Any, parse: Callable[[Any], ByteSize]) -> ByteSize:
    try:
        return parse(value)
    except ValueError:
        raise ValueError("must be a size such as '4GiB', or a number of bytes") from None


Memory = Annotated[ByteSize, WrapValidator(_size)]

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

_SCHEMES = ("tcp://", "tls://", "ws://", "wss://")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _once(features: list[str]) -> list[str]:
    twice = sorted({name for name in features if features.count(name) > 1})
    if twice:
        raise ValueError(f"must name each column once; twice: {', '.join(twice)}")
    return features


Features = Annotated[list[Text], Field(min_length=1), AfterValidator(_once)]


class InputSpec(Section):
    """Where the feature vectors are, and which columns are used."""

    path: Text
    id: Text | None = None
    features: Features | None = None
    weight: Text | None = None
    id_hash_key_env: Text | None = None
    storage_options: dict[str, Any] = {}


Moment = Annotated[datetime, BeforeValidator(as_moment)]


class TransactionsSpec(Section):
    """Where transaction lines are, and which of their columns play which role.

    `features` are those that are clustered by; all that there are are written.
    """

    path: Text
    customer: Text
    time: Text
    order: Text | None = None
    product: Text | None = None
    category: Text | None = None
    quantity: Text | None = None
    price: Text | None = None
    amount: Text | None = None
    snapshot: Moment | None = None
    id_hash_key_env: Text | None = None
    features: Features | None = None
    storage_options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _has_amounts(self) -> "TransactionsSpec":
        self.roles()
        return self

    def check_features(self, joined: Sequence[str]) -> None:
        """Refuse features that are neither built nor joined.

        Raises
        ------
        JobError
        """
        there = [*available(self.roles().columns()), *joined]
        for name in self.features or []:
            if name not in there:
                raise JobError(
                    f"transactions.features: no feature '{name}' for lines with these columns; "
                    f"{nearest_known(name, there)}"
                )

    def roles(self) -> Roles:
        """Return which columns play which role."""
        others = {"path", "features", "storage_options", "id_hash_key_env"}
        return Roles(**self.model_dump(exclude=others))


class JoinSpec(Section):
    """A table with attributes of the customers; all columns but the id by default."""

    path: Text
    id: Text
    columns: Features | None = None
    storage_options: dict[str, Any] = {}


class PrepareSpec(PrepareParams):
    """What is done to the customers and their features before clustering.

    Of rows with one id, all are kept, none is allowed, or the first is kept.
    """

    duplicates: Literal["keep", "error", "first"] = "keep"


class SegmentSpec(KMeansParams):
    """The algorithm and its parameters, which are the estimator's own.

    Several numbers of clusters make a sweep: two of them are the first and the last of a range,
    more are a list. "auto" chooses among those from 2 to `max_clusters`.
    """

    algorithm: Literal["kmeans", "dbscan", "hierarchical"] = "kmeans"
    n_clusters: Counts = 8  # type: ignore[assignment]
    max_clusters: Annotated[int, Field(ge=3)] = 15

    @model_validator(mode="after")
    def _init_suits(self) -> "SegmentSpec":
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


def level_columns(rules: SegmentSpec | DBSCANSpec | HierarchicalSpec) -> list[str]:
    """Return the names of the output's columns for levels, where there are several."""
    if not isinstance(rules, HierarchicalSpec) or len(rules.cuts) == 1:
        return []
    return [f"segment_{k}" for k in rules.cuts]


_OURS = ("local", "dask", "cuda")
"""Clusters that a run starts by itself."""


class RuntimeSpec(Section):
    """Where the job runs, and on how much."""

    cluster: Text = "local"
    n_workers: Count | None = None
    threads_per_worker: Count | None = None
    backend: Literal["auto", "numpy", "numba", "cuda"] = "auto"
    reader: Literal["auto", "arrow", "cudf"] = "auto"
    memory_limit: Memory | None = None

    @field_validator("cluster")
    @classmethod
    def _known(cls, cluster: str) -> str:
        if cluster not in _OURS and not cluster.startswith(_SCHEMES):
            raise ValueError(
                "must be 'local', 'dask', 'cuda' or the address of a scheduler such as "
                "tcp://host:8786" + " ('slurm' is not in this version)" * (cluster == "slurm")
            )
        return cluster

    @model_validator(mode="after")
    def _suit_each_other(self) -> "RuntimeSpec":
        if self.cluster == "cuda" and self.backend in ("numpy", "numba"):
            raise ValueError(
                f"backend = {self.backend!r} runs on the CPU, and cluster = 'cuda' gives each "
                "worker a GPU: use backend = 'cuda' or 'auto', or cluster = 'dask'"
            )
        if self.reader == "cudf" and self.backend in ("numpy", "numba"):
            raise ValueError(
                f"reader = 'cudf' reads into the memory of a GPU, and backend = {self.backend!r} "
                "runs on the CPU: use backend = 'cuda' or 'auto', or reader = 'auto'"
            )
        if self.threads_per_worker is not None and self.cluster not in _OURS:
            raise ValueError(
                f"threads_per_worker: the workers of {self.cluster} have their own number of "
                "threads; leave the key out"
            )
        return self


class AuditSpec(Section):
    """Columns that are never clustered by, in which the make-up of the segments is compared."""

    columns: Annotated[list[Text], AfterValidator(_once)] = []
    threshold: Annotated[int, Field(ge=2)] = 10

    @model_validator(mode="before")
    @classmethod
    def _columns_alone(cls, value: Any) -> Any:
        if not isinstance(value, list | dict):
            raise ValueError("must be a list of columns, or a section with columns and threshold")
        return {"columns": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _has_columns(self) -> "AuditSpec":
        if "threshold" in self.model_fields_set and not self.columns:
            raise ValueError("threshold: there is nothing to audit; name columns in audit.columns")
        return self


class OutputSpec(Section):
    """Where the segments are written, and what else is."""

    path: Text
    overwrite: bool = False
    plots: bool = False
    confidence: bool = False
    storage_options: dict[str, Any] = {}
