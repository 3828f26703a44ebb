"""Read the values of a job from a file or a mapping, and change them by overrides."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError


def read_job(job: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of a job, which are not validated.

    Parameters
    ----------
    job : path of a TOML file, or a mapping of the same shape
    overrides : of the form ``section.key=value``, the value in TOML's notation or bare text

    Raises
    ------
    ConfigError
        For a file that does not exist or is not TOML, and for a malformed override.
    """
    values = dict(job) if isinstance(job, Mapping) else _read_toml(Path(job))
    for text in overrides:
        values = _overridden(values, text)
    return values


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
