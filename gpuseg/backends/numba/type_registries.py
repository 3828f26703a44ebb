"""numba's modules of types and functions; numba imports them before it loads the first kernel.

Importing them takes longer than loading a kernel, so workers are forked from a process that has
done it.
"""

from numba.cpython import charseq, heapq, printimpl, randomimpl, unicode
from numba.experimental.jitclass import base
from numba.misc import cffiimpl, gdb_hook
from numba.np import arraymath, npyimpl
from numba.np.polynomial import polynomial_functions
from numba.np.random import generator_methods
from numba.typed import typeddict, typedlist, typedset

MODULES = (
    *(charseq, heapq, printimpl, randomimpl, unicode, base, cffiimpl, gdb_hook, arraymath),
    *(npyimpl, polynomial_functions, generator_methods, typeddict, typedlist, typedset),
)
"""These import the others."""
