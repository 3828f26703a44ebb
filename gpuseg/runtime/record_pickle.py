"""Results of shards as bytes: pickles that can hold values only, and run no code when loaded.

A file in the run's folder may have been written by an older version, or be damaged. So only the
classes of values that shards return are loaded: gpuseg's records, arrays of NumPy and Arrow, and
the plain values of Python.
"""

import io
import pickle
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

_ARROW_TYPES = (
    *("type_for_alias", "timestamp", "time32", "time64", "duration", "decimal32", "decimal64"),
    *("decimal128", "decimal256", "binary", "large_binary", "string", "large_string", "list_"),
    *("large_list", "map_", "struct", "dictionary", "field", "schema"),
)

_OTHERS: Mapping[str, frozenset[str]] = {
    "builtins": frozenset({"bytearray", "complex", "frozenset", "range", "set", "slice"}),
    "collections": frozenset({"Counter", "OrderedDict", "deque"}),
    "datetime": frozenset({"date", "datetime", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "gpuseg.runtime.executor": frozenset({"CacheLost"}),
    "numpy": frozenset({"dtype", "ndarray"}),
    "numpy._core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy._core.numeric": frozenset({"_frombuffer"}),
    "numpy.core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy.core.numeric": frozenset({"_frombuffer"}),
    "pyarrow.lib": frozenset(
        {
            "_reconstruct_record_batch", "_reconstruct_table", "_restore_array", "chunked_array",
            "py_buffer", "scalar", *_ARROW_TYPES,
        }
    ),
}  # fmt: skip
"""What may be loaded, beside records of gpuseg, by module."""


_VALUE_PACKAGES = tuple(
    f"gpuseg.{name}."
    for name in (
        *("numerics", "preprocessing", "algorithms", "model_selection", "monitoring", "lineage"),
        *("features", "profiling"),
    )
)
"""Packages whose classes hold values, and do nothing else when they are made."""

_DAMAGED = (AttributeError, EOFError, ImportError, LookupError, TypeError, ValueError)
"""What the unpickler raises for bytes that are no pickle, or that of another version."""


def dumps(value: Any) -> bytes:
    """Return a value as bytes."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def loads(content: bytes) -> Any:
    """Return the value that bytes hold.

    Raises
    ------
    pickle.UnpicklingError
        If the bytes are damaged, or hold something else than values.
    """
    try:
        return _Loader(io.BytesIO(content)).load()
    except (
        AttributeError,
        EOFError,
        ImportError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as e:
        raise pickle.UnpicklingError(f"damaged: {e}") from None


class _Loader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _OTHERS.get(module, ()):
            return super().find_class(module, name)
        if module.startswith("gpuseg.") and "." not in name:
            named = super().find_class(module, name)
            if isinstance(named, type) and (
                module.startswith(_VALUE_PACKAGES) or _is_record(named)
            ):
                return named
        raise pickle.UnpicklingError(f"{module}.{name} is not a value")


def _is_record(named: type[Any]) -> bool:
    """Whether it is a dataclass, a named tuple or an enumeration."""
    return is_dataclass(named) or issubclass(named, Enum | tuple)
