"""The job file: a contract, validated whole before anything is read."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from gpuseg.errors import ConfigError
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.jobs.schema import (
    AuditSpec,
    InputSpec,
    JoinSpec,
    OutputSpec,
    PrepareSpec,
    RuntimeSpec,
    Section,
    TransactionsSpec,
)
from gpuseg.segmentation.specs import DBSCANSpec, HierarchicalSpec, KMeansSpec, level_columns
from gpuseg.validation import validated

CONFIDENCE = "confidence"
"""The column that tells how far a customer is from another segment."""

FEATURES = "_features"
"""The folder of the output where features built from transactions are."""


class JobSpec(Section):
    """One job: see docs/guide/job-file.md for the file.

    With transactions, the input are the features that are built from them.
    """

    transactions: TransactionsSpec | None = None
    join: list[JoinSpec] = Field(default_factory=list)
    input: InputSpec
    prepare: PrepareSpec = PrepareSpec()
    segment: KMeansSpec | DBSCANSpec | HierarchicalSpec = KMeansSpec()
    audit: AuditSpec = AuditSpec()
    runtime: RuntimeSpec = RuntimeSpec()
    output: OutputSpec

    def public(self) -> dict[str, Any]:
        """Return the resolved job for manifest and screen; storage options may hold secrets."""
        job = self.model_dump(mode="json")
        if self.transactions is None:
            del job["transactions"]
        else:  # what is left can be run again
            clustered = job.pop("input")["features"]
            job["transactions"]["features"] = clustered or job["transactions"]["features"]
        if not self.audit.columns:
            del job["audit"]
        if not self.join:
            del job["join"]
        sections = [job[name] for name in ("transactions", "input", "output") if name in job]
        for section in (*sections, *job.get("join", [])):
            hidden = dict.fromkeys(section["storage_options"], "(not shown)")
            section["storage_options"] = hidden
        return job


def further_columns(spec: JobSpec) -> list[str]:
    """Return the names of the output's columns beside the id, the segment and the distance."""
    return level_columns(spec.segment) + [CONFIDENCE] * spec.output.confidence


class _KMeansJob(JobSpec):
    segment: KMeansSpec = KMeansSpec()


class _DBSCANJob(JobSpec):
    segment: DBSCANSpec


class _HierarchicalJob(JobSpec):
    segment: HierarchicalSpec


_JOBS: dict[Any, type[JobSpec]] = {"dbscan": _DBSCANJob, "hierarchical": _HierarchicalJob}
"""By algorithm; the rules of k-means tell which there are."""


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
    ConfigError
        For a file that is not there or not TOML, and for every key or value that breaks a rule.
    """
    values = dict(job) if isinstance(job, Mapping) else _read_toml(Path(job))
    for text in overrides:
        values = _overridden(values, text)
    values = _with_features(values)
    algorithm = _algorithm(values)
    model = _JOBS.get(algorithm, _KMeansJob) if isinstance(algorithm, str) else _KMeansJob
    spec: JobSpec = validated(model, values, "; change it in the job, or with --set {key}=VALUE")
    reserved = {"segment", "distance", *further_columns(spec)} & {spec.input.id}
    if reserved:
        raise ConfigError(
            f"input.id = {spec.input.id!r}: the output has a column of that name itself; "
            "rename the id column"
        )
    if spec.input.id_hash_key_env is not None and spec.input.id is None:
        raise ConfigError(
            f"input.id_hash_key_env = {spec.input.id_hash_key_env!r}: there are no ids to hash; "
            "name their column in input.id, or leave the key out"
        )
    if spec.prepare.duplicates != "keep" and spec.input.id is None:
        raise ConfigError(
            f"prepare.duplicates = {spec.prepare.duplicates!r}: there are no ids to compare; name "
            "their column in input.id, or leave the key out"
        )
    for name in (spec.input.id, spec.input.weight):
        for key, columns in (
            ("input.features", spec.input.features or []),
            ("prepare.categorical", spec.prepare.categorical),
        ):
            if name is not None and name in columns:
                raise ConfigError(
                    f"{key} holds {name!r}, which is the id or the weight: it would be "
                    f"clustered by; leave it out of {key}"
                )
    _check_audit(spec)
    if spec.output.confidence and isinstance(spec.segment, DBSCANSpec):
        raise ConfigError(
            "output.confidence: DBSCAN knows no next segment that a customer could be in; leave it "
            "out, and look at distance, which is 0 for core rows"
        )
    return spec


def _check_audit(spec: JobSpec) -> None:
    """Refuse columns that serve another purpose too: an audit tells nothing of what it made."""
    columns, given = spec.audit.columns, spec.input
    if columns and spec.transactions:
        raise ConfigError(
            "audit: stands beside [transactions], whose features are written with all "
            "attributes of a customer: no count could be hidden then; build them with `gpuseg "
            "features`, and cluster those as [input], with the columns to audit beside them"
        )
    used: dict[str, Sequence[str | None]] = {
        "input.id": [given.id],
        "input.weight": [given.weight],
        "input.features": given.features or [],
        "prepare.categorical": list(spec.prepare.categorical),
    }
    for name in columns:
        for key, names in used.items():
            if name in names:
                raise ConfigError(
                    f"audit.columns holds {name!r}, and so does {key}: what is audited must not "
                    "decide a segment; leave it out of one of them"
                )


def _with_features(values: dict[str, Any]) -> dict[str, Any]:
    """Make the features that are built from transactions the input."""
    if "transactions" not in values:
        if "join" in values:
            raise ConfigError(
                "join: adds attributes to the features that are built from [transactions], and "
                "there is no such section; join them to the rows of [input] beforehand"
            )
        return values
    if "input" in values:
        raise ConfigError(
            "input: stands beside [transactions], from which the features are built; leave one "
            "of the two out (what to cluster by is transactions.features)"
        )
    return {**values, "input": {"path": FEATURES, "id": CUSTOMER_ID}}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such job file; give the path of a TOML file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; give the path of a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a job file ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); see https://toml.io") from None


def _overridden(values: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the job with one ``section.key=value`` put in its place."""
    dotted, sign, value = text.partition("=")
    path = [part.strip() for part in dotted.split(".")]
    if not sign or len(path) < 2 or not all(path):
        raise ConfigError(
            f"--set {text!r}: must be section.key=value, such as segment.n_clusters=12"
        )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    result = inner = dict(values)
    for part in path[:-1]:
        below = inner.get(part, {})
        if not isinstance(below, Mapping):
            raise ConfigError(
                f"--set {text!r}: {part!r} is a value, not a section; name its own key"
            )
        inner[part] = dict(below)
        inner = inner[part]
    inner[path[-1]] = parsed
    return result
