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

from gpuseg.errors import ConfigError
from gpuseg.features.definitions import available
from gpuseg.features.transactions import Roles, as_moment
from gpuseg.preprocessing.params import PreprocessingParams
from gpuseg.validation import nearest_known

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


def _size(value: Any, parse: Callable[[Any], ByteSize]) -> ByteSize:
    try:
        return parse(value)
    except ValueError:
        raise ValueError("must be a size such as '4GiB', or a number of bytes") from None


Memory = Annotated[ByteSize, WrapValidator(_size)]

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
        ConfigError
        """
        there = [*available(self.roles().columns()), *joined]
        for name in self.features or []:
            if name not in there:
                raise ConfigError(
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


class PrepareSpec(PreprocessingParams):
    """What is done to the customers and their features before clustering.

    Of rows with one id, all are kept, none is allowed, or the first is kept.
    """

    duplicates: Literal["keep", "error", "first"] = "keep"


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
