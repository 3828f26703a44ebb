"""Errors of pydantic as errors of gpuseg: the key, the value seen, the rule, the next step."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from threading import RLock
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from gpuseg.errors import ConfigError, ConfigErrors, literal
from gpuseg.fork_safety import hold_at_fork
from gpuseg.redaction import SECRET_KEY

M = TypeVar("M", bound=BaseModel)

MAX_THREADS = 4096
"""Threads of a process; also those of all workers together that a run starts on this machine."""

Hint = Callable[[str, list[str] | None], str]
UnknownHint = Callable[[Sequence[str], Iterable[str]], str]

_FROM_INPUT = object()

_BUILDING = RLock()
"""Held while pydantic builds a validator, at its first use: a forked child could not finish it."""

hold_at_fork(_BUILDING)

_KNOWN_NAMES = 20
"""Most names that a hint lists."""

_SHOULD = re.compile(r"^\w+ should (be|have)\b")
"""How pydantic's messages begin."""


def validated(
    model: type[M],
    values: Mapping[str, Any],
    hint: Hint = lambda key, texts: "",
    subject: str = "parameter",
    missing: Mapping[str, str] = MappingProxyType({}),
    unknown: UnknownHint = lambda path, known: nearest_known(path[-1], known),
) -> M:
    """Build `model` from `values`.

    Parameters
    ----------
    model : pydantic model class
    values : mapping
    hint : callable
        Returns the next step for the key of a value that breaks its rule, and for the list of texts
        that the value probably means, or None.
    subject : str
        First part of the errors' codes: `subject.unknown_key`, `subject.missing_key`,
        `subject.invalid_value`; `subject.several_errors` for more than one broken rule.
    missing : mapping of str to str
        The next step for required keys that are missing, by key.
    unknown : callable
        Returns the next step for an unknown key, from its path and the keys that are known there.

    Raises
    ------
    ConfigError
        With the key as its parameter; `ConfigErrors` for several broken rules.
    """
    try:
        with _BUILDING:
            return model.model_validate(values)
    except ValidationError as error:
        parts = _config_errors(error, model, values, hint, subject, missing, unknown)
    raise parts[0] if len(parts) == 1 else ConfigErrors(f"{subject}.several_errors", parts)


def broken_rule(
    code: str, rule: str, field: str = "", hint: str = "", value: Any = _FROM_INPUT
) -> PydanticCustomError:
    """Return what a pydantic validator raises for a rule that has its own code.

    Parameters
    ----------
    code : str
        It has a dot, as all codes of errors do.
    rule : str
    field : str
        The field at fault, in a validator of a whole model.
    hint : str
        The next step, if it is not to change the value.
    value : object, optional
        The value seen; by default that of the field in the input, where it may be missing.
    """
    context = {"rule": rule, "field": field, "hint": hint}
    if value is not _FROM_INPUT:
        context["value"] = value
    return PydanticCustomError(code, "{rule}", context)


def as_config_error(error: PydanticCustomError) -> ConfigError:
    """Return the error of `broken_rule` where no model of pydantic is validated."""
    context = dict(error.context or {})
    value = {"value": context["value"]} if "value" in context else {}
    return ConfigError(
        error.type, rule=context["rule"], hint=context["hint"],
        parameter=context["field"] or None, **value,
    )  # fmt: skip


def nearest_known(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known name, or all of them."""
    options = list(known)
    if (close := nearest(name, options)) is not None:
        return literal(f"did you mean {close!r}?")
    return f"choose one of {listed_names(options)}"


def listed_names(names: Sequence[str]) -> str:
    """Return names for a hint, of many names the first ones."""
    others = len(names) - _KNOWN_NAMES
    return literal(
        ", ".join(names[:_KNOWN_NAMES]) + (f" and {others:,} others" if others > 0 else "")
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is spelled nearly as a name; None if there is none."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def _config_errors(
    error: ValidationError,
    model: type[BaseModel],
    values: Mapping[str, Any],
    hint: Hint,
    subject: str,
    missing: Mapping[str, str],
    unknown: UnknownHint,
) -> list[ConfigError]:
    """Return one error for each key.

    The branches of a union that fail at a key are merged; a branch that fails further inside is
    the one that was meant.
    """
    errors: dict[str, ConfigError] = {}
    rules: dict[str, list[str]] = {}
    for details in error.errors():
        path = _path(details, values)
        key = ".".join(path)
        if details["type"] == "extra_forbidden":
            fields = _model_at(details["loc"][:-1], model).model_fields
            errors[key] = ConfigError(
                f"{subject}.unknown_key", "unknown key", parameter=key,
                hint=unknown(path, fields),
            )  # fmt: skip
        elif details["type"] == "missing":
            errors[key] = ConfigError(
                f"{subject}.missing_key", "missing", parameter=key,
                hint=missing.get(key, "this key is required"),
            )  # fmt: skip
        else:
            rules.setdefault(key, []).append(_rule(details))
            if key not in errors:
                texts = _meant_texts(key, details, model, values)
                errors[key] = _invalid(key, details, hint(key, texts), subject)
    for key, texts in rules.items():
        errors[key].rule = _joined(texts)
    return [
        error
        for key, error in errors.items()
        if not any(other.startswith(f"{key}.") for other in errors)
    ]


def _meant_texts(
    key: str, details: ErrorDetails, model: type[BaseModel], values: Mapping[str, Any]
) -> list[str] | None:
    """Return the list of texts that a text means, such as "[a, b]", if the key may have it."""
    value = details["input"]
    if not isinstance(value, str) or not (details["type"] == "list_type" or value[:1] == "["):
        return None
    items = [item.strip(" \t\n\"'") for item in value.strip("[] \t\n").split(",")]
    if not (texts := [item for item in items if item]):
        return None
    try:
        model.model_validate(_replaced(values, details["loc"], texts))
    except ValidationError as error:
        if any(".".join(_path(other, values)) == key for other in error.errors()):
            return None
    return texts


def _replaced(values: Any, location: Sequence[int | str], new: Any) -> Any:
    """Return the values with that at an error's location replaced; it may name branches."""
    if not location:
        return new
    first, *others = location
    if isinstance(values, Mapping):
        if first not in values:
            return _replaced(values, others, new)
        return {**values, first: _replaced(values[first], others, new)}
    if isinstance(first, int) and _is_table_of_list(values, first):
        changed = list(values)
        changed[first] = _replaced(values[first], others, new)
        return changed
    return new


def _invalid(key: str, details: ErrorDetails, hint: str, subject: str) -> ConfigError:
    """Return the error of a value that breaks a rule; `hint` is for one without its own.

    A value with tables is not shown: it is a whole section, or it may have secrets.
    """
    code = details["type"] if "." in details["type"] else f"{subject}.invalid_value"
    context, value = details.get("ctx", {}), details["input"]
    if "value" in context:
        value = context["value"]
    elif context.get("field") and isinstance(value, Mapping):
        value = value.get(context["field"])
    if _has_table(value):
        return ConfigError(code, parameter=key, hint=context.get("hint", ""))
    next_step = context.get("hint") or "; ".join(filter(None, (_quotes_hint(details), hint)))
    if SECRET_KEY in key.split("."):
        return ConfigError(code, parameter=key, hint=next_step)
    return ConfigError(code, parameter=key, value=value, hint=next_step)


def _has_table(value: Any) -> bool:
    """Whether a value is a table of the job file, or a list with tables in it."""
    if isinstance(value, list | tuple):
        return any(map(_has_table, value))
    return isinstance(value, Mapping)


_MAX_QUOTED = 10**18
"""Numbers below it are written out; Python writes none of more than 4,300 digits."""


def _quotes_hint(details: ErrorDetails) -> str:
    """Return the next step for a number in quotes, and for text without quotes."""
    value = details["input"]
    is_number = type(value) in (int, float) and abs(value) < _MAX_QUOTED
    if details["type"] == "string_type" and is_number:
        return f'write it in quotes: "{value}"'
    may_be_number = isinstance(value, str) and details["type"] != "list_type"
    if may_be_number and re.fullmatch(r"[+-]?\d{1,18}(\.\d{1,18})?", value.strip()):
        return f"write it without quotes: {value.strip()}"
    return ""


_LIMITS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
}
"""The limit of a number in pydantic's context, and what a message says before it."""

_PLAIN_RULES = {
    "model_type": "must be a table",
    "dict_type": "must be a table, { name = value, … }",
    "string_type": "must be text",
    "string_unicode": "must be text, and have only whole characters of Unicode",
    "list_type": "must be a list",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
}
"""Rules in plain words, by pydantic's type of the error."""


def _rule(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _PLAIN_RULES:
        return _PLAIN_RULES[kind]
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        limit = context[name]
        return f"{words} {limit:,}" if isinstance(limit, int) else f"{words} {limit:g}"
    if kind in ("too_short", "string_too_short") and context.get("min_length") == 1:
        return "must not be empty"
    message = details["msg"].removeprefix("Value error, ")
    return _SHOULD.sub(r"must \1", message).split(" after validation")[0]


def _joined(rules: list[str]) -> str:
    """Join the alternatives: "must be a or b", not "must be a or must be b"."""
    first, *others = dict.fromkeys(rules)
    return " or ".join([first, *(rule.removeprefix("must be ") for rule in others)])


def _path(details: ErrorDetails, values: Any) -> list[str]:
    """Return the keys of an error's location that a user wrote, without branches of unions.

    A table of a list has its number, as in "join[0]".
    """
    location, path = details["loc"], list[str]()
    for i, part in enumerate(location):
        if isinstance(part, int) and _is_table_of_list(values, part):
            path[-1] += f"[{part}]"
            values = values[part]
            continue
        exists = isinstance(values, Mapping) and part in values
        if exists:
            values = values[part]
        if exists or (details["type"] == "missing" and i == len(location) - 1):
            path.append(str(part) or '""')
    field = details.get("ctx", {}).get("field")
    return [*path, field] if field else path


def _is_table_of_list(values: Any, index: int) -> bool:
    return isinstance(values, list | tuple) and isinstance(values[index], Mapping)


def _model_at(location: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel]:
    """Return the model at an error's location, which names the branch of a tagged union."""
    branches: dict[Any, type[BaseModel]] = {}
    for part in location:
        if part in branches:
            model = branches[part]
        elif part in model.model_fields:
            branches = branches_of(model.model_fields[str(part)].annotation)
            model = branches.get(None, model)
    return model


def branches_of(annotation: Any) -> dict[Any, type[BaseModel]]:
    """Return the models of an annotation by the tag of their branch, None without a tag."""
    branches: dict[Any, type[BaseModel]] = {}
    is_union = get_origin(annotation) not in (None, Annotated)
    for option in get_args(annotation) if is_union else (annotation,):
        kind, *metadata = get_args(option) if get_origin(option) is Annotated else (option,)
        tag = next((item.tag for item in metadata if isinstance(item, Tag)), None)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            branches[tag] = kind
    return branches


def check_n_threads(n_threads: Any) -> None:
    """Refuse a wrong number of threads.

    Raises
    ------
    ConfigError
    """
    is_number = isinstance(n_threads, Integral) and not isinstance(n_threads, bool)
    if n_threads is not None and not (is_number and 1 <= n_threads <= MAX_THREADS):
        raise ConfigError(
            "n_threads.invalid",
            value=n_threads,
            rule=f"must be None or an int from 1 to {MAX_THREADS:,}",
            parameter="n_threads",
        )
