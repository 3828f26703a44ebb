"""One sentence for each broken rule: the key, the value seen, the rule, the next step."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from gpuseg.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], values: Mapping[str, Any], step: str = "") -> M:
    """Build `model` from `values`, or say what is wrong with them.

    Parameters
    ----------
    model : pydantic model class
    values : mapping
    step : str
        The next step, which ends the message on a value that breaks its rule; "{key}" in it
        stands for the key.

    Raises
    ------
    ConfigError
        With one line for each broken rule.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentences(error, model, values, step))) from None


def nearest_known(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known name, or all of them."""
    options = list(known)
    close = get_close_matches(name, options, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(options)}"


def _sentences(
    error: ValidationError, model: type[BaseModel], values: Mapping[str, Any], step: str
) -> list[str]:
    """Say each error once: the branches of a union that fail at one key make one sentence."""
    rules: dict[str, list[str]] = {}
    seen: dict[str, Any] = {}
    for one in error.errors():
        path = _keys(one["loc"], values, one["type"] == "missing")
        key = ".".join(path)
        if one["type"] == "extra_forbidden":
            parent = _model_at(path[:-1], model)
            rule = f"unknown key; {nearest_known(path[-1], parent.model_fields)}"
            rules[key] = [rule]
        elif one["type"] == "missing":
            rules[key] = ["missing; this key is required"]
        else:
            rules.setdefault(key, []).append(_rule(one["msg"]))
            seen.setdefault(key, one["input"])
    return [
        f"{key} = {seen[key]!r}: {_joined(each)}{step.format(key=key)}"
        if key in seen
        else f"{key}: {_joined(each)}"
        for key, each in rules.items()
    ]


def _rule(message: str) -> str:
    message = message.removeprefix("Value error, ")
    message = message.replace("a valid dictionary", "a table")
    if message.startswith("Input should be"):
        return "must be" + message.removeprefix("Input should be")
    return message


def _joined(rules: list[str]) -> str:
    """Join the alternatives: "must be a or b", not "must be a or must be b"."""
    first, *others = dict.fromkeys(rules)
    return " or ".join([first, *(rule.removeprefix("must be ") for rule in others)])


def _keys(location: tuple[int | str, ...], values: Any, missing: bool) -> list[str]:
    """Return the part of an error's location that a user wrote, without the unions' branches."""
    path: list[str] = []
    for place, part in enumerate(location):
        inside = isinstance(values, Mapping) and part in values
        if inside:
            values = values[part]
        if inside or (missing and place == len(location) - 1):
            path.append(str(part))
    return path


def _model_at(path: list[str], model: type[BaseModel]) -> type[BaseModel]:
    for part in path:
        annotation = model.model_fields[part].annotation
        for kind in get_args(annotation) or (annotation,):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return model


def check_n_threads(n_threads: Any) -> None:
    """Refuse a wrong number of threads.

    Raises
    ------
    ConfigError
    """
    if n_threads is not None and (not isinstance(n_threads, int) or n_threads < 1):
        raise ConfigError(
            "n_threads.invalid",
            value=n_threads,
            rule="must be None or an int >= 1",
            parameter="n_threads",
        )
