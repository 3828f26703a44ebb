"""A folder that belongs to this process, and is removed by another one if this one is killed.

The folder is locked while its process lives. The system frees the lock of a process that ends, in
whichever way. Locks may not reach other machines, so the name of the folder tells the machine.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import stat
import time
from base64 import b32encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from gpuseg.runtime.machine_start import machine_start

FOLDER_PREFIX = "gpuseg-"
"""Start of the names of temporary folders that a job removes if their processes have ended."""

_TAG = 4
"""Characters for the name of a machine, and for its start: 20 bits each."""

_REMOVED = ".removed"
"""The end of the name of a folder that is being removed."""

_USUAL = ".usual"
"""A folder that exists for a moment, to see what its permissions are."""

_ATTEMPTS, _SECONDS_BETWEEN_ATTEMPTS = 20, 0.02

LOCKS_UNAVAILABLE = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EINVAL}
"""Errors of file systems without locks of folders."""

_FOR_THIS_USER, _OF_OTHERS = 0o700, 0o077


class OwnedFolder:
    """Create a folder for this user alone, and lock it; as a context manager, remove it on exit.

    Parameters
    ----------
    parent : path
        An existing folder.
    prefix, suffix : str
        Start and end of the name. No other process may use the same ones at the same time.

    Attributes
    ----------
    path : Path

    Raises
    ------
    OSError
    """

    def __init__(self, parent: str | Path, prefix: str, suffix: str | None = None) -> None:
        self._handle = -1
        end = os.urandom(3).hex() if suffix is None else suffix
        self.path = Path(parent) / f"{prefix}{machine_tag()}{end}"
        while self._handle < 0:
            self.path.mkdir(_FOR_THIS_USER)
            try:
                self._handle = self._locked()
            except FileNotFoundError:  # it was removed as abandoned
                continue
            except OSError:
                with suppress(OSError):
                    self.path.rmdir()
                raise

    @classmethod
    def adopted(cls, path: Path) -> "OwnedFolder":
        """Return the folder of a process that has ended, locked for this one.

        Raises
        ------
        OSError
            If it does not exist, or its process is alive.
        """
        folder = cls.__new__(cls)
        folder.path, folder._handle = path, _opened(path)
        try:
            status = os.fstat(folder._handle)
            if status.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
            with _locks_may_be_unavailable():
                fcntl.flock(folder._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if status.st_mode & _OF_OTHERS:  # it was about to be published
                os.fchmod(folder._handle, stat.S_IMODE(status.st_mode) & ~_OF_OTHERS)
        except OSError:
            folder.release()
            raise
        return folder

    def release(self) -> None:
        """Free the lock; the folder stays."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _locked(self) -> int:
        """Return a handle of the folder with its lock; -1 if another process has removed it."""
        handle = _opened(self.path)
        try:
            with _locks_may_be_unavailable():
                fcntl.flock(handle, fcntl.LOCK_EX)
            locked, handle = (handle, -1) if _is_same(handle, self.path) else (-1, handle)
        finally:
            if handle >= 0:
                os.close(handle)
        return locked

    def remove(self) -> None:
        """Remove the folder, if it still exists, and free its name.

        It is renamed first, so that another thread cannot publish a part of it. Processes that are
        just ending may still write to it, so it is tried again for a moment.
        """
        removed = self.path.with_name(self.path.name + _REMOVED)
        with suppress(OSError):
            self.path.rename(removed)
        for _ in range(_ATTEMPTS):
            shutil.rmtree(removed, ignore_errors=True)
            if not removed.exists():
                break
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        self.release()

    def __enter__(self) -> "OwnedFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def share_as_usual(folder: Path) -> None:
    """Give a folder the permissions that a new one has there: just before it is published.

    The mask of the process decides, and access lists and groups that folders inherit.

    Raises
    ------
    OSError
    """
    usual = folder / _USUAL
    usual.mkdir(exist_ok=True)  # a killed process may have left it
    mode = stat.S_IMODE(usual.stat().st_mode)
    usual.rmdir()
    if mode != stat.S_IMODE(folder.stat().st_mode):  # not all file systems have modes
        folder.chmod(mode)


def remove_abandoned(parent: str | Path, prefix: str) -> None:
    """Remove the folders with a prefix whose processes on this machine have ended.

    Those of other users and of other machines stay.

    Raises
    ------
    OSError
        If the parent cannot be listed.
    """
    with os.scandir(parent) as entries:
        named = [entry for entry in entries if entry.name.startswith(prefix)]
    for entry in named:
        tag = entry.name[len(prefix) : len(prefix) + 2 * _TAG]
        is_here = tag[:_TAG] == machine_tag()[:_TAG] or tag[_TAG:] == machine_tag()[_TAG:]
        with suppress(OSError):
            is_mine = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
            if len(tag) == 2 * _TAG and is_here and is_mine:
                _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    handle = _opened(folder)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if its process is alive
        if _is_same(handle, folder):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


@cache
def machine_tag() -> str:
    """Return letters and digits for the name of this machine and for its start.

    Containers of one machine have other names but the same start. A machine that has started again
    has the same name.
    """
    texts = (socket.gethostname(), machine_start() or socket.gethostname())
    return "".join(_tag(text) for text in texts)


def _tag(text: str) -> str:
    return b32encode(hashlib.sha256(text.encode()).digest()).decode()[:_TAG].lower()


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_same(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _locks_may_be_unavailable() -> Iterator[None]:
    """Go on without a lock where there is none: then nobody removes the folder as abandoned."""
    try:
        yield
    except OSError as error:
        if error.errno not in LOCKS_UNAVAILABLE:
            raise
