"""How the small functions of kernels are compiled: inlined, and without reference counts."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


_OPTIONS: Any = {"nogil": True, "forceinline": True, "_nrt": False}


def inlined(function: Function, cache: bool = True) -> Function:
    """Compile a function that kernels call in their loops; it must not create or return arrays.

    numba counts the references to the arrays of every argument by atomic operations. LLVM removes
    these counts from an inlined function only if it has one path. A walk down a tree would count
    dozens of references at each node, which takes longer than the distances. Without numba's
    runtime (``_nrt=False``, an option that numba uses for functions of its own) there are no
    counts. The caller holds the arrays during the call.
    """
    compiled: Function = njit(cache=cache, **_OPTIONS)(function)
    return compiled
