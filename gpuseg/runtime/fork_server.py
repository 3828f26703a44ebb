"""A process that has imported what workers need, and from which they are forked.

A new Python process needs over half a second of CPU time to import Dask, pyarrow, numba and gpuseg.
The fork server of `multiprocessing` imports them once, for all workers that this process starts. It
runs no kernels and no threads of its own, so forking it is safe.
"""

import sys
from collections.abc import Sequence
from multiprocessing import forkserver, set_forkserver_preload

# The server starts with the working folder on its path, where a file may have a module's name.
_FIRST_MODULE = "gpuseg.runtime.without_working_folder"


CAN_FORK = sys.platform == "linux"
"""Whether workers can be forked; elsewhere, system libraries may not survive that."""


def start_fork_server(modules: Sequence[str]) -> None:
    """Start the server, if it does not run yet; do not wait until it has imported the modules."""
    set_forkserver_preload([_FIRST_MODULE, *modules])
    forkserver.ensure_running()
