"""A registered model on a file system: versions are published by a rename, under a lock."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gpuseg.errors import ResourceError
from gpuseg.io.output.base import cannot_write
from gpuseg.io.output.local import sync_folder
from gpuseg.io.storage import Storage
from gpuseg.model_registry.base import Change, next_number
from gpuseg.models.registered_models import ALIASES, RegisteredModel, read_record
from gpuseg.runtime.forced_end import remove_if_forced
from gpuseg.runtime.owned_folder import OwnedFolder, remove_abandoned, share_as_usual

_STAGING = ".adding-"
_LOCK, _NEW_RECORD = ".lock", f".{ALIASES}.new"
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


class LocalVersions:
    """See `VersionStore`. What a killed process has begun is removed by the next `add`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._folder = Path(storage.root)

    def read(self) -> RegisteredModel | None:
        content = read_record(self._storage)
        url = self._storage.shown_url
        return None if content is None else RegisteredModel.from_bytes(content, url)

    def add(
        self,
        copy: Callable[[Storage], None],
        record: Callable[[RegisteredModel, int], RegisteredModel],
    ) -> int:
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self._folder, _STAGING)
            staged = OwnedFolder(self._folder, _STAGING)
        stop_watching = remove_if_forced(staged.remove)
        try:
            with self._writing():
                copy(Storage(self._storage.url, self._storage.fs, str(staged.path)))
                for folder in (*filter(Path.is_dir, staged.path.rglob("*")), staged.path):
                    sync_folder(folder)
            with self._writing(), self._locked():
                before = self.read() or RegisteredModel()
                number = next_number(before, [path.name for path in self._folder.iterdir()])
                self._stage_record(record(before, number))
                share_as_usual(staged.path)
                staged.path.rename(self._folder / str(number))
                self._publish_record()
        finally:
            staged.remove()
            stop_watching()
        return number

    def update(self, change: Change) -> RegisteredModel:
        with self._writing(), self._locked():
            before = self.read() or RegisteredModel()
            after = change(before)
            if after != before:
                self._stage_record(after)
                self._publish_record()
        return after

    def _stage_record(self, registered: RegisteredModel) -> None:
        with (self._folder / _NEW_RECORD).open("wb") as file:
            file.write(registered.to_bytes())
            file.flush()
            os.fsync(file.fileno())

    def _publish_record(self) -> None:
        sync_folder(self._folder)  # the folder of a version is on the disk before the record
        (self._folder / _NEW_RECORD).rename(self._folder / ALIASES)
        sync_folder(self._folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait until no other process changes the record; a process that ends frees its lock.

        Raises
        ------
        ResourceError
            On a file system without locks.
        """
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                raise ResourceError(
                    "registry.no_locks",
                    f"{self._storage.shown_url}: the file system has no locks, so two processes "
                    "could change the registry at the same time",
                    hint="keep the registry on another file system, or on an object store",
                ) from None
            yield
        finally:
            with suppress(OSError):
                os.close(handle)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._storage.shown_url, error) from None
