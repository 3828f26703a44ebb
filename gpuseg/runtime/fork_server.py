"""A process that has imported what workers need, and from which they are forked.

A new Python process needs over half a second of CPU time to import Dask, pyarrow, numba and gpuseg.
The fork server of `multiprocessing` imports them once, for all workers that this process starts.
Its only threads are those of libraries that survive a fork.
"""

import atexit
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import (
    forkserver,
    process,
    resource_tracker,
    set_forkserver_preload,
    util,
)
from tempfile import gettempdir
from typing import Any

from gpuseg.runtime.forced_end import remove_if_forced
from gpuseg.runtime.owned_folder import FOLDER_PREFIX, OwnedFolder
from gpuseg.runtime.resource_tracker import start_resource_tracker

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
        _set_socket_folder()
        with _environment_of_workers():
            start_resource_tracker()
            forkserver.ensure_running()
    except OSError:
        return False
    if _started_pid is None:
        atexit.register(continue_fork_server)
    _started_pid = _running_pid()
    return True


def _set_socket_folder() -> None:
    """Give `multiprocessing` a folder that the next run removes if this process is killed."""
    settings = process.current_process()._config  # type: ignore[attr-defined]
    if settings.get("tempdir") is None:
        folder = OwnedFolder(gettempdir(), FOLDER_PREFIX)
        settings["tempdir"] = str(folder.path)
        remove_if_forced(folder.remove)
        # As that of `multiprocessing` itself: after all else, at the end of this process.
        util.Finalize(None, folder.remove, exitpriority=-100)


def continue_fork_server() -> None:
    """Continue server and tracker if they are stopped, so that they see what has ended.

    A stopped server does not report the end of workers, and does not see that of this process.
    """
    tracker: Any = resource_tracker._resource_tracker
    for pid in (_running_pid(), tracker._pid):
        with suppress(ProcessLookupError, PermissionError):
            if pid is not None:
                os.kill(pid, signal.SIGCONT)


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
