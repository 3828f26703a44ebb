"""Exceptions, grouped by who can fix the problem; each kind has its exit code.

An error carries fields, and a front end renders them last: a job says `segment.n_clusters` where an
estimator says `n_clusters`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeVar

from gpuseg.printable import printable_text, printable_value
from gpuseg.redaction import without

E = TypeVar("E", bound="GpusegError")

_PARAMETER = re.compile(r"``|`(\w+)`")
"""A backtick of data, which is written twice, or a parameter that a text mentions."""


_TABLE_OF_LIST = re.compile(r"(\w+)\[(\d{1,9})\](?:\.(.+))?", re.DOTALL)
"""A key of one of several tables, as in ``join[0].path``, which TOML writes as ``[[join]]``."""

_FILE_KEY, _FILE_KEYS, _NEXT_KEY = "file_key", "file_keys", "next_key"
"""Stand in a hint before a key that says how files are read, followed by its name, before several,
and between these; see `set_keys`."""

_GIVEN_KEY, _GIVEN_KEYS = "given_key", "given_keys"
"""The step to change a key that says how files are read, and the keys that are given."""

_SET = "set_"
"""Stands in a hint before the name of a parameter to set; see `set_key`."""

_FILE_PATH = "file_path"
"""Stands in a hint before a path; see `write_path`."""

TRUE, _FALSE = "`true`", "`false`"
"""Stand in a hint for the values, which Python writes otherwise than a job file."""

_PYTHON_NAMES = {
    _FILE_KEY: "set", _FILE_KEYS: "set", _NEXT_KEY: "and", _FILE_PATH: "give the path",
    "true": "True", "false": "False",
}  # fmt: skip
"""What a caller without a job file reads."""

_LINES = 20
"""Most lines of a message of several errors."""


class _NoValue(Enum):
    """The value of an error that has none; None is a value."""

    NO_VALUE = "no value"


class GpusegError(Exception):
    """Base of all errors that gpuseg raises on purpose.

    Parameters
    ----------
    code : str
        Stable name of the rule that is broken, such as ``"n_clusters.too_many"``: lower case, words
        joined by underscores, parts by dots; the first part names the subject.
    problem : str
        A short sentence or clause, without a full stop. Backticks in it have no meaning, since it
        may have any data: paths, names of columns.
    value : object, optional
        The value seen, shown by its `repr`.
    rule : str, optional
        The rule, such as "must be at least 1". It may mention parameters in backticks, as `hint`
        may: a front end puts its own name for them. Data in these two goes through `literal`.
    hint : str, optional
        The next step.
    parameter : str, optional
        The parameter at fault, by the name that the function has for it.
    reason : str, optional
        What a library says, which may quote lines and values of the data.

    Notes
    -----
    All fields may have any data. The message has it escaped and shortened; see `printable`.
    """

    exit_code = 1

    def __init__(
        self,
        code: str,
        problem: str = "",
        *,
        value: Any = _NoValue.NO_VALUE,
        rule: str = "",
        hint: str = "",
        parameter: str | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(code, problem)
        self.code, self.problem, self.value = code, problem, value
        self.rule, self.hint, self.parameter, self.reason = rule, hint, parameter, reason
        self.names: Mapping[str, str] = {}
        self.secrets: frozenset[str] = frozenset()

    @property
    def has_value(self) -> bool:
        """Whether a value was given."""
        return self.value is not _NoValue.NO_VALUE

    @property
    def parts(self) -> Sequence["GpusegError"]:
        """The errors of which this one consists: itself, except for `ConfigErrors`."""
        return (self,)

    def __str__(self) -> str:
        """Return "parameter = value: problem: rule; hint", without the parts that are missing."""
        return self.rendered(self.names)

    def __repr__(self) -> str:
        """Return the code and the message: logs and tracebacks of libraries show it."""
        return f"{type(self).__name__}({self.code!r}, {str(self)!r})"

    def rendered(self, names: Mapping[str, str]) -> str:
        """Return the message, with a front end's names of the parameters."""
        subject = printable_text(_named(self.parameter, names)) if self.parameter else ""
        if self.has_value:
            value = printable_value(self.value)
            subject = f"{subject} = {value}" if subject else value
        problem = f"{self.problem} ({self.reason})" if self.reason else self.problem
        texts = (problem, _with_names(self.rule, names), _with_names(self.hint, names))
        problem, rule, hint = (printable_text(without(self.secrets, text)) for text in texts)
        shown = ": ".join(filter(None, (subject, problem, rule))) + (f"; {hint}" if hint else "")
        return without(self.secrets, shown)

    def __reduce__(self) -> tuple[Any, ...]:
        """Workers send errors to the caller."""
        return _rebuilt, (type(self), self.code, self.args, dict(self.__dict__))


def _named(parameter: str, names: Mapping[str, str]) -> str:
    """Return a front end's name of a parameter, or of the first part of a dotted one."""
    if table := _TABLE_OF_LIST.fullmatch(parameter):
        number = f"[[{table[1]}]] number {int(table[2]) + 1}"
        return f"{number}, key {table[3]}" if table[3] else number
    if parameter in names:
        return names[parameter]
    first, dot, rest = parameter.partition(".")
    return f"{names.get(first, first)}{dot}{rest}"


def literal(text: str) -> str:
    """Return data for a rule or a hint, where backticks enclose a parameter."""
    return text.replace("`", "``")


def set_keys(*keys: str) -> str:
    """Return the step to set keys of the files that are read, for a hint.

    A front end with sections says which section has the keys, and that each is a line of its own
    (`section_names`).

    Parameters
    ----------
    *keys : str
        Such as ``decimal = ","``.
    """
    step = _FILE_KEYS if len(keys) > 1 else f"{_FILE_KEY}_{keys[0].partition(' ')[0]}"
    return f"`{step}` " + f" `{_NEXT_KEY}` ".join(map(literal, keys))


def set_key(parameter: str, value: str | bool | int | Mapping[str, str | Sequence[str]]) -> str:
    """Return the step to set a parameter, for a hint.

    A front end with sections says which section has the key (`key_step`).
    """
    return f"`{_SET}{parameter}` {_written(value)}"


def _written(value: str | bool | int | Mapping[str, str | Sequence[str]]) -> str:
    """Return a value for a hint as a job file has it, and Python, but for its tables."""
    if isinstance(value, bool):
        return TRUE if value else _FALSE
    if isinstance(value, Mapping):
        items = (f"{_quoted(key)} = {_quoted(item)}" for key, item in value.items())
        return f"{{ {', '.join(items)} }}"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(value: str | Sequence[str]) -> str:
    return literal(json.dumps(value, ensure_ascii=False))


def install_extra(extra: str) -> str:
    """Return the step to install an extra, for a hint: as a package, or from a clone."""
    return f"pip install 'gpuseg[{extra}]' ('.[{extra}]' in a clone of gpuseg)"


def write_path(path: str) -> str:
    """Return the step to give another path of files, for a hint."""
    return f'`{_FILE_PATH}` "{literal(path)}"'


def section_names(
    section: str, keys: Iterable[str] = (), given: Iterable[str] = ()
) -> dict[str, str]:
    """Return names for messages about the files of a section: steps as above, and keys.

    `given` are the keys that the section has, which are changed and not added.
    """
    place = _named(section, {}) if _TABLE_OF_LIST.fullmatch(section) else f"[{section}]"
    return {
        _FILE_KEY: f"add under {place}:",
        _FILE_KEYS: f"write under {place}, each on its own line:",
        _NEXT_KEY: "|",
        _FILE_PATH: "write path =",
        "true": "true",
        "false": "false",
        **{key: _named(f"{section}.{key}", {}) for key in keys},
        _GIVEN_KEY: f"change under {place}:",
        _GIVEN_KEYS: " ".join(given),
    }


def key_step(
    section: str, key: str, *, is_unique: bool, has_section: bool, has_key: bool
) -> dict[str, str]:
    """Return names for the step to set a key of a section (`set_key`).

    Parameters
    ----------
    section, key : str
    is_unique : bool
        Whether no other section has the key, so that errors name it without the section, too.
    has_section, has_key : bool
        Whether the job has the section, and the key in it.
    """
    if not has_section:
        step = f"add a section [{section}] with the line {key} ="
    else:
        step = f"{'change' if has_key else 'add'} under [{section}]: {key} ="
    names = [f"{section}_{key}", *[key] * is_unique]
    return {f"{_SET}{name}": step for name in names}


def _with_names(text: str, names: Mapping[str, str]) -> str:
    """Return a rule or a hint with a front end's names of the parameters."""

    def shown(match: re.Match[str]) -> str:
        if match[1] is None:
            return "`"
        name = match[1]
        if name in names:
            return names[name]
        if name.startswith(_SET):
            parameter = name.removeprefix(_SET)
            return f"set {names.get(parameter, parameter)} ="
        if name.startswith(f"{_FILE_KEY}_"):
            given = names.get(_GIVEN_KEYS, "").split()
            name = _GIVEN_KEY if name.removeprefix(f"{_FILE_KEY}_") in given else _FILE_KEY
        return names.get(name) or _PYTHON_NAMES.get(name, match[0])

    return _PARAMETER.sub(shown, text)


def _rebuilt(kind: type[E], code: str, args: tuple[Any, ...], fields: dict[str, Any]) -> E:
    error = kind(code)
    error.args = args
    error.__dict__.update(fields)
    return error


@contextmanager
def parameter_names(names: Mapping[str, str]) -> Iterator[None]:
    """Render the errors raised inside by a front end's names of the parameters."""
    try:
        yield
    except GpusegError as error:
        error.names = {**names, **error.names}
        raise


@contextmanager
def hidden(secrets: frozenset[str]) -> Iterator[None]:
    """Hide secrets in the messages of the errors raised inside."""
    try:
        yield
    except GpusegError as error:
        for part in error.parts:
            part.secrets |= secrets
        raise


@contextmanager
def without_value(is_hidden: bool) -> Iterator[None]:
    """Drop the value of an error raised inside, if it may be personal, and its reason."""
    try:
        with without_reason(is_hidden):
            yield
    except GpusegError as error:
        if is_hidden:
            error.value = _NoValue.NO_VALUE
        raise


@contextmanager
def without_reason(is_hidden: bool) -> Iterator[None]:
    """Drop what a library says of an error raised inside, if that may have personal data."""
    try:
        yield
    except GpusegError as error:
        if is_hidden:
            error.reason = ""
        raise


class ConfigError(GpusegError, ValueError):
    """The job, the command line or a parameter is wrong."""

    exit_code = 2


class ConfigErrors(ConfigError):
    """Several broken rules at once: an error for each in `parts`, a line for each in the message.

    Parameters
    ----------
    code : str
    parts : sequence of ConfigError
    """

    def __init__(self, code: str, parts: Sequence[ConfigError] = ()) -> None:
        super().__init__(code)
        self._parts = tuple(parts)

    @property
    def parts(self) -> Sequence[ConfigError]:
        """The error of each broken rule."""
        return self._parts

    def rendered(self, names: Mapping[str, str]) -> str:
        """Return the message of each part, one a line."""
        lines = [part.rendered({**names, **part.names}) for part in self._parts[:_LINES]]
        others = len(self._parts) - _LINES
        return "\n".join(lines + [f"and {others:,} more errors"] * (others > 0))


class DataError(GpusegError, ValueError):
    """The data is wrong: missing, unreadable, or not as the job describes it."""

    exit_code = 3


class ResourceError(GpusegError, RuntimeError):
    """A device, memory, disk, scheduler or worker that the run needs is not available."""

    exit_code = 4
