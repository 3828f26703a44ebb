"""Rules of a job that concern several sections."""

from collections.abc import Sequence

from gpuseg.errors import ConfigError, literal
from gpuseg.jobs.job import JobSpec
from gpuseg.output_columns import DISTANCE, SEGMENT


def check_job(spec: JobSpec) -> None:
    """Refuse sections that do not suit each other.

    Raises
    ------
    ConfigError
    """
    if spec.id in (SEGMENT, DISTANCE, *spec.extra_columns):
        raise ConfigError(
            "id.reserved_name", "the output has a column of that name itself",
            value=spec.id, parameter="id", hint="rename the id column",
        )  # fmt: skip
    _check_uses_of_id(spec)
    _check_clustered_columns(spec)
    _check_audit(spec)
    if spec.output.confidence and not spec.algorithm.has_confidence:
        raise ConfigError(
            "confidence.not_available", f"not available for {spec.algorithm.title}",
            parameter="confidence", hint=f"use the output column {DISTANCE}",
        )  # fmt: skip


def _check_uses_of_id(spec: JobSpec) -> None:
    """Refuse keys that need an id where there is none."""
    if spec.id is not None:
        return
    if spec.source.id_hash_key_env is not None:
        raise ConfigError(
            "id_hash_key_env.no_id", "there are no ids to hash", value=spec.source.id_hash_key_env,
            parameter="id_hash_key_env", hint="name their column in `id`, or leave the key out",
        )  # fmt: skip
    if spec.prepare.duplicates != "keep":
        raise ConfigError(
            "duplicates.no_id", "there are no ids to compare", value=spec.prepare.duplicates,
            parameter="duplicates", hint="name their column in `id`, or leave the key out",
        )  # fmt: skip


def _check_clustered_columns(spec: JobSpec) -> None:
    """Refuse to cluster the id or the weight."""
    for role, name in (("id", spec.id), ("weight", spec.weight)):
        for parameter, columns in _clustered_columns(spec).items():
            if name is not None and name in columns:
                raise ConfigError(
                    f"{parameter}.has_{role}",
                    f"{name!r} is the {role} column, which must not be clustered",
                    parameter=parameter,
                    hint="leave it out",
                )


def _check_audit(spec: JobSpec) -> None:
    """Refuse to audit columns that are used for another purpose too."""
    if spec.audit.columns and spec.transactions:
        raise ConfigError(
            "audit.with_transactions",
            "cannot be used with [transactions]: the output has the attributes of every customer, "
            "so that no small count could be hidden",
            parameter="audit",
            hint="build the features with `gpuseg features`, and cluster them as [input] with the "
            "columns to audit",
        )
    uses: dict[str, Sequence[str | None]] = {
        "id": [spec.id],
        "weight": [spec.weight],
        **_clustered_columns(spec),
    }
    for name in spec.audit.columns:
        for parameter, columns in uses.items():
            if name in columns:
                raise ConfigError(
                    "audit.column_in_use",
                    parameter="audit_columns",
                    rule=f"{literal(repr(name))} is also in `{parameter}`: an audited column must "
                    "not influence the segments",
                    hint="leave it out of one of the two",
                )


def _clustered_columns(spec: JobSpec) -> dict[str, Sequence[str]]:
    """Return by parameter the columns that a job says are clustered."""
    features = spec.input.features if spec.input else None
    return {"features": features or [], "categorical": list(spec.prepare.categorical)}
