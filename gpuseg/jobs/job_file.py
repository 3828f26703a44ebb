"""Read a job from a file or a mapping, change it by overrides, and validate it before any work."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError, parameter_names
from gpuseg.jobs.checks import check_job
from gpuseg.jobs.job import JobSpec, job_model, job_names
from gpuseg.segmentation.registry import require_loaded
from gpuseg.validation import validated

_HINT = "change it in the job, or with --set {key}=VALUE"


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
    values = dict(job) if isinstance(job, Mapping) else _read_toml(Path(job))
    for text in overrides:
        values = _overridden(values, text)
    _require_algorithm(values.get("segment"))
    spec: JobSpec = validated(job_model(), values, _HINT, "job")
    with parameter_names(job_names(spec)):
        check_job(spec)
    return spec


def _require_algorithm(segment: Any) -> None:
    """Refuse an algorithm whose package cannot be loaded; all other rules are the schema's."""
    if isinstance(segment, Mapping):
        with parameter_names({"algorithm": "segment.algorithm"}):
            require_loaded(segment.get("algorithm"))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        code, problem = "job_file.missing", "no such job file"
        hint = "give the path of a TOML file"
    except IsADirectoryError:
        code, problem = "job_file.is_folder", "is a folder"
        hint = "give the path of a TOML file"
    except OSError as error:
        code, problem = "job_file.unreadable", f"cannot be read ({error.strerror or error})"
        hint = "check the path, and that you may read the file"
    except UnicodeDecodeError as error:
        code, problem = "job_file.not_utf8", f"cannot be read as a job file ({error})"
        hint = "save it as UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        code, problem = "job_file.not_toml", f"not valid TOML ({error})"
        hint = "see https://toml.io"
    raise ConfigError(code, f"{path}: {problem}", hint=hint)


def _overridden(values: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the job with one ``section.key=value`` replaced."""
    dotted, sign, value = text.partition("=")
    path = [part.strip() for part in dotted.split(".")]
    if not sign or len(path) < 2 or not all(path):
        raise ConfigError(
            "override.malformed", f"--set {text!r}",
            rule="must be section.key=value, such as segment.n_clusters=12",
        )  # fmt: skip
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    result = table = dict(values)
    for part in path[:-1]:
        inner = table.get(part, {})
        if not isinstance(inner, Mapping):
            raise ConfigError(
                "override.not_a_section", f"--set {text!r}: {part!r} is a value, not a section",
                hint="name its own key",
            )  # fmt: skip
        table[part] = dict(inner)
        table = table[part]
    table[path[-1]] = parsed
    return result
