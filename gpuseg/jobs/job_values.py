"""Read the values of a job from a file or a mapping, and change them by overrides."""

import re
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError
from gpuseg.redaction import SECRET_KEY

_MAX_BYTES = 4 * 2**20
"""Size of a job file with many initial centers; a larger one takes seconds to parse."""

_MAX_DEPTH = 32
"""Levels of tables and lists: a job has five, and options of a file system may have more."""

_ONE_OF_SEVERAL = re.compile(r"(\w+)\[(\d{1,9})\]")
"""One of several sections, as in ``join[0]``."""

_GIVE_A_FILE = "give the path of a TOML file"


def read_job(job: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of a job, which are not validated.

    Parameters
    ----------
    job : path of a TOML file, or a mapping of the same shape
    overrides : of the form ``section.key=value``, the value in TOML's notation or bare text;
        ``join[0].key=value`` is of the first [[join]]

    Raises
    ------
    ConfigError
        For a file that does not exist or is not TOML, and for a malformed override.
    """
    values = dict(job) if isinstance(job, Mapping) else _read_toml(Path(job))
    for text in overrides:
        values = _overridden(values, text)
    _check_keys(values)
    for key, value in values.items():
        _check_tables(key, value)
    return values


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read_bytes(path).decode())
    except ConfigError:  # a ValueError too
        raise
    except FileNotFoundError:
        code, problem = "job_file.missing", "no such job file"
        hint = _GIVE_A_FILE
    except OSError as error:
        code, problem = "job_file.unreadable", f"cannot be read ({error.strerror or error})"
        hint = "check the path, and that you may read the file"
    except UnicodeDecodeError as error:
        code, problem = "job_file.not_utf8", f"cannot be read as a job file ({error})"
        hint = "save it as UTF-8 text"
    except RecursionError:
        code, problem = "job_file.not_toml", "lists or tables are nested too deeply"
        hint = "see https://toml.io"
    except ValueError as error:  # not TOML, or a number of thousands of digits
        code, problem = "job_file.not_toml", f"not valid TOML ({error})"
        hint = "see https://toml.io"
    raise ConfigError(code, f"{path}: {problem}", hint=hint)


def _read_bytes(path: Path) -> bytes:
    """Read a file; never wait for a pipe, or read a device that has no end."""
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL, or a character that no path can have
        raise ConfigError(
            "job_file.not_a_path", f"{path}: not a path ({error})", hint=_GIVE_A_FILE
        ) from None
    content = b""
    if stat.S_ISDIR(mode):
        code, problem = "job_file.is_folder", "is a folder"
    elif not stat.S_ISREG(mode):
        code, problem = "job_file.not_a_file", "is a pipe, a socket or a device"
    else:
        code, problem = "job_file.too_large", f"has more than {_MAX_BYTES:,} bytes"
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) <= _MAX_BYTES:
            return content
    raise ConfigError(code, f"{path}: {problem}", hint=_GIVE_A_FILE)


def _check_tables(key: str, value: Any) -> None:
    """Refuse a value that is nested too deeply or contains itself, and keys in it that are no text.

    `key` is at the top of the job, and has the value.
    """
    level = _nested([value])
    for _ in range(_MAX_DEPTH):
        _check_keys(
            (inner for table in level if isinstance(table, Mapping) for inner in table), key
        )
        level = [inner for nested in level for inner in _nested(nested)]
        level = list({id(inner): inner for inner in level}.values())  # the same ones once
        if not level:
            return
    raise _too_deep(key)


def _too_deep(key: str) -> ConfigError:
    return ConfigError(
        "job.nested_too_deeply", parameter=key,
        rule=f"must have less than {_MAX_DEPTH} levels of lists and tables",
    )  # fmt: skip


def _check_keys(keys: Iterable[Any], where: str | None = None) -> None:
    """Refuse keys that TOML could not have, at the key `where` of the job."""
    for key in keys:
        if not isinstance(key, str) or any("\ud800" <= c <= "\udfff" for c in key):
            raise ConfigError(
                "job.not_a_key", parameter=where, value=key,
                rule="keys must be text that can be encoded",
            )  # fmt: skip


def _nested(value: Any) -> list[Any]:
    """Return the lists and tables in a list or table."""
    items = value.values() if isinstance(value, Mapping) else value
    return [item for item in items if isinstance(item, Mapping | list | tuple)]


def _overridden(values: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the job with one ``section.key=value``, or ``section[0].key=value``, replaced."""
    dotted, sign, value = text.partition("=")
    path = [part.strip() for part in dotted.split(".")]
    if not sign or len(path) < 2 or not all(path):
        raise ConfigError(
            "override.malformed", f"--set {_shown(text)!r}",
            rule="must be section.key=value, such as segment.n_clusters=12",
        )  # fmt: skip
    if len(path) > _MAX_DEPTH:
        raise _too_deep(path[0])
    return _with_value(values, path, parsed_value(value), text)


def _with_value(
    values: Mapping[str, Any], path: list[str], value: Any, text: str
) -> dict[str, Any]:
    """Return a table with the value at a path below it; `text` is the override, for messages."""
    first, *rest = path
    if not rest:
        return {**values, first: value}
    numbered = _ONE_OF_SEVERAL.fullmatch(first)
    if numbered is None:
        inner = _require_section(values.get(first, {}), first, text)
        return {**values, first: _with_value(inner, rest, value, text)}
    name, index = numbered[1], int(numbered[2])
    sections = values.get(name, [])
    if not isinstance(sections, list | tuple) or index >= len(sections):
        raise ConfigError(
            "override.no_such_section", f"--set {_shown(text)!r}: there is no {first!r}",
            hint="the first of several sections has the number 0",
        )  # fmt: skip
    changed = _with_value(_require_section(sections[index], first, text), rest, value, text)
    return {**values, name: [*sections[:index], changed, *sections[index + 1 :]]}


def _require_section(section: Any, name: str, text: str) -> Mapping[str, Any]:
    if not isinstance(section, Mapping):
        raise ConfigError(
            "override.not_a_section",
            f"--set {_shown(text)!r}: {name!r} is a value, not a section",
            hint="name its own key",
        )  # fmt: skip
    return section


def _shown(override: str) -> str:
    """Return an override for a message, without what may be a secret."""
    known, name, _ = override.partition(SECRET_KEY)
    return f"{known}{name}…" if name else override


def parsed_value(text: str) -> Any:
    """Return the value that a text has in TOML's notation, or the text if it has none."""
    try:
        match tomllib.loads(f"value = {text}"):
            case {"value": value, **others} if not others:  # the text has no further lines
                return value
    except (ValueError, RecursionError):
        pass
    return text
