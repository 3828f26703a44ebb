"""Arrays of jobs: the same job with each of several values of a key."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from gpuseg.errors import ConfigError, literal
from gpuseg.jobs.job_values import parsed_value, read_job
from gpuseg.jobs.submit.toml_text import toml_value

MAX_MEMBERS = 1000
"""Slurm's own default limit of an array is 1,001."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_LABEL = re.compile(r"[A-Za-z0-9_.,+-]{1,60}")


@dataclass(frozen=True)
class Axis:
    """A key of the job, and its values in an array.

    Attributes
    ----------
    key : str
        Such as ``segment.n_clusters``.
    values : tuple
        As TOML has them.
    """

    key: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True)
class Variant:
    """One job of an array.

    Attributes
    ----------
    values : mapping
        The job, which is not validated.
    label : str
        Such as ``n_clusters=4``; empty without an array.
    """

    values: Mapping[str, Any]
    label: str = ""


def read_axis(text: str) -> Axis:
    """Return the axis of ``section.key=4,8,12``, or of ``section.key=[4, 8, 12]``.

    Raises
    ------
    ConfigError
    """
    key, sign, rest = (part.strip() for part in text.partition("="))
    whole = parsed_value(rest)
    values = whole if isinstance(whole, list) else [parsed_value(item.strip()) for item in
                                                    rest.split(",")]  # fmt: skip
    if not sign or "." not in key or not rest or not all(value != "" for value in values):
        raise ConfigError(
            "array.malformed", f"--array {text!r}",
            rule="must be section.key=VALUE,VALUE, such as segment.n_clusters=4,8,12",
            hint="values with commas go in a list: --array 'input.features=[[\"a\", \"b\"], "
            "[\"a\"]]'",
        )  # fmt: skip
    if key.startswith(("output.path", "submit.", "runtime.")):
        raise ConfigError(
            "array.key", f"--array {text!r}: {key} cannot have several values",
            rule="the jobs of an array differ in what they compute; each has its own output",
        )  # fmt: skip
    return Axis(key, tuple(values))


def variants(values: Mapping[str, Any], axes: Sequence[Axis]) -> list[Variant]:
    """Return the jobs of an array, one for each combination of values; without axes, the job.

    The output of each is below that of the job, in a folder ``key=value`` for each axis; or the
    path has placeholders such as ``{n_clusters}``, one for each axis.

    Raises
    ------
    ConfigError
        For keys that occur twice, too many jobs, and values that give no folder of their own.
    """
    if not axes:
        return [Variant(values)]
    _check_axes(axes)
    made = [_variant(values, axes, chosen) for chosen in product(*(axis.values for axis in axes))]
    repeated = [path for path, n in Counter(_output(each.values) for each in made).items() if n > 1]
    if repeated:
        raise ConfigError(
            "array.same_output", f"several jobs of the array would write {repeated[0]!r}",
            hint="give each value once, and name each key of the array in output.path, or none",
        )  # fmt: skip
    return made


def _check_axes(axes: Sequence[Axis]) -> None:
    n_members = 1
    for axis in axes:
        n_members *= len(axis.values)
    if n_members > MAX_MEMBERS:
        raise ConfigError(
            "array.too_many", f"the array has {n_members:,} jobs", rule=f"at most {MAX_MEMBERS:,}"
        )
    keys = Counter(axis.key for axis in axes)
    names = Counter(axis.name for axis in axes)
    if twice := [key for key, n in (keys + names).items() if n > 1]:
        raise ConfigError(
            "array.key_twice", f"--array has {twice[0]!r} twice",
            rule="the names of the keys are the folders of the outputs",
            hint="give all values of a key in one --array",
        )  # fmt: skip


def _variant(values: Mapping[str, Any], axes: Sequence[Axis], chosen: Sequence[Any]) -> Variant:
    texts = {axis.name: _folder_text(value) for axis, value in zip(axes, chosen, strict=True)}
    folders = [f"{name}={text}" for name, text in texts.items()]
    changed = read_job(
        values,
        [f"{axis.key}={toml_value(value)}" for axis, value in zip(axes, chosen, strict=True)],
    )
    output = changed.get("output")
    path = output.get("path") if isinstance(output, Mapping) else None
    if isinstance(output, Mapping) and isinstance(path, str):
        changed["output"] = {**output, "path": _output_path(path, texts, folders)}
    return Variant(changed, ",".join(folders))


def _output_path(path: str, texts: Mapping[str, str], folders: Sequence[str]) -> str:
    named = _PLACEHOLDER.findall(path)
    if not named:
        return "/".join([path.rstrip("/"), *folders])
    for name in named:
        if name not in texts:
            raise ConfigError(
                "array.placeholder", f"no key {name!r} in the array", value=path,
                parameter="output.path",
                hint=f"use {literal(', '.join(f'{{{each}}}' for each in texts))}",
            )  # fmt: skip
    return _PLACEHOLDER.sub(lambda match: texts[match[1]], path)


def _folder_text(value: Any) -> str:
    """Return a value as a part of a path.

    Raises
    ------
    ConfigError
    """
    text = value if isinstance(value, str) else toml_value(value)
    text = re.sub(r'[\[\]" ]', "", text)
    if not _LABEL.fullmatch(text) or set(text) == {"."}:
        raise ConfigError(
            "array.value", f"{text!r} cannot be the name of a folder",
            rule="letters, digits and _ . , + -; at most 60",
            hint="submit a job for each value, with --set",
        )  # fmt: skip
    return text


def _output(values: Mapping[str, Any]) -> Any:
    output = values.get("output")
    return output.get("path") if isinstance(output, Mapping) else None
