"""How the functions that kernels call are compiled: without reference counts.

numba counts the references to the arrays of every argument by atomic operations. Threads that
share the centers wait for each other at each count. LLVM removes the counts from an inlined
function only if it has one path: a walk down a tree would count dozens of references at each
node, which takes longer than the distances. Without numba's runtime (``_nrt=False``, an option
that numba uses for functions of its own) there are no counts. The caller holds the arrays during
the call, so these functions must not create, slice or return arrays. They may call only functions
of their own kind, and those that numba inlines itself. Python cannot call them.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from numba import njit

from gpuseg.backends.numba.disk_cache import compile_cached

Function = TypeVar("Function", bound=Callable[..., Any])


_OPTIONS: Any = {
    "nogil": True,
    "_nrt": False,
    # Only kernels call these functions: wrappers for Python and C would take time to compile.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def uncounted(function: Function, error_model: Literal["python", "numpy"] = "python") -> Function:
    """Compile a function that kernels call often, without reference counts."""
    return compile_cached(function, error_model=error_model, **_OPTIONS)


def inlined(function: Function, cache: bool = True) -> Function:
    """Compile a small function that kernels call in their innermost loops, and inline it."""
    if cache:
        return compile_cached(function, forceinline=True, **_OPTIONS)
    compiled: Function = njit(forceinline=True, **_OPTIONS)(function)
    return compiled
