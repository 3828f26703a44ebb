"""Remove what an interrupted run has left for its next attempt."""

import shutil
from pathlib import Path

from gpuseg.io.output.base import STAGING, cannot_write
from gpuseg.io.output.run_folder import CHECKPOINT, RunFolder
from gpuseg.io.output.run_lock import RunLock
from gpuseg.io.storage import Storage
from gpuseg.jobs.checkpoint import interrupted_run


def give_up(target: Storage) -> None:
    """Remove the checkpoint and the staged output of an interrupted run of an output.

    Raises
    ------
    ResourceError
        If the run is alive, or the folder cannot be written.
    """
    folder = RunFolder(target)
    try:
        lock = RunLock(folder)
    except OSError as error:
        raise cannot_write(folder.path, error) from None
    try:
        record = interrupted_run(target)
        if record is not None:
            _remove_staged(target, folder, record.staging)
        folder.remove(CHECKPOINT)
    finally:
        lock.release()


def _remove_staged(target: Storage, folder: RunFolder, name: str) -> None:
    if folder.is_local:
        shutil.rmtree(Path(folder.path).with_name(name), ignore_errors=True)
    elif target.fs.exists(path := f"{target.root}/{STAGING}/{name}"):
        target.fs.rm(path, recursive=True)
