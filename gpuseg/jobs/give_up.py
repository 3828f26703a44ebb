"""Remove what an interrupted run has left for its next attempt."""

import shutil
from pathlib import Path

from gpuseg.io.output.base import STAGING, cannot_write
from gpuseg.io.output.run_folder import CHECKPOINT, LOG, STATUS, SUBMISSION, RunFolder
from gpuseg.io.output.run_lock import RunLock
from gpuseg.io.storage import Storage
from gpuseg.jobs.checkpoint import interrupted_run, published_run


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
        published = published_run(target)
        record = published or interrupted_run(target)
        if record is not None:
            _remove_staged(target, folder, record.staging)
        folder.remove(CHECKPOINT)
        if published is not None and not folder.exists(SUBMISSION):
            folder.remove(STATUS)
            folder.remove(LOG)
    finally:
        lock.release()
        folder.remove_if_empty()


def clean_up_if_published(target: Storage) -> None:
    """Remove what a run has left that was killed just after it had published its output."""
    if published_run(target) is not None:
        give_up(target)


def _remove_staged(target: Storage, folder: RunFolder, name: str) -> None:
    if folder.is_local:
        shutil.rmtree(Path(folder.path).with_name(name), ignore_errors=True)
    elif target.fs.exists(path := f"{target.root}/{STAGING}/{name}"):
        target.fs.rm(path, recursive=True)
