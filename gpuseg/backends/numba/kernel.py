"""How kernels are compiled, kept on disk, and loaded: without numba's modules of types.

Before numba loads a function from its cache it imports the modules with the types and functions
that it knows, and scipy.linalg with them. That takes half a second, and machine code needs none of
it: they are for the compiler, which imports them itself. A kernel is loaded from the same files in
some milliseconds.
"""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.environment import Environment, lookup_environment
from numba.core.runtime.nrt import rtsys

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function, error_model: Literal["python", "numpy"] = "python") -> Function:
    """Compile a function that Python calls, and release the interpreter lock during a call.

    With the error model "numpy" a division by zero gives infinity or NaN, and needs no check.
    """
    compiled: Any = njit(nogil=True, cache=True, error_model=error_model)(function)
    compiled._cache = _KernelCache(function)
    result: Function = compiled
    return result


class _KernelCache(FunctionCache):
    """numba's cache of a function; its files are the same."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file.__class__ = _KernelFile

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled function of that signature, or None; `target` is not refreshed."""
        rtsys.initialize(target)  # the functions that machine code calls
        return self._load_overload(signature, target)


class _KernelFile(IndexDataCacheFile):
    def _load_data(self, name: str) -> Any:
        with Path(self._data_path(name)).open("rb") as file:
            return _Unpickler(file).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numba.core.environment", "_rebuild_env"):
            return _environment
        return super().find_class(module, name)


def _environment(module: str, constants: list[Any], name: str) -> Environment:
    """Return what machine code knows of the Python function that it was compiled from.

    numba imports the function's module to get its globals. Machine code that needs no interpreter
    does not look at them.
    """
    environment: Environment | None = lookup_environment(name)
    if environment is None:
        loaded = sys.modules.get(module)
        environment = Environment(vars(loaded) if loaded else {"__name__": module})
        environment.consts[:] = constants
        environment.env_name = name
        Environment._memo[name] = environment
    return environment
