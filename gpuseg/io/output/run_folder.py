"""The folder beside an output, for what a run keeps while it is not done: status, log, journal.

On a file system it is ``.NAME._run`` next to the output ``NAME``, for this user alone. On an object
store it is the prefix ``_run`` in the output; there, the rights of the bucket hold.
"""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from gpuseg.errors import ResourceError
from gpuseg.io.storage import Storage
from gpuseg.runtime.private_files import open_private, replace_private

RUN_PREFIX = "_run"
"""The prefix in an output on an object store."""

CHECKPOINT, RANKS, STATUS, LOG, SUBMISSION, LOCK = (
    "checkpoint", "ranks", "status.json", "log.txt", "submit.json", "lock",
)  # fmt: skip
"""Names in the folder."""

_OURS_ALONE = 0o700


class RunFolder:
    """Files and folders of a run, by names below its folder, such as ``checkpoint/journal``.

    Parameters
    ----------
    target : Storage
        The output. Nothing is touched until something is written.

    Attributes
    ----------
    path : str
        The folder, within the file system of the output.
    target : str
        The output, without secrets.
    fs : fsspec file system
        That of the output.
    is_local : bool
        Whether it is on a file system of this machine.
    """

    def __init__(self, target: Storage) -> None:
        self.fs, self.is_local, self.target = target.fs, target.is_local, target.shown_url
        if self.is_local:
            output = Path(os.path.realpath(target.root))
            self.path = str(output.with_name(f".{output.name}.{RUN_PREFIX}"))
        else:
            self.path = f"{target.root}/{RUN_PREFIX}"

    def make(self, name: str = "") -> None:
        """Create the folder, and one in it, for this user alone, where there are folders.

        Raises
        ------
        ResourceError
            If the folder belongs to another user, or is not a folder.
        OSError
        """
        if not self.is_local:
            return
        root = Path(self.path)
        make_private(root)
        if name:
            (root / name).mkdir(_OURS_ALONE, parents=True, exist_ok=True)

    def file(self, name: str) -> str:
        """Return the path of a file or folder, within the file system of the output."""
        return f"{self.path}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """Return the names in the folder, or in one below it, sorted; none if it does not exist."""
        path = self.file(folder) if folder else self.path
        self.fs.invalidate_cache(path)
        try:
            listed = self.fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        return sorted(each.rstrip("/").rsplit("/", 1)[1] for each in listed)

    def exists(self, name: str) -> bool:
        """Whether a file or a folder exists."""
        if self.is_local:
            return os.path.lexists(self.file(name))
        self.fs.invalidate_cache()
        return bool(self.fs.exists(self.file(name)))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it does not exist.

        Raises
        ------
        ResourceError
            If another user could have written it.
        OSError
        """
        if self.is_local:
            if not os.path.lexists(self.path):
                return None
            _check_private(Path(self.path))
        try:
            content: bytes = self.fs.cat_file(self.file(name))
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file as a whole: a reader sees the old or the new content, never a part.

        Raises
        ------
        ResourceError, OSError
        """
        if not self.is_local:
            self.fs.pipe_file(self.file(name), content)
            return
        self.make(str(Path(name).parent) if "/" in name else "")
        replace_private(Path(self.file(name)), lambda file: file.write(content))

    def write_in_place(self, name: str, content: bytes) -> None:
        """Write a file that keeps its number, as one that is locked must.

        Raises
        ------
        ResourceError, OSError
        """
        if not self.is_local:
            self.write(name, content)
            return
        self.make()
        with open_private(Path(self.file(name)), os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            file.write(content)

    def append(self, name: str, content: bytes) -> None:
        """Append to a file; on an object store, it is written as a whole again.

        Raises
        ------
        ResourceError, OSError
        """
        if not self.is_local:
            self.write(name, (self.read(name) or b"") + content)
            return
        self.make(str(Path(name).parent) if "/" in name else "")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with open_private(Path(self.file(name)), flags) as file:
            file.write(content)

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it exists."""
        path = self.file(name)
        if self.is_local:
            if Path(path).is_dir() and not Path(path).is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                Path(path).unlink(missing_ok=True)
        else:
            self.fs.invalidate_cache()
            with suppress(FileNotFoundError):
                self.fs.rm(path, recursive=True)

    def remove_if_empty(self) -> None:
        """Remove the folder, if nothing is in it; object stores have no empty folders."""
        if self.is_local:
            with suppress(OSError):
                Path(self.path).rmdir()


def make_private(folder: Path) -> None:
    """Create a folder for this user alone; parents are as others have them.

    Raises
    ------
    ResourceError
        If it exists and belongs to another user, or is not a folder.
    OSError
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(_OURS_ALONE)
    _check_private(folder)


def _check_private(root: Path) -> None:
    """Refuse a folder of another user; take the rights of others from one of this user.

    Raises
    ------
    ResourceError
    """
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise ResourceError(
            "run_folder.not_yours",
            f"{root} is not a folder of this user",
            rule="a run keeps its state in a folder that only its user can change",
            hint="remove it, or name another output",
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        root.chmod(_OURS_ALONE)
