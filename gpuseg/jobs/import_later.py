"""What a job imports while it waits for workers or rows."""

from functools import cache
from importlib import import_module

from gpuseg.runtime.executor import do_nothing
from gpuseg.runtime.interrupts import interrupts_deferred

_MODULES = ("pyarrow.compute", "gpuseg.backends.numba.backend", "gpuseg.jobs.segment_table")
"""In the order in which they are needed: threads that decode rows need the first one."""

_KMEANS_KERNELS = "gpuseg.backends.numba.kmeans_kernels"


@cache
def import_later(fit_modules: tuple[str, ...], with_kernels: bool) -> None:
    """Import what comes after reading, once.

    Only the main thread may do this while other threads run, and a signal must not interrupt it.

    Parameters
    ----------
    fit_modules : tuple of str
        Modules of the algorithm.
    with_kernels : bool
        Whether this process will run k-means on its CPU, so that it loads the kernels.
    """
    with interrupts_deferred():
        for module in (*_MODULES, *fit_modules):
            import_module(module)
        load_kernels = import_module(_KMEANS_KERNELS).load_kernels if with_kernels else do_nothing
    load_kernels()  # the first time on a machine it compiles for some seconds: Ctrl-C ends that
