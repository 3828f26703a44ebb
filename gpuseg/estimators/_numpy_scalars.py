"""NumPy's scalars as Python's own values: the types of parameters are strict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpuseg.errors import ConfigError


def to_python(value: Any) -> Any:
    """Return a value of Python for a NumPy scalar, also inside of lists, tuples and dicts.

    An array of numbers becomes a list. An array without dimensions is no scalar and stays as it is.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim:
        return value.tolist()
    if isinstance(value, list | tuple):
        return type(value)(map(to_python, value)) if type(value) in (list, tuple) else value
    if isinstance(value, dict):
        return {to_python(key): to_python(item) for key, item in value.items()}
    return value


def python_values(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return some of the parameters by name, as `to_python` returns them.

    Raises
    ------
    ConfigError
        For arrays without dimensions.
    """
    for name in names:
        value = options[name]
        if isinstance(value, np.ndarray) and not value.ndim:
            raise ConfigError(
                "parameter.array",
                value=value,
                rule="must not be an array",
                hint="use its method item(), which returns the value",
                parameter=name,
            )
    return {name: to_python(options[name]) for name in names}
