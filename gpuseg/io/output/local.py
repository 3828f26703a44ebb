"""The output on a file system: a directory, published by one rename."""

import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gpuseg.io.output.atomic import exchange
from gpuseg.io.output.base import SUCCESS, Output, Staging, cannot_write, check_free
from gpuseg.io.storage import Storage


class LocalOutput(Output):
    """A directory of a file system, published by one rename.

    The staging folder is locked while the run lives. The folder of a killed run is not locked, and
    the next run with the same target removes it.
    """

    def __init__(self, storage: Storage, overwrite: bool, run_id: str) -> None:
        self._target = Path(os.path.realpath(storage.root))
        self._storage = Storage(storage.url, storage.fs, str(self._target))
        self._replaces = check_free(self._storage, overwrite)
        self._prefix = f".{self._target.name}.staging-"
        self._folder = self._target.parent / f"{self._prefix}{run_id}"
        self._lock = -1
        staged = False
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            self._make_locked_folder()
            if self._replaces:
                self._try_exchange()
            staged = True
        except OSError as error:
            raise cannot_write(storage.url, error) from None
        finally:
            if not staged:  # for any reason, also an interrupt
                self.discard()
        self.staging = Staging(self._storage, str(self._folder), "")

    def write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def publish(self, parts: Sequence[str]) -> None:
        self.write(SUCCESS, b"")
        for folder in (*filter(Path.is_dir, self._folder.rglob("*")), self._folder):
            _sync(folder)
        if self._replaces:
            check_free(self._storage, overwrite=True)  # it may have changed since the start
            exchange(str(self._folder), str(self._target))
        else:
            self._folder.rename(self._target)  # fails if the target is a folder that is not empty
        _sync(self._target.parent)

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _make_locked_folder(self) -> None:
        """Make the staging folder and lock it.

        Until it is locked another run takes it for that of a killed one, and may remove it.
        """
        while self._lock < 0:
            self._folder.mkdir()
            try:
                self._lock = os.open(self._folder, os.O_RDONLY)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                is_there = self._folder.stat().st_ino == os.fstat(self._lock).st_ino
            except FileNotFoundError:
                is_there = False
            if not is_there:
                self._unlock()

    def _remove_abandoned(self) -> None:
        for folder in self._target.parent.iterdir():
            if not folder.name.startswith(self._prefix):
                continue
            try:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue  # another run has removed it, or it is of somebody else
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            except BlockingIOError:
                pass  # its run is alive
            finally:
                os.close(handle)

    def _try_exchange(self) -> None:
        """Check before the work that the file system can exchange directories."""
        probes = [self._folder / name for name in ("probe-a", "probe-b")]
        for probe in probes:
            probe.mkdir()
        exchange(str(probes[0]), str(probes[1]))
        for probe in probes:
            probe.rmdir()


def _sync(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
