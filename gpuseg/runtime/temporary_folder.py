"""A temporary folder for large files that is removed even if its process is killed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gpuseg.runtime.forced_end import remove_if_forced
from gpuseg.runtime.owned_folder import FOLDER_PREFIX, OwnedFolder
from gpuseg.runtime.scratch import scratch_folder


def create_temporary_folder() -> tuple[str, Callable[[], None]]:
    """Create a folder for large temporary files.

    A forced end of this process removes it, and after a kill the next job does.

    Returns
    -------
    path : str
    remove : callable

    Raises
    ------
    OSError
    """
    folder = OwnedFolder(scratch_folder(), FOLDER_PREFIX)
    take_back = remove_if_forced(folder.remove)

    def remove() -> None:
        folder.remove()
        take_back()

    return str(folder.path), remove


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Create a folder for large temporary files; remove it afterwards."""
    path, remove = create_temporary_folder()
    try:
        yield path
    finally:
        remove()
