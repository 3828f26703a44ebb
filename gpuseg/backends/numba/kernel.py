"""How kernels are compiled, kept on disk, and loaded: without numba's modules of types.

Before numba loads a function from its cache it imports the modules with the types and functions
that it knows, and scipy.linalg with them. That takes half a second, and machine code needs none of
it: they are for the compiler, which imports them itself. A kernel is loaded from its files in some
milliseconds.
"""

import io
import pickle
import sys
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from numba.core.compiler_lock import global_compiler_lock
from numba.core.environment import Environment, lookup_environment
from numba.core.runtime.nrt import rtsys

from gpuseg.backends.numba.disk_cache import CheckedFile, DiskCache, with_cache
from gpuseg.fork_safety import hold_at_fork

hold_at_fork(global_compiler_lock)  # a child cannot finish what another thread compiles

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function, error_model: Literal["python", "numpy"] = "python") -> Function:
    """Compile a function that Python calls, and release the interpreter lock during a call.

    With the error model "numpy" a division by zero gives infinity or NaN, and needs no check.
    """
    return with_cache(function, _KernelCache, nogil=True, error_model=error_model)


class _KernelCache(DiskCache):
    """The cache of a kernel."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file.__class__ = _KernelFile

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled function of that signature, or None; `target` is not refreshed."""
        rtsys.initialize(target)  # the functions that machine code calls
        return self._load_overload(signature, target)


class _KernelFile(CheckedFile):
    def rebuilt(self, content: bytes) -> Any:
        return _Unpickler(io.BytesIO(content)).load()


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
