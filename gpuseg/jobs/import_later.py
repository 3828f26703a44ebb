"""What a job imports and loads while it waits for workers or rows."""

from collections.abc import Callable
from importlib import import_module

from gpuseg.runtime.interrupts import interrupts_deferred

_MODULES = ("pyarrow.compute", "gpuseg.backends.numba.backend", "gpuseg.jobs.segment_table")
"""In the order in which they are needed: threads that decode rows need the first one."""


def import_later(fit_modules: tuple[str, ...], load_kernels: Callable[[], None]) -> None:
    """Import what comes after reading, and load kernels.

    Only the main thread may import while other threads run, and a signal must not interrupt it.
    Kernels are compiled for some seconds the first time on a machine: Ctrl-C ends that.

    Parameters
    ----------
    fit_modules : tuple of str
        Modules of the algorithm.
    load_kernels : callable
    """
    with interrupts_deferred():
        for module in (*_MODULES, *fit_modules):
            import_module(module)
    load_kernels()
