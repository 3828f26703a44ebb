"""The output on a file system: a directory, published by one rename."""

import errno
import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from gpuseg.io.output.atomic import exchange
from gpuseg.io.output.base import SUCCESS, Output, Staging, cannot_write, check_free
from gpuseg.io.storage import Storage
from gpuseg.output_kind import OutputKind
from gpuseg.runtime.interrupts import ignore_later_interrupts, interrupts_deferred
from gpuseg.runtime.owned_folder import OwnedFolder, remove_abandoned, share_as_usual


class LocalOutput(Output):
    """A directory of a file system, published by one rename.

    The staging folder belongs to this process, and only its user may look into it until it is
    published. That of a killed run is removed by the next run with the same target.
    """

    def __init__(
        self,
        storage: Storage,
        overwrite: bool,
        run_id: str,
        kind: OutputKind,
        replaces: Collection[OutputKind],
        adopted: str | None = None,
    ) -> None:
        self._target = Path(os.path.realpath(storage.root))
        self._storage = Storage(storage.url, storage.fs, str(self._target))
        self._kinds = kind, replaces
        self._replaces = check_free(self._storage, overwrite, *self._kinds)
        self._is_discarded, self._is_adopted = False, adopted is not None
        self._written: list[str] = []
        prefix = f".{self._target.name}.staging-"
        with ExitStack() as on_error:  # for any reason, also an interrupt
            try:
                self._target.parent.mkdir(parents=True, exist_ok=True)
                if adopted is None:
                    remove_abandoned(self._target.parent, prefix)
                    self._owned = OwnedFolder(self._target.parent, prefix, f"-{run_id}")
                    on_error.callback(self.discard)
                else:
                    self._owned = OwnedFolder.adopted(self._target.with_name(adopted))
                self._folder = self._owned.path
                if self._replaces and adopted is None:
                    self._try_exchange()
            except OSError as error:
                raise cannot_write(storage.url, error) from None
            on_error.pop_all()
        self.staging = Staging(self._storage, str(self._folder), "")

    def write(self, name: str, content: bytes) -> None:
        self._written.append(name)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def publish(self, parts: Sequence[str]) -> None:
        self.write(SUCCESS, b"")
        if self._is_adopted:
            self._remove_all_but({*parts, *self._written})
        for folder in (*filter(Path.is_dir, self._folder.rglob("*")), self._folder):
            sync_folder(folder)
        if self._is_discarded:  # by a signal; files that were written since may have made a folder
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR), str(self._folder))
        share_as_usual(self._folder)
        if self._replaces:
            # It may have changed since the start.
            check_free(self._storage, True, *self._kinds)
        with interrupts_deferred():
            if self._replaces:
                exchange(str(self._folder), str(self._target))
            else:
                self._folder.rename(self._target)  # fails if that is a folder that is not empty
            ignore_later_interrupts()
        sync_folder(self._target.parent)

    def discard(self) -> None:
        self._is_discarded = True
        self._owned.remove()

    def release(self) -> None:
        self._owned.release()

    def _remove_all_but(self, names: Collection[str]) -> None:
        """Remove staged files that earlier attempts have begun and this one did not take.

        With another number of workers, there are other files of features. Readers take all.
        """
        for path in sorted(self._folder.rglob("*"), reverse=True):  # a folder after its content
            if not path.is_dir() or path.is_symlink():
                if str(path.relative_to(self._folder)) not in names:
                    path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()

    def _try_exchange(self) -> None:
        """Check before the work that the file system can exchange directories."""
        probes = [self._folder / name for name in ("probe-a", "probe-b")]
        for probe in probes:
            probe.mkdir()
        exchange(str(probes[0]), str(probes[1]))
        for probe in probes:
            probe.rmdir()


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
