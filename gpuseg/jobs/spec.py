"""The job file: a contract, validated whole before anything is read."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    WrapValidator,
    field_validator,
    model_validator,
)

from gpuseg.engine.params import DBSCANParams, KMeansParams
from gpuseg.errors import JobError
from gpuseg.validation import validated

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Transform = Literal["none", "log1p"]


def _size(value: Any, parse: Callable[[Any], ByteSize]) -> ByteSize:
    try:
        return parse(value)
    except ValueError:
        raise ValueError("must be a size such as '4GiB', or a number of bytes") from None


Memory = Annotated[ByteSize, WrapValidator(_size)]

_COUNTS_RULE = (
    "must be a whole number >= 1, the [first, last] of a range, or a list of at least three that "
    "rises"
)


def _counts(value: Any, parse: Callable[[Any], int | list[int]]) -> int | list[int]:
    try:
        counts = parse(value)
    except ValueError:
        raise ValueError(_COUNTS_RULE) from None
    if isinstance(counts, int):
        return counts
    if len(counts) < 2 or counts != sorted(set(counts)) or counts[0] < 1:
        raise ValueError(_COUNTS_RULE)
    return counts


Counts = Annotated[Count | list[int], WrapValidator(_counts)]

_SCHEMES = ("tcp://", "tls://", "ws://", "wss://")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputSpec(_Section):
    """Where the feature vectors are, and which columns are used."""

    path: Text
    id: Text | None = None
    features: Annotated[list[Text], Field(min_length=1)] | None = None
    weight: Text | None = None
    storage_options: dict[str, Any] = {}

    @field_validator("features")
    @classmethod
    def _once(cls, features: list[str] | None) -> list[str] | None:
        twice = sorted({name for name in features or [] if (features or []).count(name) > 1})
        if twice:
            raise ValueError(f"must name each column once; twice: {', '.join(twice)}")
        return features


class PrepareSpec(_Section):
    """What is done to the features before clustering."""

    missing: Literal["error", "drop", "mean", "median"] = "error"
    transform: Transform | dict[str, Transform] = "none"
    scale: Literal["none", "standard", "robust", "minmax"] = "standard"


class SegmentSpec(KMeansParams):
    """The algorithm and its parameters, which are the estimator's own.

    Several numbers of clusters make a sweep: two of them are the first and the last of a range,
    more are a list.
    """

    algorithm: Literal["kmeans", "dbscan"] = "kmeans"
    n_clusters: Counts = 8  # type: ignore[assignment]

    @model_validator(mode="after")
    def _init_suits(self) -> "SegmentSpec":
        if not isinstance(self.init, str) and not isinstance(self.n_clusters, int):
            raise ValueError("init: centres suit one n_clusters only; give one, or leave init out")
        return self

    def counts(self) -> list[int]:
        """Return the numbers of clusters, in rising order."""
        if isinstance(self.n_clusters, int):
            return [self.n_clusters]
        if len(self.n_clusters) == 2:
            return list(range(self.n_clusters[0], self.n_clusters[1] + 1))
        return self.n_clusters

    def models(self) -> list[KMeansParams]:
        """Return the algorithm's parameters for each number of clusters."""
        values = self.model_dump(exclude={"algorithm", "n_clusters"})
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


_OURS = ("local", "dask", "cuda")
"""Clusters that a run starts by itself."""


class RuntimeSpec(_Section):
    """Where the job runs, and on how much."""

    cluster: Text = "local"
    n_workers: Count | None = None
    threads_per_worker: Count | None = None
    backend: Literal["auto", "numpy", "numba", "cuda"] = "auto"
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
        if self.threads_per_worker is not None and self.cluster not in _OURS:
            raise ValueError(
                f"threads_per_worker: the workers of {self.cluster} have their own number of "
                "threads; leave the key out"
            )
        return self


class OutputSpec(_Section):
    """Where the segments are written."""

    path: Text
    overwrite: bool = False
    storage_options: dict[str, Any] = {}


class JobSpec(_Section):
    """One job: see the README for an example of the file."""

    input: InputSpec
    prepare: PrepareSpec = PrepareSpec()
    segment: SegmentSpec | DBSCANSpec = SegmentSpec()
    runtime: RuntimeSpec = RuntimeSpec()
    output: OutputSpec

    def public(self) -> dict[str, Any]:
        """Return the resolved job for manifest and screen; storage options may hold secrets."""
        job = self.model_dump(mode="json")
        for section in ("input", "output"):
            options = job[section]["storage_options"]
            job[section]["storage_options"] = dict.fromkeys(options, "(not shown)")
        return job


class _KMeansJob(JobSpec):
    segment: SegmentSpec = SegmentSpec()


class _DBSCANJob(JobSpec):
    segment: DBSCANSpec


def _algorithm(values: Mapping[str, Any]) -> Any:
    """Return what the job says of its algorithm, before anything is validated."""
    segment = values.get("segment")
    return segment.get("algorithm") if isinstance(segment, Mapping) else None


def load_job(job: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> JobSpec:
    """Read and validate a job.

    Parameters
    ----------
    job : path of a TOML file, or a mapping of the same shape
    overrides : of the form ``section.key=value``, the value in TOML's notation or bare text

    Raises
    ------
    JobError
        For a file that is not there or not TOML, and for every key or value that breaks a rule.
    """
    values = dict(job) if isinstance(job, Mapping) else _read_toml(Path(job))
    for text in overrides:
        values = _overridden(values, text)
    model = _DBSCANJob if _algorithm(values) == "dbscan" else _KMeansJob
    spec: JobSpec = validated(model, values, "; change it in the job, or with --set {key}=VALUE")
    reserved = {"segment", "distance"} & {spec.input.id}
    if reserved:
        raise JobError(
            f"input.id = {spec.input.id!r}: the output has a column of that name itself; "
            "rename the id column"
        )
    for name in (spec.input.id, spec.input.weight):
        if name is not None and name in (spec.input.features or []):
            raise JobError(
                f"input.features holds {name!r}, which is the id or the weight: it would be "
                "clustered by; leave it out of input.features"
            )
    return spec


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"{path}: no such job file; give the path of a TOML file") from None
    except IsADirectoryError:
        raise JobError(f"{path}: is a folder; give the path of a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: cannot be read as a job file ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"{path}: not valid TOML ({error}); see https://toml.io") from None


def _overridden(values: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the job with one ``section.key=value`` put in its place."""
    dotted, sign, value = text.partition("=")
    path = [part.strip() for part in dotted.split(".")]
    if not sign or len(path) < 2 or not all(path):
        raise JobError(f"--set {text!r}: must be section.key=value, such as segment.n_clusters=12")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    result = inner = dict(values)
    for part in path[:-1]:
        below = inner.get(part, {})
        if not isinstance(below, Mapping):
            raise JobError(f"--set {text!r}: {part!r} is a value, not a section; name its own key")
        inner[part] = dict(below)
        inner = inner[part]
    inner[path[-1]] = parsed
    return result
