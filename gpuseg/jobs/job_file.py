"""Load a job: read its values, and validate all of them before any work."""

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gpuseg.errors import literal, parameter_names
from gpuseg.jobs.checks import check_job
from gpuseg.jobs.job import JobSpec, job_model, job_names
from gpuseg.jobs.job_values import read_job
from gpuseg.jobs.unknown_keys import unknown_key_step
from gpuseg.segmentation.registry import require_loaded
from gpuseg.validation import validated


def load_job(job: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> JobSpec:
    """Read and validate a job.

    Parameters
    ----------
    job : path of a TOML file, or a mapping of the same shape
    overrides : of the form ``section.key=value``, the value in TOML's notation or bare text

    Raises
    ------
    ConfigError
        For a file that does not exist or is not TOML; `ConfigErrors` for several keys or values
        that break a rule.
    ResourceError
        For an algorithm whose package cannot be loaded.
    """
    values = read_job(job, overrides)
    _require_algorithm(values.get("segment"))
    model = job_model()
    unknown = partial(unknown_key_step, model=model, values=values)
    spec: JobSpec = validated(model, values, _hint, "job", _REQUIRED, unknown)
    with parameter_names(job_names(spec)):
        check_job(spec)
    return spec


_REQUIRED = {
    "input": 'add a section [input] with path = "FILE OR FOLDER", or [transactions] for lines of '
    "purchases",
    "output": 'add a section [output] with path = "FOLDER"',
    "input.path": 'add path = "FILE OR FOLDER"',
    "output.path": 'add path = "FOLDER"',
    "transactions.path": 'add path = "FILE OR FOLDER"',
    "transactions.customer": 'add customer = "COLUMN", the column of the ids of the customers',
    "transactions.time": 'add time = "COLUMN", the column of the times of the purchases',
    "segment.eps": 'add eps = "auto", or a distance between scaled rows',
}
"""The next steps for required keys that are missing."""


def _hint(key: str, texts: list[str] | None) -> str:
    """Return the next step for a wrong value, which may mean a list of texts."""
    if texts is None:
        return f"change it in the job, or with --set {literal(_quoted(f'{key}=VALUE'))}"
    value = json.dumps(texts, ensure_ascii=False)
    name, override = key.rpartition(".")[2], shlex.quote(f"{key}={value}")
    return literal(
        f"texts in a list need quotes: write {name} = {value} in the job, or --set {override}"
    )


def _quoted(override: str) -> str:
    """Return an override as a shell takes it."""
    return shlex.quote(override) if "[" in override else override


def _require_algorithm(segment: Any) -> None:
    """Refuse an algorithm whose package cannot be loaded; all other rules are the schema's."""
    if isinstance(segment, Mapping):
        with parameter_names({"algorithm": "segment.algorithm"}):
            require_loaded(segment.get("algorithm"))
