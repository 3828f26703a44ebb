"""A process that has imported what workers need, and from which they are forked.

A new Python process needs over half a second of CPU time to import Dask, pyarrow, numba and gpuseg.
The fork server of `multiprocessing` imports them once, for all workers that this process starts.
Its only threads are those of libraries that survive a fork.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, set_forkserver_preload

_FIRST_MODULE = "gpuseg.runtime.stop_collecting"

_LAST_MODULE = "gpuseg.runtime.freeze_imports"

_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "PYTHONHASHSEED": "6640",
    "PYTHONSAFEPATH": "1",
}
"""Variables that take effect as the process starts.

Dask sets all but the last before it spawns a worker. The last one keeps the working folder off the
path, where a file may have a module's name.
"""

_started_pid: int | None = None


def start_fork_server(modules: Sequence[str]) -> bool:
    """Start the server, if it does not run yet; do not wait until it has imported the modules.

    Returns
    -------
    bool
        Whether workers can be forked. They cannot elsewhere than on Linux, since system libraries
        may crash in a forked process; nor if the program itself has started the server, with other
        modules and signals; nor if the server has no socket, as with a long ``$TMPDIR``.
    """
    global _started_pid
    if sys.platform != "linux" or _running_pid() not in (None, _started_pid):
        return False
    set_forkserver_preload([_FIRST_MODULE, *modules, _LAST_MODULE])
    try:
        with _environment_of_workers():
            forkserver.ensure_running()
    except OSError:
        return False
    _started_pid = _running_pid()
    return True


def _running_pid() -> int | None:
    pid: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
    return pid


@contextmanager
def without_variable(name: str | None) -> Iterator[None]:
    """Start the processes inside without a variable of this process."""
    value = None if name is None else os.environ.pop(name, None)
    try:
        yield
    finally:
        if name is not None and value is not None:
            os.environ[name] = value


@contextmanager
def _environment_of_workers() -> Iterator[None]:
    """Set variables that are not set, and remove them again."""
    added = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
