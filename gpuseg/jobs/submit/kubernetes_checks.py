"""What a job needs so that pods can run it."""

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

from gpuseg.errors import ConfigError, literal
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.submit.base import Submission
from gpuseg.redaction import redacted

_OF_FILES = ("file", "local")
"""Protocols of URLs that are paths."""


def check_pods(submission: Submission) -> None:
    """Refuse a job whose pods would not start, or would not have its files.

    Raises
    ------
    ConfigError
    """
    submit = submission.submit
    if submit.image is None:
        raise ConfigError(
            "submit.no_image", "Kubernetes needs an image with gpuseg", parameter="submit.image",
            hint='build one (see docs/guide/container.md), and write image = "NAME:TAG"',
        )  # fmt: skip
    for member in submission.members:
        _check_key_of_ids(member.spec, submit.secrets)
        for parameter, path in _paths(member.spec):
            _check_path(path, parameter, submit.claims.values())


def has_secrets(spec: JobSpec) -> bool:
    """Whether a job file has secrets: storage options, or URLs with a login."""
    return bool(spec.secrets) or any(redacted(path) != path for _, path in _paths(spec))


def _check_key_of_ids(spec: JobSpec, secrets: Collection[str]) -> None:
    name = spec.source.id_hash_key_env
    if name is not None and name not in secrets:
        raise ConfigError(
            "submit.key_not_in_secrets", "pods would not have the key of the ids", value=name,
            parameter="submit.secrets", rule="must name a Secret of the cluster for the variable",
            hint=f'write secrets = {{ {literal(name)} = "NAME/KEY" }}',
        )  # fmt: skip


def _check_path(path: str, parameter: str, folders: Collection[str]) -> None:
    """Refuse a path that is on no volume of the pods."""
    protocol, is_url, rest = path.partition("://")
    if is_url and protocol not in _OF_FILES:
        return
    place = PurePosixPath(rest if is_url else path)
    if ".." in place.parts or not any(place.is_relative_to(folder) for folder in folders):
        raise ConfigError(
            "submit.path_not_in_pods", "pods do not have the files of this machine", value=path,
            parameter=parameter,
            rule="must be the URL of a store, or a path below a folder of submit.claims",
            hint='write claims = { CLAIM = "/FOLDER" } for a volume that all nodes can mount',
        )  # fmt: skip


def _paths(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Yield the paths of a job, each with its key."""
    source = "input" if spec.transactions is None else "transactions"
    sections = [(f"{source}.path", spec.source.path), ("output.path", spec.output.path)]
    sections += [(f"join[{number}].path", join.path) for number, join in enumerate(spec.join)]
    for key, paths in sections:
        for path in [paths] if isinstance(paths, str) else paths:
            yield key, path
